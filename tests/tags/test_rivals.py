from __future__ import annotations

import pytest

from dataprep.tags.rivals import rivalry


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
