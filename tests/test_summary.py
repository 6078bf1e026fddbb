"""The summary: every file of RAW is counted in exactly one place."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dataprep.manifest import BASE, TAG
from dataprep.summary import summarize

SCHEMA = pa.schema(
    [*BASE, ("bucket_width", pa.int32()), ("bucket_height", pa.int32()), ("tags", pa.list_(TAG))]
)


def row(
    path: str, state: str = "active", reason: str | None = None, role: str = "train", **more: Any
) -> dict[str, Any]:
    return {"id": path, "path": path, "role": role, "state": state, "reason": reason, **more}


def tag(name: str, fate: str) -> dict[str, Any]:
    return {"tag": name, "score": 0.9, "source": "tagger", "category": "general", "fate": fate, "rule": "r"}


def test_every_file_is_counted_once() -> None:
    table = pa.Table.from_pylist(
        [
            row(
                "a",
                bucket_width=256,
                bucket_height=320,
                tags=[tag("smile", "kept"), tag("pink hair", "absorbed")],
            ),
            row("b", bucket_width=256, bucket_height=320, tags=[tag("pink hair", "absorbed")]),
            row("c", "dropped", "dedup:duplicate: of a, distance 2"),
            row("d", "quarantined", "scan:unreadable: truncated"),
            row("r", role="reg"),
            row("q", "dropped", "reg:near-duplicate: of a", role="reg"),
        ],
        schema=SCHEMA,
    )
    summary = summarize(table)
    assert summary.files == 4
    assert summary.kept + sum(summary.dropped.values()) + sum(summary.quarantined.values()) == summary.files
    assert summary.dropped == {"dedup:duplicate": 1}
    assert summary.quarantined == {"scan:unreadable": 1}
    assert summary.quarantined_files == [("d", "scan:unreadable: truncated")]
    assert (summary.reg, summary.reg_left_out) == (1, 1)
    assert summary.buckets == {"256x320": 2}
    assert summary.absorbed == [("pink hair", 2)]
    assert summary.tags_kept == 1


def test_a_run_that_stopped_early_counts_what_there_is() -> None:
    summary = summarize(pa.Table.from_pylist([row("a")], schema=BASE))
    assert (summary.files, summary.kept, summary.buckets, summary.latents) == (1, 1, {}, 0)
