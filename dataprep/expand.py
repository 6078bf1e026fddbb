"""Further rows: views that a stage adds behind the row they are cut from. No row is lost or moved."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataprep.errors import StageError
from dataprep.manifest import merge

PARENT = pa.field("parent", pa.int64())  # number of the row that a row of the result is, or is cut from


def expand(table: pa.Table, result: pa.Table, where: str) -> pa.Table:
    """The manifest with the rows of `result`.

    Args:
        table: the manifest so far.
        result: PARENT, then columns to add or replace; each old row once, in order, its children behind it.
        where: the stage's name, for errors.
    Raises:
        StageError: an old row is missing or out of order, or two rows have one id.
    """
    parents = result["parent"].to_numpy()
    rows = table.take(pa.array(parents))
    old = pc.equal(rows["id"], result["id"]).to_numpy()
    if not np.array_equal(parents[old.astype(bool)], np.arange(table.num_rows)):
        raise StageError(f"{where}: rows are missing or out of order; rows are never lost")
    if len(pc.unique(result["id"])) != result.num_rows:
        raise StageError(f"{where}: two rows have the same id")
    return merge(rows, result.drop_columns(["parent"]), where)
