"""The least that any plan can cost which leaves so many ragged buckets, by mixed-integer programming.

The product's own plan deals pictures in order of shape; here they may go anywhere, so that this bounds it
from below. For `python -m benchmarks.buckets`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, hstack, kron, vstack

_SECONDS = 120.0  # each of the five takes about one


def least_cost(costs: NDArray[np.float64], batch_size: int, ragged: int) -> float:
    """A proven lower bound of the mean cost of a picture, all but a ten-thousandth part of the least cost.

    Buckets b get batch_size * whole[b] + rest[b] pictures, rest[b] < batch_size, and rest[b] > 0 only where
    broken[b] is 1. Only these are whole numbers by demand: with them fixed, dealing the pictures is a
    transportation problem, whose best corner is whole by itself.

    Args:
        costs: of each picture in each bucket, shape (N, B).
        batch_size: pictures in a batch.
        ragged: buckets that may end in a part of one.
    Returns:
        Infinity where there is no plan.
    Raises:
        RuntimeError: the solver gave up.
    """
    count, buckets = costs.shape
    each = eye_array(buckets)
    rules = vstack(
        [
            hstack([kron(eye_array(count), np.ones((1, buckets))), csr_array((count, 3 * buckets))]),
            hstack(
                [kron(np.ones((1, count)), each), -batch_size * each, -each, csr_array((buckets, buckets))]
            ),
            hstack([csr_array((buckets, (count + 1) * buckets)), each, -(batch_size - 1) * each]),
            hstack([csr_array((1, (count + 2) * buckets)), np.ones((1, buckets))]),
        ]
    ).tocsr()
    least = np.r_[np.ones(count), np.zeros(buckets), np.full(buckets, -np.inf), 0]
    most = np.r_[np.ones(count), np.zeros(2 * buckets), ragged]
    limits = (np.ones(costs.size), np.full(buckets, count // batch_size), np.full(buckets, batch_size - 1))
    found = milp(
        np.r_[costs.ravel(), np.zeros(3 * buckets)],
        constraints=LinearConstraint(rules, least, most),
        bounds=Bounds(0, np.r_[(*limits, np.ones(buckets))]),
        integrality=np.r_[np.zeros(costs.size), np.ones(3 * buckets)],
        options={"time_limit": _SECONDS},
    )
    if found.status == 2:  # infeasible
        return np.inf
    if found.status != 0:
        raise RuntimeError(f"the solver stopped: {found.message}")
    bound: float = found.mip_dual_bound / count
    return bound
