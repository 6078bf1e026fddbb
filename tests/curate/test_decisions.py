"""The journal of decisions and its sum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.curate.decisions import Hand, Journal, append, decision, fold, journal_file, read_journal
from dataprep.errors import InputError

IMAGE = ("ab" * 32, "")


def test_decisions_are_read_back_in_order(tmp_path: Path) -> None:
    events = [decision(IMAGE, "file", added=["赤い髪"]), decision(IMAGE, "page", state="drop")]
    append(tmp_path, events[:1])
    append(tmp_path, events[1:])
    assert list(read_journal(tmp_path).events) == events


def test_a_folder_without_decisions_has_none(tmp_path: Path) -> None:
    assert read_journal(tmp_path).events == ()


@pytest.mark.parametrize("cut", [1, 5, 20, 60])
def test_a_line_cut_by_a_kill_is_reported_and_costs_no_other_line(tmp_path: Path, cut: int) -> None:
    first, second, third = (decision(IMAGE, "file", added=[tag]) for tag in "abc")
    append(tmp_path, [first, second])
    path = journal_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    append(tmp_path, [third])
    journal = read_journal(tmp_path)
    if cut == 1:  # only the line end was lost
        assert journal.events == (first, second, third)
    else:
        assert journal.events == (first, third)
        assert journal.damaged == (2,)


def test_the_later_decision_wins() -> None:
    events = [
        decision(IMAGE, "file", added=["hat"], removed=["blush"], order=["hat", "1girl"]),
        decision(IMAGE, "page", removed=["Hat"], added=["blush"], order=None, state="drop"),
        decision(IMAGE, "page", state=None, box={"left": 0, "top": 0, "right": 8, "bottom": 8}),
    ]
    hand = fold(events)[IMAGE]
    assert list(hand.added.values()) == ["blush"]
    assert list(hand.removed.values()) == ["Hat"]
    assert (hand.order, hand.state) == (None, None)
    assert hand.box == {"left": 0, "top": 0, "right": 8, "bottom": 8}


def test_decisions_come_on_top_of_what_the_raw_pictures_brought_and_leave_it_unchanged() -> None:
    start = {IMAGE: Hand(added={"hat": "hat", "smile": "smile"}, caption="A girl.")}
    hand = fold([decision(IMAGE, "file", removed=["hat"], caption=None)], start)[IMAGE]
    assert list(hand.added) == ["smile"]
    assert hand.caption is None
    assert start[IMAGE].caption == "A girl."


def test_views_of_one_picture_are_decided_apart() -> None:
    hands = fold([decision(("ab", ""), "page", state="drop"), decision(("ab", "face"), "page", state="keep")])
    assert {image: hand.state for image, hand in hands.items()} == {
        ("ab", ""): "drop",
        ("ab", "face"): "keep",
    }


def test_undo_and_undo_of_undo() -> None:
    add = [decision(IMAGE, "file", added=[tag]) for tag in "abc"]
    back = {"time": "t", "who": "command", "undo": 1}
    again = {"time": "t", "who": "command", "undo": 3}
    assert Journal((*add, back)).effective() == add[:1]
    assert Journal((*add, back, again)).effective() == add
    assert Journal((*add, back, add[2])).effective() == [add[0], add[2]]


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(0, 12).map(lambda n: {"undo": n}), st.just({"image": "ab", "added": ["x"]}))
    )
)
def test_any_chain_of_undos_ends(events: list[dict[str, Any]]) -> None:
    effective = Journal(tuple(events)).effective()
    assert all("undo" not in event for event in effective)
    assert len(effective) <= len(events)


def test_every_line_is_json_and_names_who_decided(tmp_path: Path) -> None:
    append(tmp_path, [decision(("ab", "face"), "page", state="drop")])
    line = json.loads(journal_file(tmp_path).read_text("utf-8"))
    assert (line["who"], line["image"], line["view"], line["state"]) == ("page", "ab", "face", "drop")
    assert line["time"].endswith("+00:00")


def test_undo_takes_back_decisions_but_not_that_a_file_has_new_bytes() -> None:
    events = (
        {"image": "old", "added": ["hat"]},
        {"image": "new", "follows": "old"},
        {"image": "new", "removed": ["hat"]},
        {"undo": 1},
    )
    assert list(Journal(events).hands()["new", ""].added) == ["hat"]


def line(tmp_path: Path, **what: object) -> None:
    text = json.dumps({"image": IMAGE[0], **what})
    journal_file(tmp_path).write_text(f"{text}\n", encoding="utf-8")


def test_a_box_may_be_a_list_in_the_documented_order(tmp_path: Path) -> None:
    line(tmp_path, box=[1, 2.0, 30, 40])
    (event,) = read_journal(tmp_path).events
    assert event["box"] == {"left": 1, "top": 2, "right": 30, "bottom": 40}
    assert fold([event])[IMAGE].box == event["box"]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"box": [1, 2, 3]}, "box: wanted .left, top, right, bottom. in px"),
        ({"box": [30, 2, 3, 40]}, "box: wanted 0 <= left < right"),
        ({"box": [0, 0, 1.5, 2]}, "whole numbers"),
        ({"box": [0, 0, float("inf"), 2]}, "whole numbers"),
        ({"box": {"left": 0, "top": 0, "right": 9}}, "box: wanted"),
        ({"box": {"left": 0, "top": 0, "width": 9, "height": 9}}, "box: wanted"),
        ({"box": "0,0,9,9"}, "box: wanted"),
        ({"added": "hat"}, "added: wanted a list of tags"),
        ({"removed": [1]}, "removed: wanted a list of tags"),
        ({"order": {"hat": 1}}, "order: wanted a list of tags"),
        ({"state": "dropped"}, 'state: wanted "keep", "drop" or null'),
        ({"caption": ["A girl."]}, "caption: wanted a text"),
        ({"undo": "all"}, "undo: wanted a number"),
        ({"copies": "abc"}, "copies: wanted a list of sha256"),
        ({"inherited": ["hat"]}, "inherited: wanted decisions"),
        ({"inherited": {"added": "hat"}}, "added: wanted a list of tags"),
    ],
)
def test_a_whole_line_that_says_what_cannot_be_is_named_with_its_file(
    tmp_path: Path, what: dict[str, object], said: str
) -> None:
    line(tmp_path, **what)
    with pytest.raises(InputError, match=f"decisions.jsonl: line 1: .*{said}"):
        read_journal(tmp_path)


OLD, NEW = ("old", ""), ("new", "")
EDITED = [
    decision(OLD, "file", removed=["hat", "*"]),
    decision(NEW, "file", added=["*"], inherited={"removed": ["hat", "*"]}, copies=["old"]),
]


def test_an_edit_starts_from_what_was_inherited_and_the_newer_of_two_copies_has_the_other() -> None:
    hands = fold(EDITED)
    assert hands[NEW] == Hand(copies=frozenset({"old"}))
    hands = fold([*EDITED, decision(OLD, "file", added=["cat"], copies=["new"])])
    assert (hands[OLD].copies, hands[NEW].copies) == (frozenset({"new"}), frozenset())
    moved = fold([*EDITED, decision(("converted", ""), "file", follows="old")])
    assert moved[NEW].copies == {"old", "converted"}


def test_newer_decisions_stand_in_place_of_a_copys_own_unless_they_were_undone() -> None:
    heir = decision(OLD, "file", heir_of="new", instead=True)
    assert not fold([*EDITED, heir])[OLD].removed
    journal = Journal((*EDITED, heir, {"undo": 1, "to": "0001"}))
    assert [*journal.hands()[OLD].removed] == ["hat", "*"]
