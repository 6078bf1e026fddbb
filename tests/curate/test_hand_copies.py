"""Decisions made by hand on one copy of a picture outlive the choice of another."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from dataprep.curate.decisions import append, decision
from dataprep.curate.hand_copies import hand_over, head_start, why_kept


def enlarged(work: Any, path: str, new: str, factor: float) -> None:
    with Image.open(work.raw / path) as image:
        size = round(image.width * factor), round(image.height * factor)
        image.resize(size, Image.Resampling.LANCZOS).save(work.raw / new)


@pytest.fixture
def edited(hand_work: Any) -> Any:
    """Each caption edited: one has other tags in another order, one is a sentence, one picture is deleted."""
    tags = hand_work.text("000.png").split(", ")
    hand_work.wanted = ", ".join(["sks girl", "my hat", *reversed(tags[1:-1])])
    hand_work.caption("000.png").write_text(hand_work.wanted)
    hand_work.caption("001.png").write_text("She waves at us from the top of a hill.")
    deleted = hand_work.caption("002.png")
    deleted.with_suffix(".png").unlink()
    deleted.unlink()
    hand_work.run()
    assert hand_work.row("002.png")["state"] == "dropped"
    return hand_work


def test_a_much_larger_copy_takes_over_all_that_was_decided_by_hand(edited: Any) -> None:
    box = {"left": 10, "top": 20, "right": 210, "bottom": 220}
    append(edited.out, [decision((edited.row("003.png")["sha256"], ""), "page", box=box)])
    for i in range(4):
        enlarged(edited, f"00{i}.png", f"big{i}.png", 2)
    for _ in range(2):
        edited.run()
        assert edited.text("big0.png") == edited.wanted
        assert edited.text("big1.png") == "sks girl, She waves at us from the top of a hill."
        assert edited.row("big3.png")["hand_box"] == {name: 2 * side for name, side in box.items()}
        assert edited.row("000.png")["reason"].endswith("that one has its tags by hand now")
        again = edited.row("big2.png")
        assert (again["state"], again["caption_file"]) == ("dropped", None)
        assert "copy of 002.png, distance 0, which was taken out by hand" in again["reason"]


def test_what_is_decided_on_the_kept_copy_afterwards_stands(edited: Any) -> None:
    enlarged(edited, "000.png", "big.png", 2)
    edited.run()
    edited.caption("big.png").write_text(edited.wanted.replace("my hat, ", ""))
    edited.run()
    assert "my hat" not in edited.text("big.png")
    (edited.raw / "000.png").unlink()  # its work is not lost with it
    edited.run()
    assert edited.text("big.png") == edited.wanted.replace("my hat, ", "")


def test_a_copy_that_is_hardly_larger_does_not_displace_the_edited_one(edited: Any) -> None:
    enlarged(edited, "000.png", "big.png", 1.25)
    edited.run()
    assert edited.text("000.png") == edited.wanted
    assert "that one is edited by hand" in edited.row("big.png")["reason"]


def test_a_copy_of_a_deleted_picture_that_is_kept_by_hand_stays(edited: Any) -> None:
    enlarged(edited, "002.png", "big.png", 2)
    edited.run()
    append(edited.out, [decision((edited.row("big.png")["sha256"], ""), "page", state="keep")])
    edited.run()
    assert edited.row("big.png")["state"] == "active"


def copy(**cells: Any) -> dict[str, Any]:
    return {"width": 100, "height": 100, "trim_share": 1.0, "distance": 0, "raw_caption": None} | cells


BOX = {"left": 0, "top": 0, "right": 50, "bottom": 50}


@pytest.mark.parametrize(
    ("dropped", "kept", "wanted"),
    [
        (
            {"hand_removed": ["tree"]},
            {"hand_added": ["tree"]},
            {"hand_added": ["tree"], "hand_removed": None},
        ),
        (
            {"hand_removed": ["tree"]},
            {"hand_added": ["tree"], "raw_caption": "tree"},
            {"hand_added": None, "hand_removed": ["tree"]},
        ),
        ({"hand_caption": "Hers."}, {"hand_added": ["hat"]}, {"hand_caption": None}),
        (
            {"hand_caption": "Hers."},
            {"hand_caption": "Raw.", "raw_caption": "Raw."},
            {"hand_caption": "Hers."},
        ),
        ({"hand_order": ["a", "b"]}, {"hand_order": ["b", "a"]}, {"hand_order": ["b", "a"]}),
        ({"hand_box": BOX}, {"width": 200}, {"hand_box": None}),  # another shape
        ({"hand_box": BOX, "distance": None}, {}, {"hand_box": None}),  # a cut-out
        ({"hand_box": BOX}, {"trim_share": 0.8}, {"hand_box": None}),  # borders about it
    ],
)
def test_the_kept_copys_own_decisions_stand(
    dropped: dict[str, Any], kept: dict[str, Any], wanted: dict[str, Any]
) -> None:
    one = copy(**kept)
    hand_over(copy(**dropped), one)
    assert {name: one.get(name) for name in wanted} == wanted


def test_captions_that_came_with_raw_pictures_are_no_edits() -> None:
    assert head_start(copy(raw_caption="sks, A hat.", hand_caption="A hat.")) == 0
    assert head_start(copy(raw_caption="red hair", hand_added=["red hair"])) == 0
    assert head_start(copy(raw_caption="red hair", hand_added=["red hair", "hat"])) > 0
    assert why_kept("larger", copy(width=200), copy(hand_added=["hat"])) == "larger"


def test_what_was_decided_after_taking_over_stands_alone() -> None:
    old = copy(sha256="old", hand_caption="Hers.", hand_removed=["tree"])
    new = copy(sha256="new", width=200, height=200, hand_copies=["old"])
    assert hand_over(old, new) == "; that one stands as it was edited by hand since"
    assert (new.get("hand_caption"), new.get("hand_removed")) == (None, None)
    third = copy(sha256="third", width=400, height=400)
    assert hand_over(old, third, [old, new]) == "; that one stands as it was edited by hand since"
    assert hand_over(new, old) == "; that one has what was decided by hand on this one since"
    assert (old["hand_caption"], old["hand_removed"]) == (None, None)
    assert head_start(new) > 0
