"""The bucket plan: which buckets this data set uses, and which picture goes where, so that the least is cut.

Pictures sorted by shape are dealt to buckets sorted by shape, each bucket a whole number of batches, so that
no batch is ragged (one is, where the number of pictures is no multiple of the batch). Where that would cost
too much, as few buckets as possible are ragged. Among all such plans the one with the least cost is found
exactly, by dynamic programming.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dataprep.framing.buckets import BucketGrid, Size, bucket_sizes

Costs = NDArray[np.float64]
Places = NDArray[np.int64]

_LEAST_AREA = 0.8  # of the resolution's: smaller buckets would train fewer pixels than they cut
_EQUAL = 1e-9  # of costs that differ by rounding
_MOST_STARTS = 50_000_000  # of all levels of a search, 4 bytes each
_UNUSED = -1  # where a bucket took no pictures
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


def assign(costs: Costs, aspects: NDArray[np.float64], batch_size: int, limit: float = math.inf) -> Places:
    """The bucket of each picture: the fewest ragged buckets within the limit, then the least cost.

    Args:
        costs: of each picture in each bucket, shape (N, B), buckets ascending by shape.
        aspects: width / height of the pictures, shape (N,).
        batch_size: every bucket gets a multiple of it, one of them the remainder as well.
        limit: mean cost of a picture; where that plan costs more, further buckets may be ragged, and hold
            less than a batch; where the search for them takes too long, buckets get parts of a batch.
    Returns:
        Index of the bucket, shape (N,).
    """
    count = len(costs)
    if count == 0:
        return np.empty(0, np.int64)
    order = np.argsort(aspects, kind="stable")
    sums = np.concatenate([np.zeros((1, costs.shape[1])), np.cumsum(costs[order], axis=0)])  # (N + 1, B)
    enough = limit * count + _EQUAL
    levels = _levels(sums, batch_size, math.inf)
    if levels[-1].cost > enough:
        levels = _levels(sums, batch_size, enough)
    for part in range(batch_size // 2, 0, -1):  # where the search was given up
        if levels[-1].cost <= enough:
            break
        if batch_size % part == 0:
            levels = _levels(sums, part, math.inf)
    places = np.empty(count, np.int64)
    places[order] = _traced(levels)
    return places


def _levels(sums: Costs, batch_size: int, enough: float) -> list[_Level]:
    """Plans with no ragged bucket, with one, ... until there is one and it costs little enough.

    If any cost is enough, the ragged bucket holds at least a batch.
    """
    ends, buckets = sums.shape
    least = 1 if math.isfinite(enough) else min(batch_size, ends - 1)
    levels = [_Level.of(sums, batch_size, least, None)]
    for _ in range(min(buckets, max(1, _MOST_STARTS // sums.size))):
        fewer = levels[-1]
        if math.isfinite(fewer.cost) and fewer.cost <= enough:
            break
        levels.append(_Level.of(sums, batch_size, least, fewer))
        levels[-2] = replace(fewer, costs=fewer.costs[-1:])  # only the way back is still wanted of it
    return levels


def ragged_buckets(places: NDArray[np.int64], batch_size: int) -> int:
    """How many buckets' last batch is not full.

    Args:
        places: index of each picture's bucket, shape (N,).
        batch_size: pictures in a batch.
    """
    return int((np.bincount(places) % batch_size > 0).sum()) if len(places) else 0


@dataclass(frozen=True)
class _Level:
    """The cheapest ways to deal the first n pictures to the first b buckets, with so many ragged at most.

    Attributes:
        costs: before each bucket, shape (B + 1, N + 1); infinite where there is no way.
        starts: number of the picture from which a bucket takes on, shape (B, N + 1); _UNUSED where it takes
            none, and N + 1 more where it is ragged.
    """

    costs: Costs
    starts: NDArray[np.int32]

    @property
    def cost(self) -> float:
        """Of the cheapest way to deal all pictures."""
        return float(self.costs[-1, -1])

    @classmethod
    def of(cls, sums: Costs, batch_size: int, least: int, fewer: _Level | None) -> _Level:
        """The level with one more ragged bucket than `fewer` has; none ragged if that is None.

        Args:
            sums: cost of the first 0, 1, ... pictures in each bucket, shape (N + 1, B).
            batch_size: as in `assign`.
            least: pictures that a ragged bucket has to hold.
            fewer: the level before.
        """
        ends, buckets = sums.shape
        costs = np.full((buckets + 1, ends), np.inf)
        costs[0, 0] = 0.0
        starts = np.full((buckets, ends), _UNUSED, np.int32)
        for bucket in range(buckets):
            spent, best = sums[:, bucket], costs[bucket].copy()
            whole, start = _least_before(costs[bucket] - spent, batch_size, 1)
            _take(best, starts[bucket], whole + spent, start)
            if fewer is not None:
                ragged, start = _least_before(fewer.costs[bucket] - spent, 1, least)
                _take(best, starts[bucket], ragged + spent, start + ends)
            costs[bucket + 1] = best
        return cls(costs, starts)


def _take(best: Costs, starts: NDArray[np.int32], costs: Costs, origins: NDArray[np.int64]) -> None:
    """Where these costs are less, put them and where they come from into the first two."""
    less = costs < best
    best[less], starts[less] = costs[less], origins[less]


def _least_before(values: Costs, stride: int, times: int) -> tuple[Costs, NDArray[np.int64]]:
    """At each place the least value that lies `times` or more multiples of `stride` before it, and where."""
    rows = -(-len(values) // stride)
    padded = np.full(rows * stride, np.inf)
    padded[: len(values)] = values
    grid = padded.reshape(rows, stride)
    least = np.minimum.accumulate(grid, axis=0)
    at = np.maximum.accumulate(np.where(grid == least, np.arange(rows)[:, None], 0), axis=0)
    at = at * stride + np.arange(stride)
    none = np.full((times, stride), np.inf)  # so far before the first places there is nothing
    least, at = np.concatenate([none, least]), np.concatenate([np.zeros_like(none, np.int64), at])
    return least.ravel()[: len(values)], at.ravel()[: len(values)]


def _traced(levels: list[_Level]) -> Places:
    """Follow the cheapest plan back from its end: the bucket of each picture in order, shape (N,)."""
    buckets, ends = levels[-1].starts.shape
    places = np.empty(ends - 1, np.int64)
    end, level = ends - 1, len(levels) - 1
    for bucket in reversed(range(buckets)):
        start = int(levels[level].starts[bucket, end])
        if start == _UNUSED:
            continue
        level, start = (level, start) if start < ends else (level - 1, start - ends)
        places[start:end] = bucket
        end = start
    return places
