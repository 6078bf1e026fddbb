from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from dataprep.curate.decisions import append, decision
from dataprep.errors import StageError
from dataprep.expand import PARENT, expand
from dataprep.manifest import BASE
from dataprep.progress import Observer
from dataprep.run import Job, run
from dataprep.stage import Context
from dataprep.stages.split import Split

STANDING = {"left": 300, "top": 100, "right": 700, "bottom": 1500}
HEAD = {"left": 350, "top": 100, "right": 650, "bottom": 400}


def split(context: Context, **settings: Any) -> list[dict[str, Any]]:
    row = {
        "id": "a",
        "path": "a.png",
        "view": "",
        "role": "train",
        "sha256": "f" * 64,
        "pixels_key": "k",
        "state": "active",
        "width": 1000,
        "height": 1600,
        "raw_caption": "smile",
        "hand_added": ["smile"],
        "subject": STANDING,
        "head": HEAD,
        "focus_x": 0.5,
        "focus_y": 0.5,
    }
    other = row | {"id": "b", "state": "dropped", "reason": "dedup:duplicate: of a.png"}
    table = pa.Table.from_pylist([row, other], schema=pa.schema(Split.needs))
    result = expand(table, Split(**settings).open(context)(table), "split")
    return result.to_pylist()


def test_nothing_is_split_unless_asked(context: Context) -> None:
    assert [(row["id"], row["region"]) for row in split(context)] == [("a", None), ("b", None)]


def test_views_stand_behind_their_picture_and_show_what_they_are_named_after(context: Context) -> None:
    rows = split(context, views=["head", "upper-body"])
    assert [row["view"] for row in rows] == ["", "head", "upper-body", ""]
    assert rows[1]["region"] == HEAD
    upper = rows[2]["region"]
    assert upper["top"] == HEAD["top"]
    assert HEAD["bottom"] < upper["bottom"] < STANDING["bottom"]
    assert len({row["id"] for row in rows}) == 4
    assert rows[1]["pixels_key"] == rows[0]["pixels_key"]


def test_words_about_the_whole_picture_are_not_said_of_a_part(context: Context) -> None:
    rows = split(context, views=["head"])
    assert rows[0]["hand_added"] == ["smile"]
    assert (rows[1]["hand_added"], rows[1]["raw_caption"]) == (None, None)


def test_a_view_that_would_be_too_small_is_not_cut_out(context: Context) -> None:
    assert len(split(context, views=["head"], min_side=301)) == 2


def test_decisions_about_a_view_are_its_own(context: Context) -> None:
    append(context.out, [decision(("f" * 64, "head"), "page", state="drop")])
    rows = split(context, views=["head"])
    assert [row["state"] for row in rows] == ["active", "dropped", "dropped"]


@pytest.mark.parametrize("parents", [[1], [0, 0], [1, 0]])
def test_no_row_is_lost_or_moved(parents: list[int]) -> None:
    table = pa.Table.from_pylist([{"id": "a"}, {"id": "b"}], schema=pa.schema([BASE.field("id")]))
    ids = ["ab"[parent] for parent in parents]
    with pytest.raises(StageError, match="row"):
        expand(
            table, pa.table({"parent": parents, "id": ids}, schema=pa.schema([PARENT, BASE.field("id")])), "x"
        )


def test_a_run_writes_a_picture_for_each_view(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    image = Image.new("RGB", (700, 1100), "white")
    ImageDraw.Draw(image).rectangle((250, 60, 450, 1050), fill="#203080")
    image.save(tmp_path / "raw" / "a.png")
    job = Job(
        tmp_path / "raw",
        tmp_path / "out",
        flags={"trigger": "sks", "models": "miniature"},
        overrides=("split.views=['head', 'upper-body']", "split.min_side=128"),
        until="bucket",
    )
    table = run(job, Observer()).table
    assert table["view"].to_pylist() == ["", "head", "upper-body"]
    files = sorted(path.name for path in (tmp_path / "out" / "img").glob("*/*.png"))
    assert files == ["a-head.png", "a-upper-body.png", "a.png"]
    again = run(replace(job), Observer()).table
    assert again.equals(table)
