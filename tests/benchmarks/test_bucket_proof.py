from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.bucket_proof import least_cost


@pytest.mark.parametrize("batch_size", [2, 3])
@pytest.mark.parametrize("ragged", [0, 1, 2])
def test_the_least_cost_is_that_of_the_best_of_all_plans(batch_size: int, ragged: int) -> None:
    for seed in range(4):
        costs = np.random.default_rng(seed).random((5 + seed % 2, 3))
        least = np.inf
        for plan in itertools.product(range(3), repeat=len(costs)):
            if (np.bincount(plan) % batch_size > 0).sum() <= ragged:
                least = min(least, float(costs[range(len(costs)), plan].mean()))
        assert least_cost(costs, batch_size, ragged) == pytest.approx(least, rel=1e-3)
