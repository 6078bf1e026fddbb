from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dataprep.digest import file_sha256
from dataprep.models import Model
from dataprep.pixels import probe
from dataprep.stage import Context
from dataprep.stages.prune import Prune
from dataprep.stages.tag import Tag, scored
from dataprep.tags.vocabulary import label_spelling

GOLDEN = Path(__file__).parent.parent / "golden" / "wd14"
CASES = json.loads((GOLDEN / "cases.json").read_text("utf-8"))
Make = Callable[..., dict[str, Any]]
Tabulate = Callable[[list[dict[str, Any]]], pa.Table]


@pytest.fixture
def tagging(context: Context) -> Context:
    return replace(context, models={"tagger": Model("tagger", "golden", GOLDEN, "x")}, threads=1)


def rows_of(table: pa.Table) -> list[dict[str, float]]:
    return [{s["tag"]: s["score"] for s in row} for row in table["tag_scores"].to_pylist()]


def test_every_score_above_the_floor_is_kept_best_first() -> None:
    scores = np.array([0.1, 0.9, 0.05, 0.049], np.float32)
    kept = scored(scores, ("a", "b", "c", "d"), ("general",) * 4, 0.05)
    assert [score["tag"] for score in kept] == ["b", "a", "c"]


def test_tags_do_not_depend_on_the_batch(tagging: Context, placed_row: Make, as_table: Tabulate) -> None:
    table = as_table([placed_row(f"{i * 'x'}.png", size=(64 + 64 * i, 128)) for i in range(1, 4)])
    run = Tag().open(tagging)
    together = rows_of(run(table))
    alone = [rows_of(run(table.slice(i, 1)))[0] for i in range(3)]
    for one, other in zip(together, alone, strict=True):
        # The golden network's mean over 200,000 pixels rounds otherwise in a batch, by up to .004.
        assert one == pytest.approx(other, abs=0.01)


def test_a_damaged_picture_marks_only_its_own_row(
    tagging: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("bb.png")]
    (tagging.raw / "a.png").write_bytes(b"no picture")
    result = Tag().open(tagging)(as_table(rows))
    assert result["error"][0].as_py().startswith("unreadable")
    assert result["tag_scores"][0].as_py() is None
    assert result["error"][1].as_py() is None
    assert result["tag_scores"][1].as_py()


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {"general_threshold": 0.35, "character_threshold": 0.35},
    "thresh_0.6": {"general_threshold": 0.6, "character_threshold": 0.6},
    "general_0.5_character_0.85": {"general_threshold": 0.5, "character_threshold": 0.85},
    "character_off": {"general_threshold": 0.35, "character_threshold": 1.0},
    "undesired": {"general_threshold": 0.35, "character_threshold": 0.35, "blacklist": ["solo", "long_hair"]},
    "batch_4_workers": {"general_threshold": 0.35, "character_threshold": 0.35},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_the_reference_taggers_tags_are_found_with_kaomoji_and_spaces_mended(
    case: str, tagging: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = []
    for path in sorted((GOLDEN / "images").glob("*.png")):
        size = probe(path)
        row = placed_row(path.name, (size.width, size.height))
        (tagging.raw / path.name).write_bytes(path.read_bytes())
        rows.append(row | {"pixels_key": file_sha256(path)})
    table = as_table(rows)
    # One row at a time, for the network's rounding.
    run = Tag().open(tagging)
    results = pa.concat_tables([run(table.slice(i, 1)) for i in range(table.num_rows)])
    for name in Prune.needs.names:
        if name == "tag_scores":
            table = table.append_column(name, results[name])
        elif name not in table.schema.names:
            table = table.append_column(name, pa.nulls(table.num_rows, Prune.needs.field(name).type))
    pruned = Prune(trigger=None, **OPTIONS[case]).open(tagging)(table)
    for row, path in zip(pruned["tags"].to_pylist(), sorted(CASES["tags"][case]), strict=True):
        kept = {tag["tag"] for tag in row if tag["fate"] == "kept"}
        assert kept == {label_spelling(tag) for tag in CASES["tags"][case][path]}, path
