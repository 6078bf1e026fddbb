"""Captions that came with raw pictures."""

from __future__ import annotations

import pytest

from dataprep.curate.decisions import summed
from dataprep.curate.raw_captions import RawCaptions, raw_hands, whole_caption, with_edits
from tests.conftest import HandWork


@pytest.mark.parametrize(
    ("captions", "text", "added", "whole"),
    [
        ("merge", "red hair, hat", ["red hair", "hat"], None),
        ("merge", "She waves at us from a hill.", [], "She waves at us from a hill."),
        ("keep", "red hair, hat", [], "red hair, hat"),
    ],
)
def test_a_caption_beside_a_raw_picture_counts_as_written_by_hand(
    captions: RawCaptions, text: str, added: list[str], whole: str | None
) -> None:
    row = {"sha256": "a", "view": None, "raw_caption": text}
    hand = raw_hands([row], captions)["a", ""]
    assert ([*hand.added.values()], hand.caption) == (added, whole)


def test_no_caption_and_an_ignored_one_decide_nothing() -> None:
    rows = [
        {"sha256": "a", "view": "", "raw_caption": None},
        {"sha256": "b", "view": "", "raw_caption": "hat"},
    ]
    assert raw_hands(rows[:1], "merge") == {}
    assert raw_hands(rows, "ignore") == {}


@pytest.mark.parametrize(
    ("text", "added", "removed", "whole"),
    [
        ("teacup, hill", ["hat"], ["teacup"], "hill, hat"),
        ("teacup,hill\n", [], ["tree"], "teacup,hill\n"),  # nothing of it edited: as it is
        ("teacup, hill", [], ["*", "teacup"], ""),
        ("She waves from a hill.", ["hat"], ["tree"], "She waves from a hill, hat"),
        ("She waves from a hill.", ["Hill"], [], "She waves from a hill."),
    ],
)
def test_edits_of_tags_outrank_a_whole_caption_that_came_with_the_picture(
    text: str, added: list[str], removed: list[str], whole: str
) -> None:
    assert with_edits(text, added, removed) == whole


def test_a_tag_that_was_added_after_a_whole_caption_stands_though_an_earlier_one_said_it_too() -> None:
    first = {0: {"added": ["cap"]}, 1: {"caption": "She waves at us.", "old": "sks girl, cap, bow"}}
    assert whole_caption("She waves at us.", summed(first), summed({}), first) == "She waves at us."
    again = first | {2: {"added": ["cap"]}}
    assert whole_caption("She waves at us.", summed(again), summed({}), again) == "She waves at us, cap"


def test_tags_come_to_a_caption_by_hand_only_if_it_was_not_written_in_view_of_them() -> None:
    history = {
        0: {"added": ["hat"]},
        1: {"added": ["cap"]},
        2: {"caption": "She waves at us.", "old": "sks girl, smile, hat"},
        3: {"added": ["bow"]},
    }
    hand = summed(history)
    assert whole_caption("She waves at us.", hand, summed({}), history) == "She waves at us, cap, bow"
    del history[2]["old"]
    assert whole_caption("She waves at us.", hand, summed({}), history) == "She waves at us, bow"


def test_a_sentence_beside_raw_takes_no_tag_away_that_a_person_added(hand_work: HandWork) -> None:
    edited = hand_work.caption("000.png")
    edited.write_text(hand_work.text("000.png").rpartition(", ")[0] + ", hat\n", encoding="utf-8")
    hand_work.run()
    (hand_work.raw / "000.txt").write_text("A girl stands by the sea.\n", encoding="utf-8")
    hand_work.run()
    assert hand_work.text("000.png") == "sks, A girl stands by the sea, hat"
    edited.write_text("sks, A girl stands by the sea\n", encoding="utf-8")
    hand_work.run()
    assert hand_work.text("000.png") == "sks, A girl stands by the sea"
    (hand_work.raw / "000.txt").unlink()
    hand_work.run()
    assert "hat" not in hand_work.text("000.png")


@pytest.mark.parametrize("captions", ["keep", "ignore", "merge"])
def test_edits_by_hand_outrank_the_caption_beside_raw_in_every_mode(
    hand_work: HandWork, captions: RawCaptions
) -> None:
    (hand_work.raw / "001.txt").write_text("teacup, hill\n", encoding="utf-8")
    hand_work.run()
    text = hand_work.text("001.png").replace("teacup", "hat")
    hand_work.caption("001.png").write_text(f"{text}\n", encoding="utf-8")
    hand_work.run()
    hand_work.overrides = (f"curate.captions={captions}",)
    hand_work.run()
    tags = hand_work.text("001.png").split(", ")
    assert ("hat" in tags, "teacup" in tags, "hill" in tags) == (True, False, captions != "ignore")
    assert (len(tags) == 3) is (captions == "keep")
