"""Captions that came with raw pictures."""

from __future__ import annotations

import pytest

from dataprep.curate.raw_captions import RawCaptions, raw_hands


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
