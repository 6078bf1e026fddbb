"""Exact search for 64-bit hashes within a Hamming distance, near-linear in their number.

Pigeonhole: cut the 64 bits into t + j blocks; t differing bits spoil at most t of them, so two hashes within
distance t agree on at least j blocks. For each choice of j blocks, sort by them and compare inside runs of
equal blocks. Nothing is approximate, and no pair is found twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]
Pairs = tuple[Indices, Indices]

_BITS = 64
_BRUTE_FORCE_UP_TO = 3000  # hashes; below it, comparing all with all is as fast
_BLOCK_ROWS = 512  # rows compared at once there
_PART = 16_384  # hashes that fit the processor's second cache several times
# Nanoseconds of one hash in one table (moving bits and sorting), and of one comparison, as measured; only
# their ratio matters, and only for speed.
_TABLE_NS = 40.0
_CHECK_NS = 2.0
_CHUNK = 16_384  # hashes compared at once: with their differences they fit the second cache
_DENSE_SHARE = 0.12  # of the hashes still have a successor in their run: picking those out is as fast


def hamming(a: Hashes, b: Hashes) -> NDArray[np.uint8]:
    """Number of differing bits, element by element with broadcasting."""
    distance: NDArray[np.uint8] = np.bitwise_count(np.bitwise_xor(a, b))
    return distance


def near_pairs(hashes: Hashes, max_distance: int) -> Iterator[Pairs]:
    """Every pair within the distance, once, in chunks of (index, index).

    Args:
        hashes: shape (N,), sorted and unique, as np.unique gives them: equal hashes make quadratically many
            pairs that say nothing.
        max_distance: bits, 0 to 63.
    """
    if max_distance == 0:
        return
    if len(hashes) <= _BRUTE_FORCE_UP_TO:
        yield from _brute_force(hashes, max_distance)
        return
    layout = Layout.best(len(hashes), max_distance)
    for chosen, moved in _tables(hashes, layout, 0, ()):
        moved.sort()
        for low, difference in _gathered(_runs(moved, layout, chosen, max_distance)):
            first = _restored(low, layout, chosen)
            second = _restored(low ^ difference, layout, chosen)
            yield np.searchsorted(hashes, first), np.searchsorted(hashes, second)


def _gathered(pieces: Iterator[tuple[Hashes, Hashes]]) -> Iterator[tuple[Hashes, Hashes]]:
    """The same pairs in fewer pieces: most pieces are so small that calls cost more than work."""
    held: list[tuple[Hashes, Hashes]] = []
    for piece in pieces:
        held.append(piece)
        if sum(len(low) for low, _ in held) >= _PART:
            yield np.concatenate([low for low, _ in held]), np.concatenate([d for _, d in held])
            held = []
    if held:
        yield np.concatenate([low for low, _ in held]), np.concatenate([d for _, d in held])


def _brute_force(hashes: Hashes, max_distance: int) -> Iterator[Pairs]:
    for start in range(0, len(hashes), _BLOCK_ROWS):
        rows = hashes[start : start + _BLOCK_ROWS, None]
        i, j = np.nonzero(hamming(rows, hashes[None, start:]) <= max_distance)
        keep = i < j
        yield i[keep] + start, j[keep] + start


@dataclass(frozen=True)
class Layout:
    """How the 64 bits are cut.

    Attributes:
        widths: bits of each block, from the highest bit down; they sum to 64.
        keys: how many blocks two hashes within the distance surely share.
    """

    widths: tuple[int, ...]
    keys: int

    @classmethod
    def best(cls, n: int, max_distance: int) -> Layout:
        """The layout with the least expected work for n hashes."""
        return min(
            (cls.of(max_distance, keys) for keys in range(1, min(6, _BITS - max_distance) + 1)),
            key=lambda layout: layout.work(n),
        )

    @classmethod
    def of(cls, max_distance: int, keys: int) -> Layout:
        """`max_distance + keys` blocks, as equal as they can be."""
        blocks = max_distance + keys
        wide = _BITS % blocks
        return cls(tuple(_BITS // blocks + (i < wide) for i in range(blocks)), keys)

    def work(self, n: int) -> float:
        """Expected nanoseconds for n evenly spread hashes."""
        tables = math.comb(len(self.widths), self.keys)
        key_bits = _BITS * self.keys / len(self.widths)
        return tables * n * (_TABLE_NS + _CHECK_NS * n / 2 ** (key_bits + 1))

    def shift(self, block: int) -> int:
        """How far the block's lowest bit lies from bit 0."""
        return sum(self.widths[block + 1 :])

    def mask(self, block: int) -> np.uint64:
        """The block's bits."""
        return np.uint64(((1 << self.widths[block]) - 1) << self.shift(block))


