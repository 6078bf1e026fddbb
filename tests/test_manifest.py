"""The manifest: rows are conserved and verdicts only worsen."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dataprep.errors import StageError
from dataprep.manifest import BASE, conform, empty_columns, merge

SCHEMA = pa.schema([("length", pa.int32())])


def manifest(*states: str) -> pa.Table:
    rows = [{"id": str(i), "state": state} for i, state in enumerate(states)]
    return pa.Table.from_pylist(rows, schema=BASE)


def test_new_columns_are_added_and_old_ones_replaced() -> None:
    table = merge(manifest("active"), pa.table({"length": [1]}, SCHEMA), "test")
    table = merge(table, pa.table({"length": [2]}, SCHEMA), "test")
    assert table["length"].to_pylist() == [2]
    assert table.schema.names == [*BASE.names, "length"]


def test_losing_a_row_is_refused() -> None:
    with pytest.raises(StageError, match="2 rows in, 1 out"):
        merge(manifest("active", "active"), pa.table({"length": [1]}, SCHEMA), "test")


@pytest.mark.parametrize("verdict", [["active"], ["lost"]])
def test_a_dropped_row_cannot_come_back_nor_get_an_unknown_state(verdict: list[str]) -> None:
    with pytest.raises(StageError, match="unknown state or was made active again"):
        merge(manifest("dropped"), pa.table({"state": verdict}), "test")


def test_a_wrong_type_is_named() -> None:
    with pytest.raises(StageError, match="measure: a returned column"):
        conform({"length": ["long"]}, SCHEMA, "measure")


def test_missing_columns_are_filled_with_nulls() -> None:
    assert empty_columns(manifest("active"), SCHEMA)["length"].to_pylist() == [None]
