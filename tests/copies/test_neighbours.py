from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.copies import neighbours
from dataprep.copies.neighbours import Forest, Layout, components, hamming, near_pairs


def planted(n: int, seed: int = 0) -> np.ndarray:
    """Random hashes, a third of them copies of an earlier one with 0 to 10 flipped bits."""
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, n, dtype=np.uint64)
    for i in range(1, n, 3):
        flips = random.choice(64, random.integers(0, 11), replace=False).astype(np.uint64)
        mask = np.bitwise_or.reduce(np.uint64(1) << flips) if len(flips) else np.uint64(0)
        hashes[i] = hashes[random.integers(0, i)] ^ mask
    return hashes


def naive_components(hashes: np.ndarray, max_distance: int) -> list[int]:
    labels = list(range(len(hashes)))
    changed = True
    while changed:
        changed = False
        for i in range(len(hashes)):
            for j in range(len(hashes)):
                near = bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= max_distance
                if near and labels[i] != labels[j]:
                    labels[i] = labels[j] = min(labels[i], labels[j])
                    changed = True
    return labels


def same_partition(a: np.ndarray, b: list[int]) -> bool:
    return len(set(zip(a.tolist(), b, strict=True))) == len(set(a.tolist())) == len(set(b))


def test_distance_counts_the_bits_that_differ() -> None:
    assert hamming(np.array([0b1011], np.uint64), np.array([0b0001], np.uint64)).tolist() == [2]
    assert hamming(np.array([0], np.uint64), np.array([2**64 - 1], np.uint64)).tolist() == [64]


@pytest.mark.parametrize("max_distance", [0, 4, 8])
def test_components_are_those_of_comparing_all_with_all(max_distance: int) -> None:
    hashes = planted(60)
    assert same_partition(components(hashes, max_distance), naive_components(hashes, max_distance))


def pairs(hashes: np.ndarray, max_distance: int) -> list[tuple[int, int]]:
    found = [np.stack(chunk) for chunk in near_pairs(hashes, max_distance)]
    ends = np.sort(np.concatenate(found, axis=1), axis=0) if found else np.empty((2, 0), int)
    return [(int(i), int(j)) for i, j in ends.T]


@pytest.mark.parametrize("max_distance", [1, 4, 8])
@pytest.mark.parametrize("keys", [1, 3])
def test_pigeonhole_finds_every_pair_once(
    max_distance: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = np.unique(planted(500))
    distances = hamming(hashes[:, None], hashes[None, :])
    expected = {(int(i), int(j)) for i, j in np.argwhere(np.triu(distances <= max_distance, 1))}
    assert set(pairs(hashes, max_distance)) == expected  # by comparing all with all
    monkeypatch.setattr(neighbours, "_BRUTE_FORCE_UP_TO", 0)
    monkeypatch.setattr(neighbours, "_PART", 100)
    monkeypatch.setattr(Layout, "best", classmethod(lambda cls, n, distance: cls.of(distance, keys)))
    found = pairs(hashes, max_distance)
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_near_hashes_of_one_long_run_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BRUTE_FORCE_UP_TO", 0)
    hashes = np.arange(60, dtype=np.uint64)  # equal in all blocks but the last
    assert len(pairs(hashes, 8)) == 60 * 59 // 2


def test_more_blocks_are_shared_the_more_hashes_there_are() -> None:
    keys = [Layout.best(n, 8).keys for n in (10**3, 10**5, 10**7, 10**9)]
    assert keys == sorted(keys)
    assert all(sum(Layout.best(n, 8).widths) == 64 for n in (10, 10**6))


def test_nothing_and_one_hash_are_fine() -> None:
    assert len(components(np.empty(0, np.uint64), 8)) == 0
    assert components(np.array([7], np.uint64), 8).tolist() == [0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_a_forest_joins_what_a_graph_connects(edges: list[tuple[int, int]]) -> None:
    forest = Forest(20)
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    forest.join(left, right)
    neighbours: dict[int, set[int]] = {i: {i} for i in range(20)}
    for a, b in edges:
        merged = neighbours[a] | neighbours[b]
        for item in merged:
            neighbours[item] = merged
    assert same_partition(forest.labels(), [min(neighbours[i]) for i in range(20)])
