"""The bucket plan: which buckets this data set uses, and which picture goes where, so that the least is cut.

Pictures sorted by shape are dealt to buckets sorted by shape, each bucket a whole number of batches, so that
no batch is ragged (one is, where the number of pictures is no multiple of the batch). Among all such plans
the one with the least cost is found exactly, by dynamic programming.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dataprep.buckets import BucketGrid, Size, bucket_sizes

Costs = NDArray[np.float64]

_LEAST_AREA = 0.8  # of the resolution's: smaller buckets would train fewer pixels than they cut
_UNUSED = -1
_FEWER_PIXELS = 0.1  # cost of a bucket's missing share of area, against 1 for a picture wholly cut away


def candidates(grid: BucketGrid) -> list[Size]:
    """Buckets a plan may use, by shape: kohya's list, and all others whose area is nearly the whole."""
    sides = range(max(grid.step, grid.smallest), grid.largest + 1, grid.step)
    full = {(w, h) for w in sides for h in sides if _LEAST_AREA * grid.area <= w * h <= grid.area}
    return sorted(full | set(bucket_sizes(grid)), key=lambda size: (size[0] / size[1], -size[0]))


def fits(widths: Costs, heights: Costs, sizes: list[Size]) -> tuple[Costs, Costs]:
    """Sides of the largest box of each bucket's shape in each picture, not rounded.

    Args:
        widths: of the pictures, px, shape (N,).
        heights: of the pictures, px, shape (N,).
        sizes: B buckets.
    Returns:
        Widths and heights, each of shape (N, B).
    """
    shapes = np.array([width / height for width, height in sizes])
    return (
        np.minimum(widths[:, None], heights[:, None] * shapes),
        np.minimum(heights[:, None], widths[:, None] / shapes),
    )


def area_costs(sizes: list[Size], area: int) -> Costs:
    """What each bucket costs for training fewer pixels than the area allows, shape (B,)."""
    return _FEWER_PIXELS * (1.0 - np.array([w * h for w, h in sizes]) / area)


def assign(costs: Costs, aspects: NDArray[np.float64], batch_size: int) -> NDArray[np.int64]:
    """The bucket of each picture, at the least total cost.

    Args:
        costs: of each picture in each bucket, shape (N, B), buckets ascending by shape.
        aspects: width / height of the pictures, shape (N,).
        batch_size: every bucket gets a multiple of it, one of them the remainder as well.
    Returns:
        Index of the bucket, shape (N,).
    """
    count = len(costs)
    if count == 0:
        return np.empty(0, np.int64)
    order = np.argsort(aspects, kind="stable")
    places = np.empty(count, np.int64)
    places[order] = _dealt(np.cumsum(costs[order], axis=0), batch_size)
    return places


def ragged_buckets(places: NDArray[np.int64], batch_size: int) -> int:
    """How many buckets' last batch is not full.

    Args:
        places: index of each picture's bucket, shape (N,).
        batch_size: pictures in a batch.
    """
    return int((np.bincount(places) % batch_size > 0).sum()) if len(places) else 0


def _dealt(sums: Costs, batch_size: int) -> NDArray[np.int64]:
    """Deal pictures to buckets, both in order of shape.

    Args:
        sums: cost of the first 1, 2, ... pictures in each bucket, shape (N, B).
        batch_size: as in `assign`.
    """
    sums = np.concatenate([np.zeros((1, sums.shape[1])), sums])
    blocks, remainder = divmod(len(sums) - 1, batch_size)
    starts = np.arange(blocks + 1) * batch_size
    whole, ragged = (
        sums[starts],
        sums[starts + remainder],
    )  # (K + 1, B): before and after the remainder is dealt
    before, after = np.full(blocks + 1, np.inf), np.full(blocks + 1, np.inf)
    before[0] = 0.0
    origins: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for bucket in range(sums.shape[1]):
        base, base_at = _least_before(before - whole[:, bucket], inclusive=False)
        late, late_at = _least_before(after - ragged[:, bucket], inclusive=False)
        cross, cross_at = _least_before(before - whole[:, bucket], inclusive=blocks == 0)
        crosses = cross <= late
        origin_before = np.where(base + whole[:, bucket] < before, base_at, _UNUSED)
        total_after = np.where(crosses, cross, late) + ragged[:, bucket]
        origin_after = np.where(crosses, cross_at, late_at + blocks + 1)
        origins.append((origin_before, np.where(total_after < after, origin_after, _UNUSED)))
        before = np.minimum(before, base + whole[:, bucket])
        after = np.minimum(after, total_after)
    return _traced(origins, blocks, remainder, batch_size)


def _least_before(values: Costs, *, inclusive: bool) -> tuple[Costs, NDArray[np.int64]]:
    """At each place the least value before it (or up to it), and where that is."""
    least = np.minimum.accumulate(values)
    at = np.maximum.accumulate(np.where(values == least, np.arange(len(values)), 0))
    if inclusive:
        return least, at
    return np.concatenate([[np.inf], least[:-1]]), np.concatenate([[0], at[:-1]])


def _traced(
    origins: list[tuple[NDArray[np.int64], NDArray[np.int64]]], blocks: int, remainder: int, batch_size: int
) -> NDArray[np.int64]:
    """Follow the least plan back from its end: the bucket of each picture in order, shape (N,)."""
    places = np.empty(blocks * batch_size + remainder, np.int64)
    at, late = blocks, remainder > 0
    for bucket in reversed(range(len(origins))):
        origin = int(origins[bucket][late][at])
        if origin == _UNUSED:
            continue
        end = at * batch_size + (remainder if late else 0)
        late, at = late and origin > blocks, origin % (blocks + 1)
        places[at * batch_size + (remainder if late else 0) : end] = bucket
    return places
