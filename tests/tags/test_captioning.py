from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from dataprep.manifest import SCORE
from dataprep.stages.prune import Prune
from dataprep.tags.captioning import captioned
from dataprep.tags.thresholds import Thresholds

ROWS, TAGS_EACH, VOCABULARY = 2_000, 40, 3_000


def a_large_set(rows: int) -> pa.Table:
    """Rows of 40 random scores each, every tenth with a tag added by hand."""
    rng = np.random.default_rng(0)
    names = np.array([f"tag{i} word{i % 200}" for i in range(VOCABULARY)], dtype=object)
    picked = np.concatenate([rng.choice(VOCABULARY, TAGS_EACH, replace=False) for _ in range(rows)])
    score = pa.array(rng.random(rows * TAGS_EACH, dtype=np.float32))
    category = pa.array(["general"] * len(picked))
    structs = pa.StructArray.from_arrays([pa.array(names[picked]), score, category], fields=list(SCORE))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, len(picked) + 1, TAGS_EACH), pa.int32()), structs)
    columns = {name: pa.nulls(rows, Prune.needs.field(name).type) for name in Prune.needs.names}
    added = [["mine"] if i % 10 == 0 else None for i in range(rows)]
    columns |= {
        "tag_scores": lists,
        "role": pa.array(["train"] * rows),
        "state": pa.array(["active"] * rows),
        "hand_added": pa.array(added, pa.list_(pa.string())),
    }
    return pa.table(columns)


def test_a_hundred_thousand_captions_take_seconds() -> None:
    table = a_large_set(ROWS)
    settings = Prune(trigger="sks", class_word="girl")
    captioned(table.slice(0, 50), settings, Thresholds())  # the tokenizer is loaded once
    started = time.process_time()
    result = captioned(table, settings, Thresholds())
    spent = time.process_time() - started
    assert result.num_rows == ROWS
    assert spent * 100_000 / ROWS < 40  # processor seconds on any machine; about 7 on two slow cores


def test_the_order_of_rows_changes_nothing_but_the_order() -> None:
    table = a_large_set(60)
    settings = Prune(trigger="sks")
    shuffled = np.random.default_rng(1).permutation(60)
    straight = captioned(table, settings, Thresholds())
    mixed = captioned(table.take(pa.array(shuffled)), settings, Thresholds())
    assert mixed["caption"].to_pylist() == straight["caption"].take(pa.array(shuffled)).to_pylist()
    assert mixed["tags"].to_pylist() == straight["tags"].take(pa.array(shuffled)).to_pylist()


def a_picture(tagged: dict[str, float], by_clip: dict[str, float]) -> pa.Table:
    table = a_large_set(1)
    for name, found, category in (
        ("tag_scores", tagged, "general"),
        ("clip_scores", by_clip, "concept"),
    ):
        cells = [[{"tag": t, "score": s, "category": category} for t, s in found.items()]]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(cells, pa.list_(SCORE)))
    return table


def rules_of(table: pa.Table, settings: Prune) -> dict[str, str]:
    cells = captioned(table, settings, Thresholds())["tags"][0].as_py()
    return {tag["tag"]: f"{tag['fate']}: {tag['rule']}" for tag in cells}


def test_clips_count_of_people_gives_way_to_the_taggers_where_both_cannot_be_true() -> None:
    table = a_picture({"1girl": 0.99, "solo": 0.9}, {"1boy": 0.97, "2girls": 0.96, "beach": 0.95})
    told = rules_of(table, Prune(trigger="sks"))
    assert told["1boy"] == "pruned: contradicts 1girl, solo, which the tagger sees"
    assert told["2girls"].startswith("pruned: contradicts 1girl")
    assert told["beach"].startswith("kept")
    assert "1boy" not in captioned(table, Prune(trigger="sks"), Thresholds())["caption"][0].as_py()


def test_clips_count_of_people_stays_where_it_can_be_true_or_is_asked_for() -> None:
    alone = a_picture({"1girl": 0.99}, {"1boy": 0.97})
    assert rules_of(alone, Prune(trigger="sks"))["1boy"].startswith("kept")
    both = a_picture({"1girl": 0.99, "solo": 0.9}, {"1boy": 0.97})
    assert rules_of(both, Prune(trigger="sks", keep=("1boy",)))["1boy"].startswith("kept")
    unsure = a_picture({"1girl": 0.99, "solo": 0.1}, {"1boy": 0.97})
    assert rules_of(unsure, Prune(trigger="sks"))["1boy"].startswith("kept")
