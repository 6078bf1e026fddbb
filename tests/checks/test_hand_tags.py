"""Tags that people typed: several in one, other names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataprep.check import check
from tests.test_check import Row, good, prepared

__all__ = ["good", "prepared"]  # fixtures
Write = Callable[..., Path]


def found(directory: Path, code: str) -> list[str]:
    return [finding.title for finding in check(directory) if finding.code == code]


@pytest.mark.parametrize(
    ("caption", "several"),
    [
        ("sks girl, 1girl solo smile hat", True),
        ("sks girl, 1girl hat", True),
        ("sks girl, smile hat open mouth", True),
        ("sks girl, smile; hat; dress", True),
        ("sks girl, smile|hat", True),
        ("sks girl, smile, hat, very long hair", False),
        ("sks girl, ;_;, |_|, ;d", False),
        ("sks girl, long hair blue eyes", True),
        ("sks girl, long hair smile", True),
        ("sks girl, pleated skirt black thighhighs", True),
        ("sks girl, smile hat", False),  # two may be a name
        ("sks girl, black hair bow", False),  # a bow, not black hair
        ("sks girl, very long hair, looking at viewer, hair between eyes, white school swimsuit", False),
        ("sks girl, star-shaped hair ornament, blue eyes white dragon (yu-gi-oh!)", False),
        ("sks girl, red summer dress", False),
        ("sks girl, my hat from paris", False),
    ],
)
def test_several_tags_without_commas_are_found(
    prepared: Write, good: list[Row], caption: str, several: bool
) -> None:
    good[3]["caption"] = caption
    assert bool(found(prepared(good), "several-tags-in-one")) is several


def test_what_the_tagger_wrote_and_prose_is_never_several(prepared: Write, good: list[Row]) -> None:
    entry = {"tag": "solo smile hat", "score": 0.9, "source": "tagger", "category": "general", "fate": "kept"}
    good[3] |= {"caption": "sks girl, solo smile hat", "tags": [entry | {"rule": "kept"}]}
    good[4]["caption"] = "sks girl, She looks at us; it is a hat."
    assert found(prepared(good), "several-tags-in-one") == []


def test_another_name_for_a_known_tag_is_told_with_the_known_one(prepared: Write, good: list[Row]) -> None:
    good[3]["caption"] = "sks girl, Blond_hair, gray eyes"
    assert found(prepared(good), "other-name") == [
        "'blond hair' is known to the tagger as 'blonde hair', "
        "'gray eyes' is known to the tagger as 'grey eyes'"
    ]
