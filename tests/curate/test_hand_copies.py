"""Decisions made by hand on one copy of a picture outlive the choice of another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dataprep.check import check
from dataprep.curate.captions import Lead
from dataprep.curate.decisions import Hand, append, decision
from dataprep.curate.hand_copies import (
    HISTORY,
    as_text,
    hand_over,
    hand_over_raw,
    head_start,
    history_of,
    why_kept,
)


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
        edited.enlarge(f"00{i}.png", f"big{i}.png", 2)
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
    edited.enlarge("000.png", "big.png", 2)
    edited.run()
    edited.caption("big.png").write_text(edited.wanted.replace("my hat, ", ""))
    edited.run()
    assert "my hat" not in edited.text("big.png")
    (edited.raw / "000.png").unlink()  # its work is not lost with it
    edited.run()
    assert edited.text("big.png") == edited.wanted.replace("my hat, ", "")


def test_a_copy_that_is_hardly_larger_does_not_displace_the_edited_one(edited: Any) -> None:
    edited.enlarge("000.png", "big.png", 1.25)
    edited.run()
    assert edited.text("000.png") == edited.wanted
    assert "that one is edited by hand" in edited.row("big.png")["reason"]


def test_a_copy_of_a_deleted_picture_that_is_kept_by_hand_stays(edited: Any) -> None:
    edited.enlarge("002.png", "big.png", 2)
    edited.run()
    append(edited.out, [decision((edited.row("big.png")["sha256"], ""), "page", state="keep")])
    edited.run()
    assert edited.row("big.png")["state"] == "active"


def test_a_caption_in_raw_counts_after_a_larger_copy_came_and_went(hand_work: Any) -> None:
    beside = hand_work.raw / "001.txt"
    beside.write_text("teacup")
    hand_work.enlarge("001.png", "big1.png", 2)
    hand_work.run()
    hand_work.caption("big1.png").write_text(hand_work.text("big1.png") + ", my dog")
    hand_work.run()
    (hand_work.raw / "big1.png").unlink()
    hand_work.run()
    assert {"teacup", "my dog"} < set(hand_work.text("001.png").split(", "))
    for text in ("teacup, kite", "kite"):
        beside.write_text(text)
        hand_work.run()
        tags = set(hand_work.text("001.png").split(", "))
        assert {"my dog", "kite"} < tags
        assert ("teacup" in tags) == ("teacup" in text)
    beside.write_text("She waves at us from the top of a hill.")
    hand_work.run()
    assert hand_work.text("001.png") == "sks girl, She waves at us from the top of a hill, my dog"


@pytest.mark.parametrize(
    ("text", "captions"), [("She waves at us from a hill.", "merge"), ("teacup, hill", "keep")]
)
def test_a_caption_beside_the_smaller_copy_alone_is_the_larger_ones(
    hand_work: Any, text: str, captions: str
) -> None:
    hand_work.overrides = (f"curate.captions={captions}",)
    (hand_work.raw / "001.txt").write_text(text)
    hand_work.enlarge("001.png", "big1.png", 2)
    hand_work.run()
    assert hand_work.text("big1.png") == f"sks girl, {text}"
    hand_work.caption("big1.png").write_text(f"sks girl, {text.removesuffix('.')}, my dog")
    hand_work.run()
    assert hand_work.text("big1.png") == f"sks girl, {text.removesuffix('.')}, my dog"
    for name in ("001.png", "001.txt"):
        (hand_work.raw / name).unlink()
    hand_work.run()
    assert hand_work.text("big1.png") == f"sks girl, {text.removesuffix('.')}, my dog"


def test_a_caption_beside_a_copy_that_is_gone_stays_and_one_that_is_not_used_is_reported(
    hand_work: Any,
) -> None:
    (hand_work.raw / "001.txt").write_text("She waves at us from a hill.")
    (hand_work.raw / "002.txt").write_text("my dog")
    (hand_work.raw / "000.txt").write_text("She waves at us from a hill.")
    for i in range(3):
        hand_work.enlarge(f"00{i}.png", f"big{i}.png", 2)
    (hand_work.raw / "big0.txt").write_text("The sea is calm at night.")
    hand_work.run()
    (finding,) = [found for found in check(hand_work.out) if found.code == "not-used"]
    assert finding.images == ("000.png",)
    for path in [*hand_work.raw.glob("00[12].*")]:
        path.unlink()
    for _ in range(2):
        hand_work.run()
        assert hand_work.text("big1.png") == "sks girl, She waves at us from a hill."
        assert "my dog" in hand_work.text("big2.png")


@pytest.mark.parametrize("kept", [False, True])
def test_a_newer_decision_on_a_dropped_copy_counts(hand_work: Any, kept: bool) -> None:
    hand_work.enlarge("001.png", "big1.png", 2)
    hand_work.run()
    hand_work.caption("big1.png").write_text(hand_work.text("big1.png") + ", my dog, my cat")
    hand_work.run()
    image = hand_work.row("001.png")["sha256"], ""
    what: dict[str, Any] = {"removed": ["my dog"], "added": ["my hat"]} | ({"state": "keep"} if kept else {})
    append(hand_work.out, [decision(image, "page", **what)])
    hand_work.run()
    tags = hand_work.text("001.png" if kept else "big1.png").split(", ")
    assert {"my hat", "my cat"} < set(tags)
    assert "my dog" not in tags


def copy(*decided: tuple[int, dict[str, Any]], **cells: Any) -> dict[str, Any]:
    """A row with these decisions, each with its place in the journal; -1: beside the raw picture."""
    text = json.dumps(decided) if decided else None
    return {"width": 100, "height": 100, "trim_share": 1.0, "distance": 0, HISTORY: text} | cells


BOX = {"left": 0, "top": 0, "right": 50, "bottom": 50}
RAW = -1


@pytest.mark.parametrize(
    ("dropped", "kept", "wanted"),
    [
        ([(1, {"removed": ["tree"]})], [(2, {"added": ["tree"]})], {"hand_added": ["tree"]}),
        ([(2, {"removed": ["tree"]})], [(1, {"added": ["tree"]})], {"hand_removed": ["tree"]}),
        (
            [(1, {"removed": ["tree"]})],
            [(RAW, {"added": ["tree"]})],
            {"hand_added": None, "hand_removed": ["tree"]},
        ),
        (
            [(1, {"caption": "She waves at us."})],
            [(2, {"added": ["hat"]})],
            {"hand_caption": "She waves at us, hat"},
        ),
        ([(1, {"caption": "Hers."})], [(2, {"caption": None})], {"hand_caption": None}),
        ([(1, {"caption": "Hers."})], [(RAW, {"caption": "Raw."})], {"hand_caption": "Hers."}),
        (
            [(1, {"added": ["hat"]})],
            [(RAW, {"caption": "She waves at us."})],
            {"hand_caption": "She waves at us, hat"},
        ),
        ([(2, {"order": ["a", "b"]})], [(1, {"order": ["b", "a"]})], {"hand_order": ["a", "b"]}),
        ([(1, {"order": ["a", "b"]})], [(2, {"order": ["b", "a"]})], {"hand_order": ["b", "a"]}),
    ],
)
def test_the_newest_decision_stands_whichever_copy_it_was_made_on(
    dropped: list[tuple[int, dict[str, Any]]],
    kept: list[tuple[int, dict[str, Any]]],
    wanted: dict[str, Any],
) -> None:
    one = copy(*kept)
    hand_over(copy(*dropped), one)
    assert {name: one.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("dropped", "kept", "wanted"),
    [
        ({}, {"width": 200, "height": 200}, {name: 2 * side for name, side in BOX.items()}),
        ({}, {"width": 200}, None),  # another shape
        ({"duplicate_of": "k", "distance": None}, {}, None),  # a cut-out
        ({"trim_share": 0.8}, {}, None),  # borders about it
    ],
)
def test_a_crop_goes_over_where_both_show_the_same(
    dropped: dict[str, Any], kept: dict[str, Any], wanted: dict[str, int] | None
) -> None:
    one = copy(**kept)
    hand_over(copy((1, {"box": BOX}), **dropped), one)
    assert one["hand_box"] == wanted


def test_captions_that_came_with_raw_pictures_are_no_edits() -> None:
    assert head_start(copy((RAW, {"caption": "A hat."}))) == 0
    assert head_start(copy((RAW, {"added": ["red hair"]}), (0, {"added": ["hat"]}))) > 0
    assert why_kept("larger", copy(width=200), copy((0, {"added": ["hat"]}))) == "larger"


def test_what_became_of_decisions_is_told() -> None:
    old, new = copy((1, {"caption": "Hers.", "removed": ["tree"]})), copy()
    assert hand_over(copy(), new) == ""
    assert hand_over(old, new) == "; that one has its caption and tags by hand now"
    assert hand_over(old, copy((2, {"added": ["cat"]}))) == "; that one stands as it was edited by hand since"


@pytest.mark.parametrize(
    ("dropped", "kept", "caption", "told"),
    [
        ({"caption": "A sea."}, None, "A sea.", "; its caption went to that one"),
        ({"caption": "A sea."}, {"caption": "A sea. "}, None, ""),
        ({"caption": "A sea."}, {"caption": "A hill."}, None, "; its caption was not used"),
        ({"caption": "A sea."}, {"added": ["hill"]}, None, "; its caption was not used"),
        ({"added": ["sea"]}, {"caption": "A hill."}, None, "; its tags were not used: sea"),
        ({"added": ["sea"]}, {"added": ["hill"]}, None, "; its tags went to that one: sea"),
    ],
)
def test_a_caption_beside_a_dropped_raw_picture_is_given_where_the_kept_one_has_none(
    dropped: dict[str, Any], kept: dict[str, Any] | None, caption: str | None, told: str
) -> None:
    row, one = copy((RAW, dropped)), copy(*([] if kept is None else [(RAW, kept)]))
    assert hand_over_raw(row, one, merge=True) == told
    assert one.get("hand_caption") == caption
    assert "went to" not in hand_over_raw(row, copy(), merge=False)


def test_the_trigger_word_and_whether_a_picture_is_in_training_are_no_part_of_a_history() -> None:
    history: dict[int, Any] = {
        3: {"image": "a", "state": "drop"},
        4: {"image": "a", "added": ["sks girl", "hat"], "order": ["sks girl", "hat"], "who": "file"},
        5: {"caption": "sks girl, She waves.", "removed": [], "old": "sks girl, hat"},
        6: {"caption": None, "order": None},
    }
    text = as_text(history, Hand(added={"sea": "sea"}), Lead("sks", "girl"), "train")
    assert history_of({HISTORY: text}) == {
        RAW: {"added": ["sea"]},
        4: {"added": ["hat"], "order": ["hat"]},
        5: {"caption": "She waves.", "old": "sks girl, hat"},
        6: {"caption": None, "order": None},
    }
    assert as_text({3: history[3]}, Hand(), Lead("sks", "girl"), "train") is None
