from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dataprep.curate.captions import tags_of
from dataprep.digest import file_sha256
from dataprep.models import Model
from dataprep.pictures.pixels import probe
from dataprep.stage import Context
from dataprep.stages.prune import Prune
from dataprep.stages.tag import Tag, scored
from dataprep.tags.assemble import IN_CAPTION
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


# The reference's options in our settings; what its spelling or its own mistakes add is in `meant`.
DEFAULT: dict[str, Any] = {"general_threshold": 0.35, "character_threshold": 0.35}
UNDESIRED = DEFAULT | {"blacklist": ["solo", "long_hair"]}
OPTIONS: dict[str, dict[str, Any]] = dict.fromkeys(CASES["captions"], DEFAULT) | {
    "thresh_0.6": {"general_threshold": 0.6, "character_threshold": 0.6},
    "general_0.5_character_0.85": {"general_threshold": 0.5, "character_threshold": 0.85},
    "character_off": {"general_threshold": 0.35, "character_threshold": 1.0},
    "undesired": UNDESIRED,
    "undesired_after_remove_underscore": UNDESIRED,
    "undesired_space_form": UNDESIRED,
}
RATINGS = {"general", "sensitive", "questionable", "explicit"}
BROKEN = {"(o) (o)": "(o)_(o)", "|| ||": "||_||", "<|> <|>": "<|>_<|>"}
BESIDE = "solo, my tag, long_hair"  # caption files that were there in the case "append"
_scores: list[pa.Table] = []  # of the pictures, once for all cases


def meant(case: str, caption: str) -> set[str]:
    """The tags that the reference meant, in our spelling, without those that we never write."""
    tags = {tag.strip() for tag in caption.split("; " if "semicolon" in case else ", ")}
    tags = {label_spelling(BROKEN.get(tag, tag)) for tag in tags}
    if case == "undesired_after_remove_underscore":  # it looks for long_hair after writing long hair
        tags -= {"long hair"}
    return tags - RATINGS


def whole_set(tags: set[str], case: str) -> set[str]:
    """Our tags, in the case of `--character_tag_expand` with names parted as it does: `saber`, `fate`."""
    if "expand" not in case:
        return tags
    parted = [tag[:-1].rpartition(" (")[::2] if tag.endswith(")") else (tag,) for tag in tags - {"(o)_(o)"}]
    return {part for parts in parted for part in parts} | tags & {"(o)_(o)"}


@pytest.fixture
def golden_scores(tagging: Context, placed_row: Make, as_table: Tabulate) -> pa.Table:
    """The golden pictures, tagged: the columns that prune needs."""
    if not _scores:
        rows = []
        for path in sorted((GOLDEN / "images").glob("*.png")):
            size = probe(path)
            row = placed_row(path.name, (size.width, size.height))
            (tagging.raw / path.name).write_bytes(path.read_bytes())
            rows.append(row | {"pixels_key": file_sha256(path)})
        table, run = as_table(rows), Tag().open(tagging)
        # One row at a time, for the network's rounding.
        results = pa.concat_tables([run(table.slice(i, 1)) for i in range(table.num_rows)])
        for name in Prune.needs.names:
            if name == "tag_scores":
                table = table.append_column(name, results[name])
            elif name not in table.schema.names:
                table = table.append_column(name, pa.nulls(table.num_rows, Prune.needs.field(name).type))
        _scores.append(table)
    return _scores[0]


def test_the_reference_tagger_was_run_in_23_ways() -> None:
    assert len(CASES["captions"]) == len(CASES["options"]) == 23


@pytest.mark.parametrize("case", CASES["captions"])
def test_the_reference_taggers_tags_are_found_with_kaomoji_and_spaces_mended(
    case: str, tagging: Context, golden_scores: pa.Table
) -> None:
    table = golden_scores
    if case == "append":
        tags = list(tags_of(BESIDE))
        beside = {"hand_added": tags, "hand_history": json.dumps([[-1, {"added": tags}]])}
        for name, value in beside.items():
            column = pa.array([value] * table.num_rows, Prune.needs.field(name).type)
            table = table.set_column(table.schema.get_field_index(name), name, column)
    pruned = Prune(trigger=None, **OPTIONS[case]).open(tagging)(table)
    for row, (stem, caption) in zip(
        pruned["tags"].to_pylist(), sorted(CASES["captions"][case].items()), strict=True
    ):
        kept = {tag["tag"] for tag in row if tag["fate"] in IN_CAPTION}
        assert whole_set(kept, case) == meant(case, caption), stem
