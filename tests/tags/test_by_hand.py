from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from dataprep.stages.prune import Prune
from dataprep.tags.assemble import Hand, with_hand
from dataprep.tags.by_hand import COLUMNS, hand_notes, hands, unused
from tests.conftest import HandWork


def table(rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([Prune.needs.field(name) for name in COLUMNS])
    return pa.Table.from_pylist([dict.fromkeys(COLUMNS) | row for row in rows], schema=schema)


def test_only_rows_that_people_touched_are_looked_at() -> None:
    rows = table([{}, {"hand_added": ["hat"]}, {"hand_removed": ["hat"]}, {"hand_added": []}])
    assert hands(rows, np.array([True, True, False, True]), Prune()) == {1: Hand(added=("hat",))}


def test_tags_that_came_with_the_raw_picture_are_told_from_those_added_later() -> None:
    history = json.dumps([[-1, {"added": ["Hat", "my_tag", "bow"]}], [3, {"added": ["scarf", "bow"]}]])
    rows = table([{"hand_history": history, "hand_added": ["hat", "my tag", "bow", "scarf"]}])
    found = hands(rows, np.array([True]), Prune())
    assert found == {0: Hand(added=("bow", "scarf"), raw=("hat", "my tag"))}


def test_the_machines_tags_give_way_to_what_came_with_the_raw_picture(hand_work: HandWork) -> None:
    assert {"1girl", "solo", "open mouth"} <= set(hand_work.text("000.png").split(", "))
    (hand_work.raw / "000.txt").write_text("2girls, long hair, closed mouth")
    (hand_work.raw / "001.txt").write_text("closed mouth, long hair")
    hand_work.overrides = ('prune.absorb=["long_hair"]',)
    hand_work.run()
    two, one = (set(hand_work.text(f"00{i}.png").split(", ")) for i in (0, 1))
    assert {"2girls", "closed mouth", "open mouth"} <= two  # the other's mouth may be open
    assert not two & {"1girl", "solo"}
    assert "closed mouth" in one
    assert "open mouth" not in one
    rules = {tag["tag"]: (tag["fate"], tag["rule"]) for tag in hand_work.row("001.png")["tags"]}
    assert rules["open mouth"] == ("pruned", "contradicts the caption beside the raw picture")
    assert rules["long hair"] == ("absorbed", "absorb list; it came with the raw picture")
    hand_work.caption("001.png").write_text(hand_work.text("001.png") + ", open mouth, long hair")
    for _ in range(2):
        hand_work.run()
        assert hand_work.text("001.png").endswith("open mouth, long hair")  # by hand it outranks both


def test_the_trigger_word_is_no_part_of_anybodys_tag() -> None:
    hand = {"hand_added": ["sks_dress", "risks"], "hand_removed": ["dress"], "hand_order": ["sks dress"]}
    rows = table([hand])
    found = hands(rows, np.array([True]), Prune(trigger="sks"))
    assert found == {0: Hand(added=("risks",), removed=("dress",), order=("dress",))}


def test_a_tag_with_the_trigger_word_in_it_remembers_how_it_was_written() -> None:
    rows = table([{"hand_added": ["sks_dress", "risks"]}])
    found = hands(rows, np.array([True]), Prune(trigger="sks"))
    assert found == {0: Hand(added=("dress", "risks"), written={"dress": "sks_dress"})}
    (tag, _) = with_hand([], found[0])
    assert tag["rule"] == "added by hand, as 'sks_dress': the trigger word stands once, in front"


def test_a_list_is_outranked_by_hand_and_show_and_the_run_say_so(hand_work: HandWork) -> None:
    first, _, gone = hand_work.text("000.png").rpartition(", ")
    hand_work.caption("000.png").write_text(f"{first}, hat\n", encoding="utf-8")
    hand_work.overrides = ('prune.absorb=["hat"]', f'prune.keep=["{gone}"]')
    told = hand_work.run()
    assert "'hat' of your absorb list was added by hand: 000.png" in told
    assert f"{gone!r} of your keep list was removed by hand: 000.png" in told
    row = hand_work.row("000.png")
    rules = {tag["tag"]: tag["rule"] for tag in row["tags"]}
    assert rules["hat"] == "added by hand; by hand it outranks your absorb list"
    assert rules[gone] == "removed by hand; by hand it outranks your keep list"
    assert row["caption"] == f"{first}, hat"


def test_what_people_decided_and_no_caption_follows_is_told() -> None:
    against = "these of its tags contradict those of that one and were not used: frown"
    beside = {
        "state": "active",
        "raw_caption": "A girl with a big hat.",
        "hand_caption": "A girl with a big hat.",
    }
    rows = [
        {"path": "a", "reason": None, "hand_removed": ["hat", "tree"], **beside},
        {"path": "b", "state": "active", "reason": None, "hand_removed": ["hat"], "hand_caption": None},
        {
            "path": "c",
            "state": "dropped",
            "reason": "dedup:duplicate: of a; its tags were not used: cap, bow; x",
        },
        {"path": "d", "state": "dropped", "reason": "dedup:duplicate: of a; its caption was not used"},
        {
            "path": "e",
            "state": "dropped",
            "reason": f"dedup:x; {against}",
        },
    ]
    assert {text: [row["path"] for row in found] for text, found in unused(rows).items()} == {
        "'hat' was removed by hand, and the sentence says it": ["a"],
        "of a copy that was dropped, its tags were not used: cap, bow": ["c"],
        "of a copy that was dropped, its caption was not used": ["d"],
        f"of a copy that was dropped, {against}": ["e"],
    }
    table = pa.Table.from_pylist([dict.fromkeys(rows[0]) | row for row in rows])
    assert len(hand_notes(table)) == 4
    assert hand_notes(table.select(["path", "state", "reason"]).slice(0, 2)) == []
