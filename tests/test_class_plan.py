from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.class_plan import in_proportion, shares, surplus

SIZES = ((128, 128), (64, 128), (128, 64))


@given(
    st.dictionaries(st.sampled_from(SIZES), st.integers(0, 500), min_size=1).filter(
        lambda w: any(w.values())
    ),
    st.integers(0, 1000),
)
def test_shares_add_up_and_differ_from_the_exact_proportion_by_less_than_one(
    weights: dict[tuple[int, int], int], total: int
) -> None:
    given_out = shares(weights, total)
    assert sum(given_out.values()) == total
    for size, weight in weights.items():
        assert abs(given_out[size] - total * weight / sum(weights.values())) < 1


def test_class_images_fill_the_buckets_in_proportion_in_order_of_shape() -> None:
    aspects = np.array([1.0, 0.4, 2.0, 1.1, 0.5, 0.9, 1.9, 0.6])
    chosen = in_proportion(aspects, {(128, 128): 20, (64, 128): 10, (128, 64): 10})
    assert Counter(chosen) == {(128, 128): 4, (64, 128): 2, (128, 64): 2}
    assert [chosen[i] for i in (1, 4)] == [(64, 128)] * 2
    assert [chosen[i] for i in (2, 6)] == [(128, 64)] * 2


def test_square_class_images_are_shared_out_too() -> None:
    chosen = in_proportion(np.ones(40), {(128, 128): 30, (64, 128): 10})
    assert Counter(chosen) == {(128, 128): 30, (64, 128): 10}


def test_what_no_epoch_comes_to_is_the_dearest_of_each_bucket() -> None:
    buckets = [SIZES[0]] * 3 + [SIZES[1]] * 2
    assert surplus(buckets, [0.3, 0.1, 0.2, 0.0, 0.5], {SIZES[0]: 2, SIZES[1]: 1}) == {0, 4}


@pytest.mark.parametrize("samples", [5, 9])
def test_class_images_for_which_there_is_room_all_stay(samples: int) -> None:
    assert surplus([SIZES[0]] * 5, [0.0] * 5, {SIZES[1]: samples}) == set()
