from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.tags.frequency import wilson_lower, wilson_upper


@pytest.mark.parametrize(
    ("hits", "total", "z", "lower", "upper"),
    [
        # Newcombe 1998, table I, method 3 (two-sided 95 %)
        (81, 263, 1.959964, 0.2553, 0.3662),
        (15, 148, 1.959964, 0.0624, 0.1605),
        (0, 20, 1.959964, 0.0, 0.1611),
        (1, 29, 1.959964, 0.0061, 0.1718),
    ],
)
def test_bounds_are_the_published_ones(hits: int, total: int, z: float, lower: float, upper: float) -> None:
    assert wilson_lower(hits, total, z) == pytest.approx(lower, abs=5e-5)
    assert wilson_upper(hits, total, z) == pytest.approx(upper, abs=5e-5)


def test_no_pictures_say_nothing() -> None:
    assert (wilson_lower(0, 0), wilson_upper(0, 0)) == (0.0, 1.0)


@given(st.integers(1, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_share_lies_between_its_bounds(case: tuple[int, int]) -> None:
    hits, total = case
    share, rounding = hits / total, 1e-12
    assert 0 <= wilson_lower(hits, total) <= share + rounding
    assert share - rounding <= wilson_upper(hits, total) <= 1


def test_more_pictures_of_the_same_share_are_surer() -> None:
    assert wilson_lower(2, 3) < wilson_lower(20, 30) < wilson_lower(200, 300) < 2 / 3
