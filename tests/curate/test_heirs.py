"""What was decided by hand on a picture outlives its file, through the whole chain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataprep.check import check
from dataprep.curate.decisions import Hand, read_journal
from dataprep.curate.heirs import Before, by_copy, by_look, by_name, gone_pictures
from dataprep.curate.snapshots import edits_text


@pytest.fixture
def edited(hand_work: Any) -> Any:
    """000.png has lost its last tag and got two by hand, 001.png has a sentence."""
    tags = hand_work.text("000.png").split(", ")
    hand_work.caption("000.png").write_text(", ".join(["sks girl", "my hat", *tags[1:-1], "on a hill"]))
    hand_work.caption("001.png").write_text("She waves at us from the top of a hill.")
    hand_work.gone = tags[-1]
    return hand_work


def saved_again(raw: Path, old: str, new: str) -> None:
    with Image.open(raw / old) as image:
        image.save(raw / new, lossless=True)
    (raw / old).unlink()


@pytest.mark.parametrize("edited_before", [True, False])
def test_a_picture_converted_to_another_format_keeps_its_edits(edited: Any, edited_before: bool) -> None:
    if edited_before:
        edited.run()
    for stem in ("000", "001"):
        saved_again(edited.raw, f"{stem}.png", f"{stem}.webp")
    told = edited.run()
    for _ in range(2):
        tags = edited.text("000.webp").split(", ")
        assert tags[:2] == ["sks girl", "my hat"]
        assert tags[-1] == "on a hill"
        assert edited.gone not in tags
        assert edited.text("001.webp") == "sks girl, She waves at us from the top of a hill."
        edited.run()
    assert any("000.webp: the file has the place of 000.png, which is gone; what" in line for line in told)


def test_a_picture_saved_again_under_another_name_is_known_by_its_look(edited: Any) -> None:
    edited.run()
    saved_again(edited.raw, "000.png", ["best", "first of all.webp"][1])
    told = edited.run()
    assert "my hat" in edited.text("first of all.webp")
    assert edited.gone not in edited.text("first of all.webp").split(", ")
    assert not any("held by no picture" in line for line in told)


def test_what_no_picture_holds_is_told_by_name_and_counts_when_the_picture_is_back(edited: Any) -> None:
    edited.run()
    (edited.raw / "000.png").rename(edited.raw.parent / "aside.png")
    told = edited.run()
    assert any("edits of 000.png are held by no picture any more" in line for line in told)
    assert any("held by no picture" in line and "000.png" in line for line in edits_text(edited.out))
    (finding,) = [found for found in check(edited.out) if found.code == "lost-edits"]
    assert finding.images == ("000.png",)
    with Image.open(edited.raw.parent / "aside.png") as image:
        image.save(edited.raw / "again.webp", lossless=True)
    edited.run()
    assert "my hat" in edited.text("again.webp")
    assert gone_pictures(edited.out) == []
    assert not [found for found in check(edited.out) if found.code == "lost-edits"]


def test_the_copy_of_a_picture_that_is_gone_inherits(edited: Any) -> None:
    with Image.open(edited.raw / "000.png") as image:
        image.save(edited.raw / "zzz.webp", quality=90)
    edited.run()
    assert edited.row("zzz.webp")["state"] == "dropped"
    (edited.raw / "000.png").unlink()
    edited.run()
    assert "my hat" in edited.text("zzz.webp")
    assert edited.gone not in edited.text("zzz.webp").split(", ")
    assert read_journal(edited.out).events[-1]["heir_of"]


def row(name: str, sha256: str, **cells: Any) -> dict[str, Any]:
    return {"path": name, "role": "train", "sha256": sha256, "width": 10, "height": 10} | cells


LOOKS = {"x": "0" * 16, "y": "0" * 15 + "1", "z": "0" * 15 + "3", "far": "f" * 16}


def look(row: dict[str, Any]) -> tuple[str, str]:
    return LOOKS[row["sha256"]], ""


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"a": "x"}, ["y"], {"a": "y"}),
        ({"a": "x"}, ["far"], {}),
        ({"a": "x", "b": "x"}, ["y"], {}),  # which of two it is, nobody knows
        ({"a": "y"}, ["x", "z"], {}),  # nor which of two has it
        ({"a": "x", "b": "z"}, ["x", "z"], {"a": "x", "b": "z"}),
    ],
)
def test_only_an_unmistakable_look_inherits(
    old: dict[str, str], new: list[str], wanted: dict[str, str]
) -> None:
    known = Before([row(name, name, phash=LOOKS[what], thumb=None) for name, what in old.items()])
    pairs = by_look(old, known, [row(f"{name}.png", name) for name in new], look)
    assert {before["sha256"]: now["sha256"] for before, now in pairs} == wanted


def test_another_shape_is_another_picture() -> None:
    known = Before([row("a", "a", phash=LOOKS["x"])])
    assert by_look(["a"], known, [row("b", "x", width=20)], look) == []


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (["a/0.webp"], ["a/0.webp"]),
        (["b/0.webp"], []),  # another folder
        (["a/0.webp", "a/0.png"], ["a/0.png"]),  # the name is there still
        (["a/0.1.webp"], []),
    ],
)
def test_the_same_stem_in_the_same_folder_is_the_same_place(now: list[str], wanted: list[str]) -> None:
    pairs = by_name(Before([row("a/0.png", "old")]), [row(path, f"new {path}") for path in now])
    assert [new["path"] for _, new in pairs] == wanted


@pytest.mark.parametrize(
    ("own", "other", "lacking"),
    [
        (lambda hand: None, {"added": ["hat"], "removed": ["tree"]}, {"added": ["hat"], "removed": ["tree"]}),
        (lambda hand: hand.apply({"removed": ["hat"]}), {"added": ["hat"]}, {}),
        (
            lambda hand: hand.apply({"caption": "Mine."}),
            {"caption": "Yours.", "state": "keep"},
            {"state": "keep"},
        ),
    ],
)
def test_what_a_copy_inherits_contradicts_nothing_of_its_own(
    own: Callable[[Hand], None], other: dict[str, Any], lacking: dict[str, Any]
) -> None:
    mine, yours = Hand(), Hand()
    own(mine)
    yours.apply(other)
    assert mine.lacks(yours) == lacking


def test_a_copy_that_took_over_before_it_was_edited_gets_nothing_again() -> None:
    shape = {"width": 100, "height": 100}
    old = {"id": "o", "sha256": "old", "path": "o.png", "duplicate_of": "n"} | shape
    new = {"id": "n", "sha256": "new", "path": "n.png", "duplicate_of": None} | shape
    hands = {("old", ""): Hand(removed={"hat": "hat"}), ("new", ""): Hand(copies=frozenset({"old"}))}
    ((*_, event),) = by_copy(["old"], Before([old, new]), [new], hands)
    assert (event["heir_of"], event["copies"], event.get("removed")) == ("old", ["old"], None)
    ((*_, event),) = by_copy(["new"], Before([old, new]), [old], hands)
    assert (event["heir_of"], event["copies"], event["instead"]) == ("new", ["new"], True)