def _tables(
    hashes: Hashes, layout: Layout, placed: int, chosen: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], Hashes]]:
    """For each choice of blocks: hashes with those blocks moved to the top, the others' order kept.

    Choices that begin alike share the moves. `placed` bits are at the top already. A choice comes in several
    arrays where that keeps them in the processor's cache; equal chosen blocks are always in one array.
    """
    first = chosen[-1] + 1 if chosen else 0
    remaining = layout.keys - len(chosen)
    for block in range(first, len(layout.widths) - remaining + 1):
        moved = _moved_up(hashes, layout, placed, block)
        if remaining == 1:
            yield (*chosen, block), moved
            continue
        for part in _parts(moved, layout.widths[block]) if not chosen else [moved]:
            yield from _tables(part, layout, placed + layout.widths[block], (*chosen, block))


def _parts(hashes: Hashes, top_bits: int) -> list[Hashes]:
    """The hashes in arrays of some _PART, none of which shares its top bits with another."""
    if len(hashes) < 2 * _PART:
        return [hashes]
    hashes.sort()
    step = np.uint64(1 << (_BITS - top_bits))
    starts = np.searchsorted(hashes, np.arange(1 << top_bits, dtype=np.uint64) * step)
    cuts = starts[np.searchsorted(starts, np.arange(0, len(hashes), _PART))[1:].clip(max=len(starts) - 1)]
    return [part for part in np.split(hashes, np.unique(cuts)) if len(part)]


def _moved_up(hashes: Hashes, layout: Layout, placed: int, block: int) -> Hashes:
    """Move one block to just under the `placed` top bits; what lay between moves down. Always a new array."""
    width, shift = layout.widths[block], layout.shift(block)
    between = _BITS - placed - shift - width  # bits of the blocks that are passed over
    if between == 0:
        return hashes.copy()
    top = ((1 << placed) - 1) << (_BITS - placed)
    middle = ((1 << between) - 1) << (shift + width)
    own = ((1 << width) - 1) << shift
    low = (1 << shift) - 1
    moved: Hashes = hashes & np.uint64(top | low)
    moved |= (hashes & np.uint64(own)) << np.uint64(between)
    moved |= (hashes & np.uint64(middle)) >> np.uint64(width)
    return moved


def _order(layout: Layout, chosen: tuple[int, ...]) -> list[int]:
    return [*chosen, *(block for block in range(len(layout.widths)) if block not in chosen)]


def _restored(moved: Hashes, layout: Layout, chosen: tuple[int, ...]) -> Hashes:
    """Undo the moves of `_tables`."""
    original = np.zeros_like(moved)
    at = _BITS
    for block in _order(layout, chosen):
        at -= layout.widths[block]
        own = np.uint64((1 << layout.widths[block]) - 1)
        original |= ((moved >> np.uint64(at)) & own) << np.uint64(layout.shift(block))
    return original


def _runs(
    moved: Hashes, layout: Layout, chosen: tuple[int, ...], max_distance: int
) -> Iterator[tuple[Hashes, Hashes]]:
    """Pairs inside runs of equal chosen blocks: (hash, its difference to the other), both with blocks moved.

    A pair that shares more blocks than needed is given only by its first choice of blocks.
    """
    limit = np.uint64(1 << (_BITS - sum(layout.widths[block] for block in chosen)))
    earlier = _earlier_masks(layout, chosen)
    starts = np.concatenate([[0], np.flatnonzero((moved[1:] ^ moved[:-1]) >= limit) + 1, [len(moved)]])
    lengths = np.diff(starts)
    cuts = np.unique(
        np.searchsorted(starts, np.arange(0, len(moved) + _CHUNK, _CHUNK)).clip(max=len(lengths))
    )
    for first, end in pairwise(cuts.tolist()):
        chunk = moved[starts[first] : starts[end]]
        for low, difference in _gathered(_near(chunk, lengths[first:end], max_distance)):
            keep = difference < limit
            for mask in earlier:
                keep &= (difference & mask) != 0
            if keep.any():
                yield low[keep], difference[keep]


