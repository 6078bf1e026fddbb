from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataprep.stages.prune import Prune
from dataprep.tags.assemble import Hand, with_hand
from dataprep.tags.by_hand import COLUMNS, hands


def table(rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([Prune.needs.field(name) for name in COLUMNS])
    return pa.Table.from_pylist([dict.fromkeys(COLUMNS) | row for row in rows], schema=schema)


def test_only_rows_that_people_touched_are_looked_at() -> None:
    rows = table([{}, {"hand_added": ["hat"]}, {"hand_removed": ["hat"]}, {"hand_added": []}])
    assert hands(rows, np.array([True, True, False, True]), Prune()) == {1: Hand(added=("hat",))}


def test_tags_that_came_with_the_raw_picture_are_told_from_those_added_later() -> None:
    rows = table([{"raw_caption": "Hat, my_tag", "hand_added": ["hat", "my tag", "scarf"]}])
    assert hands(rows, np.array([True]), Prune()) == {0: Hand(added=("scarf",), raw=("hat", "my tag"))}


def test_a_raw_caption_that_the_settings_ignore_adds_nothing() -> None:
    rows = table([{"raw_caption": "hat", "hand_added": None}])
    assert hands(rows, np.array([True]), Prune()) == {}


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
