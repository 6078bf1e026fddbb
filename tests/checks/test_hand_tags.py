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


def test_all_tags_of_the_tagger_are_known_not_only_those_it_saw_in_this_set(
    prepared: Write, good: list[Row], tmp_path: Path
) -> None:
    (tmp_path / "tagger").mkdir()
    tags = ["white_shirt", "blue_skirt", "wooden", "table", "lamp"]
    lines = [f"{i},{tag},0,9" for i, tag in enumerate(tags)]
    text = "\n".join(["tag_id,name,category,count", *lines])
    (tmp_path / "tagger" / "selected_tags.csv").write_text(text, encoding="utf-8")
    good[3]["caption"] = "sks girl, white shirt blue skirt, wooden table lamp"
    assert found(prepared(good), "several-tags-in-one") == []
    models = {"tagger": {"path": str(tmp_path / "tagger")}}
    told = "several tags without commas between them: 'white shirt blue skirt'"
    assert found(prepared(good, models=models), "several-tags-in-one") == [told]
    assert found(prepared(good, models={"tagger": {"path": "gone"}}), "several-tags-in-one") == []


def test_the_trigger_is_held_against_tags_that_no_picture_of_this_set_has(
    prepared: Write, good: list[Row], tmp_path: Path
) -> None:
    (tmp_path / "selected_tags.csv").write_text("tag_id,name,category,count\n1,sks_rifle,0,9", "utf-8")
    assert found(prepared(good), "trigger-unwise") == []
    models = {"tagger": {"path": str(tmp_path)}}
    (title,) = found(prepared(good, models=models), "trigger-unwise")
    assert "sks rifle" in title


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
