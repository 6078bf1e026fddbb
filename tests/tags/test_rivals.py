from __future__ import annotations

import pytest

from dataprep.tags.rivals import contradicts, rivalry


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("long_hair", "hair length"),
        ("very long hair", "hair length"),
        ("pink hair", "hair colour"),
        ("light brown hair", "hair colour"),
        ("green eyes", "eye colour"),
        ("wet hair", None),
        ("closed eyes", None),
        ("pink dress", None),
        ("hair", None),
    ],
)
def test_only_one_of_a_sort_is_true_of_a_person(tag: str, said: str | None) -> None:
    assert rivalry(tag) == said


@pytest.mark.parametrize(
    ("tag", "others"),
    [
        ("frown", ["smile"]),
        ("closed_eyes", ["smile", "green eyes"]),
        ("one eye closed", ["closed eyes"]),
        ("red hair", ["pink hair"]),
        ("outdoors", ["indoors"]),
        ("2girls", ["solo"]),
        ("full body", ["close-up"]),
    ],
)
def test_tags_that_exclude_each_other_contradict(tag: str, others: list[str]) -> None:
    assert contradicts(tag, others)
    assert all(contradicts(other, [tag]) for other in others if other != "smile" or tag == "frown")


@pytest.mark.parametrize(
    ("tag", "others"),
    [
        ("grin", ["smile"]),
        ("blush", ["smile", "red hair"]),
        ("open mouth", ["smile"]),
        ("red hair", ["pink hair", "two-tone hair"]),
        ("red hair", ["red_hair"]),
        ("multiple girls", ["2girls"]),
        ("star", []),
    ],
)
def test_tags_that_go_together_do_not_contradict(tag: str, others: list[str]) -> None:
    assert not contradicts(tag, others)
