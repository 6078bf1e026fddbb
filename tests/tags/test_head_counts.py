from __future__ import annotations

import pytest

from dataprep.tags.head_counts import can_hold, head_count


@pytest.mark.parametrize(
    ("tag", "count"),
    [
        ("1girl", ("girl", 1, 1)),
        ("2boys", ("boy", 2, 2)),
        ("6+girls", ("girl", 6, float("inf"))),
        ("multiple_others", ("other", 2, float("inf"))),
        ("solo", ("all", 1, 1)),
        ("no humans", ("all", 0, 0)),
        ("girl", None),
        ("long hair", None),
    ],
)
def test_a_tag_says_whom_it_counts_and_how_many(tag: str, count: tuple[str, float, float] | None) -> None:
    assert head_count(tag) == count


@pytest.mark.parametrize(
    ("tags", "possible"),
    [
        ("1girl, 1boy", True),
        ("1girl, solo", True),
        ("1girl, solo, 1boy", False),
        ("1girl, 2girls", False),
        ("3girls, multiple girls", True),
        ("1girl, multiple girls", False),
        ("multiple girls, solo", False),
        ("1girl, 1boy, solo focus", True),
        ("no humans, 1girl", False),
        ("1girl, solo, hat", True),
        ("", True),
    ],
)
def test_what_tags_count_can_or_cannot_be_one_picture(tags: str, possible: bool) -> None:
    assert can_hold(tags.split(", ")) is possible
