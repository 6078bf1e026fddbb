"""The journal of decisions and its sum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.curate.decisions import (
    Hand,
    Journal,
    append,
    decision,
    fold,
    histories,
    journal_file,
    passed_on,
    read_journal,
    summed,
)
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
        ({"box_scale": [2]}, "box_scale: wanted two numbers above 0"),
        ({"box_scale": [0, 1]}, "box_scale: wanted two numbers above 0"),
    ],
)
def test_a_whole_line_that_says_what_cannot_be_is_named_with_its_file(
    tmp_path: Path, what: dict[str, object], said: str
) -> None:
    line(tmp_path, **what)
    with pytest.raises(InputError, match=f"decisions.jsonl: line 1: .*{said}"):
        read_journal(tmp_path)


OLD, NEW = ("old", ""), ("new", "")
HAT = decision(OLD, "file", added=["hat"], box={"left": 0, "top": 10, "right": 20, "bottom": 40})
HEIR = decision(NEW, "file", heir_of="old", box_scale=[2, 0.5])


def test_an_heir_has_all_decisions_up_to_then_in_their_places_and_boxes_at_its_own_scale() -> None:
    events = [HAT, decision(NEW, "file", removed=["hat"]), HEIR, decision(OLD, "file", added=["cat"])]
    found = histories(events)
    assert sorted(found[NEW]) == [0, 1, 2]
    assert summed(found[NEW]).removed == {"hat": "hat"}  # the newer word on it
    assert summed(found[NEW]).box == {"left": 0, "top": 5, "right": 40, "bottom": 20}
    assert sorted(found[OLD]) == [0, 3]


def test_an_heir_of_another_shape_has_no_box() -> None:
    without = {name: value for name, value in HEIR.items() if name != "box_scale"}
    hand = fold([HAT, without])[NEW]
    assert (list(hand.added), hand.box) == (["hat"], None)


def test_views_go_over_to_the_same_views_and_frames_stay_with_theirs() -> None:
    views = [decision(("old", view), "file", added=[view]) for view in ("head", "frame2", "frame2-head")]
    of_frame = decision(NEW, "file", heir_of="old", heir_view="frame2")
    found = {
        view: list(hand.added) for (sha256, view), hand in fold([*views, HEIR]).items() if sha256 == "new"
    }
    assert found == {"head": ["head"], "": []}
    hands = fold([*views, of_frame])
    assert {view: [*hand.added] for (sha256, view), hand in hands.items() if sha256 == "new"} == {
        "": ["frame2"],
        "head": ["frame2-head"],
    }


def test_undo_takes_back_decisions_but_not_that_a_copy_is_the_heir() -> None:
    journal = Journal((HAT, decision(NEW, "file", removed=["hat"]), HEIR, {"undo": 1, "to": "0001"}))
    assert [*journal.hands()[NEW].added] == ["hat"]


def test_the_last_heir_answers_for_decisions_that_went_back_and_forth() -> None:
    back = decision(OLD, "file", heir_of="new")
    assert passed_on([HAT, HEIR]) == {"old": "new"}
    assert passed_on([HAT, HEIR, back]) == {"new": "old"}
