"""A prepared folder for the tests of exports to other trainers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from dataprep.export.prepared import Prepared, read_prepared
from dataprep.manifest import merge
from dataprep.run import MANIFEST, METADATA_KEY
from dataprep.stage import Context
from dataprep.stages.export import Export
from dataprep.store import write_table


@pytest.fixture
def prepared(
    context: Context,
    placed_row: Callable[..., dict[str, Any]],
    as_table: Callable[[list[dict[str, Any]]], pa.Table],
) -> Prepared:
    """Three training pictures with repeats 2 and two class pictures, captions and all."""
    rows = [
        placed_row("a.png"),
        placed_row("b.x.png", (64, 128), caption='sks girl, "quoted", naïve: yes'),
        placed_row("星.png"),
        placed_row("c.png", role="reg"),
        placed_row("dd.png", role="reg"),
    ]
    table = as_table(rows)
    export = Export(trigger="sks", class_word="girl", resolution=128)
    result = export.open(context)(table)
    table = merge(table, result, "export")
    metadata = {
        "trigger": "sks",
        "class_word": "girl",
        "settings": {"export": export.model_dump(mode="json")},
    }
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})
    write_table(context.out / MANIFEST, table)
    return read_prepared(context.out, table, metadata)
