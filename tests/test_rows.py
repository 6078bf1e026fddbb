"""Row stages: stored row by row under their content, fused, resumed, and one bad row harms no other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from dataprep.errors import RowError, StageError
from dataprep.manifest import BASE
from dataprep.progress import Observer
from dataprep.rows import RowStage, run_rows
from dataprep.stage import Context, Row, Stage, TableFunction, per_batch, per_row


class Length(Stage):
    """Length of the sha256 text; refuses "bad" rows."""

    name = "length"
    needs = pa.schema([("sha256", pa.string())])
    adds = pa.schema([("length", pa.int32())])
    batch_rows = 3
    plus: int = 0
    calls: ClassVar[list[str]] = []

    def open(self, context: Context) -> TableFunction:
        def one(row: Row) -> Mapping[str, Any]:
            self.calls.append(row["sha256"])
            if row["sha256"].startswith("bad"):
                raise RowError("decode", "truncated")
            if row["sha256"].startswith("busy"):
                raise RowError("locked", "in use", transient=True)
            return {"length": len(row["sha256"]) + self.plus}

        return per_row(self, one)


class Double(Stage):
    """Twice the length, in batches."""

    name = "double"
    needs = pa.schema([("length", pa.int32())])
    adds = pa.schema([("double", pa.int32())])
    calls: ClassVar[list[int]] = []

    def open(self, context: Context) -> TableFunction:
        def many(lengths: list[int]) -> list[Mapping[str, Any]]:
            self.calls.extend(lengths)
            return [{"double": 2 * length} for length in lengths]

        return per_batch(self, lambda row: row["length"], many)


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    Length.calls.clear()
    Double.calls.clear()


def table(*contents: str, paths: str = "") -> pa.Table:
    rows = [
        {
            "id": f"{paths}{i}",
            "path": f"{paths}{i}.png",
            "role": "train",
            "sha256": content,
            "state": "active",
        }
        for i, content in enumerate(contents)
    ]
    return pa.Table.from_pylist(rows, schema=BASE)


def run(folder: Path, manifest: pa.Table, *stages: Stage) -> pa.Table:
    context = Context(raw=folder, out=folder, pixels=None, blobs=None)  # type: ignore[arg-type]
    opened = [RowStage(stage, stage.key(), folder / "store", context) for stage in stages]
    return run_rows(opened, manifest, Observer(), threads=2)


def test_every_row_gets_its_result_in_order(tmp_path: Path) -> None:
    result = run(tmp_path, table("a", "bb", "ccc", "dddd", "eeeee", "ffffff", "g"), Length(), Double())
    assert result["length"].to_pylist() == [1, 2, 3, 4, 5, 6, 1]
    assert result["double"].to_pylist() == [2, 4, 6, 8, 10, 12, 2]


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path, table("a", "bb", "bad"), Length(), Double())
    Length.calls.clear()
    Double.calls.clear()
    assert run(tmp_path, table("a", "bb", "bad"), Length(), Double()).equals(first)
    assert (Length.calls, Double.calls) == ([], [])


def test_a_rename_recomputes_nothing(tmp_path: Path) -> None:
    run(tmp_path, table("a", "bb"), Length())
    Length.calls.clear()
    assert run(tmp_path, table("bb", "a", paths="new/"), Length())["length"].to_pylist() == [2, 1]
    assert Length.calls == []


def test_one_new_row_computes_one_row(tmp_path: Path) -> None:
    run(tmp_path, table("a", "bb", "ccc", "dddd"), Length())
    Length.calls.clear()
    result = run(tmp_path, table("a", "new", "bb", "ccc", "dddd"), Length())
    assert result["length"].to_pylist() == [1, 3, 2, 3, 4]
    assert Length.calls == ["new"]


def test_another_setting_recomputes(tmp_path: Path) -> None:
    run(tmp_path, table("a"), Length())
    assert run(tmp_path, table("a"), Length(plus=10))["length"].to_pylist() == [11]


def test_a_bad_row_is_quarantined_with_its_reason_and_skips_later_stages(tmp_path: Path) -> None:
    result = run(tmp_path, table("a", "bad!", "ccc"), Length(), Double())
    assert result["state"].to_pylist() == ["active", "quarantined", "active"]
    assert result["reason"].to_pylist() == [None, "length:decode: truncated", None]
    assert result["double"].to_pylist() == [2, None, 6]


def test_a_transient_error_is_tried_again(tmp_path: Path) -> None:
    run(tmp_path, table("busy"), Length())
    run(tmp_path, table("busy"), Length())
    assert Length.calls == ["busy", "busy"]


def test_rows_that_are_not_active_are_left_alone(tmp_path: Path) -> None:
    manifest = table("a", "bb")
    manifest = manifest.set_column(
        BASE.get_field_index("state"), BASE.field("state"), pa.array(["dropped", "active"])
    )
    result = run(tmp_path, manifest, Length())
    assert result["length"].to_pylist() == [None, 2]
    assert result["state"].to_pylist() == ["dropped", "active"]


def test_finished_rows_survive_a_stage_that_breaks(tmp_path: Path) -> None:
    class Breaks(Length):
        name = "length"

        def open(self, context: Context) -> TableFunction:
            inner = super().open(context)

            def apply(part: pa.Table) -> pa.Table:
                if "boom" in part["sha256"].to_pylist():
                    raise ValueError("a bug")
                return inner(part)

            return apply

    rows = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff", *["x" * n for n in range(20, 60)], "boom"]
    with pytest.raises(ValueError, match="a bug"):
        run(tmp_path, table(*rows), Breaks())
    Length.calls.clear()
    run(tmp_path, table(*rows[:-1]), Length())
    assert len(Length.calls) < 12


def test_a_stage_that_returns_an_undeclared_column_is_named(tmp_path: Path) -> None:
    class Sloppy(Length):
        def open(self, context: Context) -> TableFunction:
            return per_row(self, lambda row: {"length": 1, "extra": 2})

    with pytest.raises(StageError, match=r"length.*extra"):
        run(tmp_path, table("a"), Sloppy())


def test_models_are_opened_once_for_many_threads(tmp_path: Path) -> None:
    opened: list[int] = []

    class Once(Length):
        def open(self, context: Context) -> TableFunction:
            opened.append(threading.get_ident())
            return super().open(context)

    run(tmp_path, table(*["a" * n for n in range(1, 30)]), Once())
    assert len(opened) == 1
