"""The manifest: an Arrow table, one row per image view. This file owns its columns and how results merge.

A merge never loses, adds or reorders a row, and never brings a dropped or quarantined row back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dataprep.errors import StageError

BOX = pa.struct([(side, pa.int32()) for side in ("left", "top", "right", "bottom")])  # px, upright original
SCORE = pa.struct([("tag", pa.string()), ("score", pa.float32()), ("category", pa.string())])
TAG = pa.struct(
    [
        ("tag", pa.string()),
        ("score", pa.float32()),
        ("source", pa.string()),  # tagger | clip | caption | hand | raw
        ("category", pa.string()),  # general | character | rating | ...
        ("fate", pa.string()),  # kept | absorbed | pruned | removed_by_hand | added_by_hand
        ("rule", pa.string()),  # why
        (
            "frequency",
            pa.float32(),
        ),  # share of single-subject pictures; null: not counted
        ("bound", pa.float32()),  # 95 % Wilson lower bound of that share
    ]
)

# What `scan` gives every row; all other columns are declared by the stage that adds them.
BASE = pa.schema(
    [
        ("id", pa.string()),  # names the row within this folder: digest of role, path and view
        ("path", pa.string()),  # relative to RAW (role train) or to the class folder (role reg), POSIX
        ("view", pa.string()),  # "" for the whole picture
        ("role", pa.string()),  # train | reg
        ("sha256", pa.string()),  # of the file's bytes
        ("pixels_key", pa.string()),  # of the file's bytes and the pixel policy: the identity of the pixels
        ("state", pa.string()),  # active | dropped | quarantined
        ("reason", pa.string()),  # "stage:code: detail" of a row that is not active, else null
        ("format", pa.string()),
        ("width", pa.int32()),  # px, upright
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("raw_caption", pa.string()),  # text found beside the raw picture, null if none
    ]
)

ACTIVE, DROPPED, QUARANTINED = "active", "dropped", "quarantined"
STATES = (ACTIVE, DROPPED, QUARANTINED)
# Where a row is, not what it is: never part of a row's key, so that a rename recomputes nothing.
LOCATORS = frozenset({"id", "path", "role"})


def active(table: pa.Table) -> pa.ChunkedArray:
    """Boolean mask of the rows that stages work on, shape (rows,)."""
    return pc.equal(table["state"], ACTIVE)


def empty_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Append the columns of `schema` that `table` lacks, filled with nulls."""
    for field in schema:
        if field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def conform(columns: Mapping[str, Any], schema: pa.Schema, where: str) -> pa.Table:
    """Columns as a table of exactly this schema.

    Raises:
        StageError: a column is missing, is not declared, or does not have the declared type.
    """
    missing = [name for name in schema.names if name not in columns]
    extra = [name for name in columns if name not in schema.names]
    if missing or extra:
        raise StageError(f"{where}: declared columns {missing} are missing, undeclared {extra} were returned")
    try:
        return pa.table([_column(columns[f.name], f.type) for f in schema], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise StageError(f"{where}: a returned column does not have its declared type: {error}") from error


def _column(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:  # noqa: ANN401 - Arrow or a list
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == kind else values.cast(kind)
    return pa.array(values, kind)


def merge(table: pa.Table, result: pa.Table, where: str) -> pa.Table:
    """Put the columns of `result` (same rows, same order) into `table`; verdicts only ever worsen.

    Args:
        table: the manifest so far.
        result: columns to add or replace; `state` and `reason`, if present, mark rows.
        where: the stage's name, for errors.
    Raises:
        StageError: rows were lost or added, or a marked row became active again.
    """
    if result.num_rows != table.num_rows:
        raise StageError(f"{where}: {table.num_rows} rows in, {result.num_rows} out; rows are never lost")
    if "state" in result.schema.names:
        bad = pc.invert(pc.is_in(result["state"], value_set=pa.array(STATES)))
        back = pc.and_(pc.not_equal(table["state"], ACTIVE), pc.equal(result["state"], ACTIVE))
        if pc.any(pc.or_kleene(bad, back)).as_py():
            raise StageError(f"{where}: a row has an unknown state or was made active again")
    for field in result.schema:
        index = table.schema.get_field_index(field.name)
        column = result[field.name]
        table = table.append_column(field, column) if index < 0 else table.set_column(index, field, column)
    return table