def _near(chunk: Hashes, lengths: Indices, max_distance: int) -> Iterator[tuple[Hashes, Hashes]]:
    """All near pairs inside the runs of a sorted array, and perhaps some across: (hash, difference).

    Comparing every hash with its step-th successor, in the same run or not, is several times faster a pair
    than picking the pairs of the runs out, until most runs are shorter than the step.
    """
    ending = np.bincount(lengths)
    longer = len(lengths) - np.cumsum(ending)  # runs that are longer than 0, 1, 2, ...
    alive = np.cumsum(longer[::-1])[::-1]  # alive[s]: hashes with an s-th successor in their run
    sparse = int(np.argmax(alive < len(chunk) * _DENSE_SHARE))  # the last entry is always 0
    difference, count = np.empty_like(chunk), np.empty(len(chunk), np.uint8)
    for step in range(1, sparse):
        n = len(chunk) - step
        np.bitwise_xor(chunk[step:], chunk[:-step], out=difference[:n])
        np.bitwise_count(difference[:n], out=count[:n])
        if count[:n].min() <= max_distance:
            at = np.flatnonzero(count[:n] <= max_distance)
            yield chunk[at], difference[at]
    run_ends = np.repeat(np.cumsum(lengths), lengths)
    at = np.arange(len(chunk))
    for step in range(max(1, sparse), len(ending) - 1):
        at = at[at + step < run_ends[at]]
        apart = chunk[at] ^ chunk[at + step]
        near = np.bitwise_count(apart) <= max_distance
        if near.any():
            yield chunk[at[near]], apart[near]


def _earlier_masks(layout: Layout, chosen: tuple[int, ...]) -> list[np.uint64]:
    """Where the blocks that are not chosen but come before the last chosen one lie after the moves."""
    masks = []
    at = _BITS
    for block in _order(layout, chosen):
        at -= layout.widths[block]
        if block not in chosen and block < chosen[-1]:
            masks.append(np.uint64(((1 << layout.widths[block]) - 1) << at))
    return masks


class Forest:
    """Union-find over n items; every root is the least item of its component."""

    def __init__(self, n: int) -> None:
        self.parent: Indices = np.arange(n, dtype=np.int64)

    def join(self, left: Indices, right: Indices) -> None:
        """Put the items of each pair into one component."""
        while len(left):
            left, right = self._roots(left), self._roots(right)
            differ = left != right
            left, right = left[differ], right[differ]
            high, low = np.maximum(left, right), np.minimum(left, right)
            # Of several unions of one root the least target stays; the others come back in the next round.
            np.minimum.at(self.parent, high, low)
            left, right = high, low

    def _roots(self, items: Indices) -> Indices:
        roots = self.parent[items]
        while True:
            higher = self.parent[roots]
            if np.array_equal(higher, roots):
                self.parent[items] = roots
                return roots
            roots = higher

    def labels(self) -> Indices:
        """Root of every item's component, shape (n,)."""
        return self._roots(np.arange(len(self.parent), dtype=np.int64))


def join_near(forest: Forest, hashes: Hashes, max_distance: int) -> None:
    """Join the items of a forest whose hashes lie within the distance, equal ones included.

    Args:
        forest: over N items.
        hashes: of each item, shape (N,), any order.
        max_distance: bits.
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    forest.join(np.arange(len(hashes), dtype=np.int64), first[inverse])
    for left, right in near_pairs(unique, max_distance):
        forest.join(first[left], first[right])


def components(hashes: Hashes, max_distance: int) -> Indices:
    """Label of each hash's component: hashes linked by steps of at most the distance share one."""
    forest = Forest(len(hashes))
    join_near(forest, hashes, max_distance)
    return forest.labels()


__all__ = ["Forest", "Layout", "components", "hamming", "join_near", "near_pairs"]
