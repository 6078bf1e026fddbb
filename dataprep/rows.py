"""Consecutive row stages over all active rows: stored results are taken, the others computed and stored.

The stages of one stretch are fused: a batch goes through all of them before the next, so that one decode of a
picture serves them all, and several batches run at once, so that decoding and inference overlap.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dataprep.digest import digest
from dataprep.engines.local import map_batches
from dataprep.errors import StageError
from dataprep.manifest import LOCATORS, QUARANTINED, active, conform, empty_columns, merge
from dataprep.progress import Observer, StageReport
from dataprep.stage import ERROR, TRANSIENT, Context, Stage, TableFunction
from dataprep.store import Results

_FLUSH_ROWS = 512
_FLUSH_SECONDS = 5.0


class RowStage:
    """One row stage with its stored results, opened when the first row needs computing. Thread-safe."""

    def __init__(self, stage: Stage, key: str, folder: Path, context: Context) -> None:
        self.stage = stage
        self.key = key
        self.context = context
        self.schema = pa.schema([*stage.adds, ERROR])
        self.results = Results(folder / stage.name / key, self.schema)
        self.report = StageReport(stage.name)
        self._cells = [name for name in stage.needs.names if name not in LOCATORS]
        self._function: TableFunction | None = None
        self._lock = threading.Lock()
        self._pending: list[tuple[list[str], pa.Table]] = []
        self._flushed = time.monotonic()

    def keys(self, table: pa.Table) -> list[str]:
        """The content key of each row, from its needed cells without locators."""
        columns = [table[name].to_pylist() for name in self._cells]
        return [digest(self.key, *cells) for cells in zip(*columns, strict=True)]

    def stored(self, table: pa.Table) -> list[int | None]:
        """Row number of each row's stored result, None where there is none."""
        return [self.results.index(key) for key in self.keys(table)]

    def compute(self, table: pa.Table) -> pa.Table:
        """Results of all rows: stored ones are taken, the others computed and stored."""
        keys = self.keys(table)
        found = [self.results.index(key) for key in keys]
        missing = [i for i, row in enumerate(found) if row is None]
        taken = self.results.take([row for row in found if row is not None])
        if not missing:
            return taken
        fresh = self._run(table.take(pa.array(missing)))
        keep = pc.invert(fresh["transient"]).to_pylist()
        fresh = fresh.drop_columns(["transient"])
        self._store(
            [keys[i] for i, ok in zip(missing, keep, strict=True) if ok], fresh.filter(pa.array(keep))
        )
        order = [0] * len(keys)
        have = [i for i, row in enumerate(found) if row is not None]
        for position, i in enumerate([*have, *missing]):
            order[i] = position
        return pa.concat_tables([taken, fresh]).take(pa.array(order, pa.int64()))

    def _run(self, table: pa.Table) -> pa.Table:
        with self._lock:
            if self._function is None:
                self._function = self.stage.open(self.context)
        started = time.perf_counter()
        wanted = [name for name in ("id", "path", "role", *self._cells) if name in table.schema.names]
        result = self._function(table.select(list(dict.fromkeys(wanted))))
        if result.num_rows != table.num_rows:
            raise StageError(f"{self.stage.name}: {table.num_rows} rows in, {result.num_rows} out")
        schema = pa.schema([*self.schema, TRANSIENT])
        result = conform({name: result[name] for name in result.schema.names}, schema, self.stage.name)
        with self._lock:
            self.report.computed += table.num_rows
            self.report.seconds += time.perf_counter() - started
        return result

    def _store(self, keys: list[str], result: pa.Table) -> None:
        with self._lock:
            self._pending.append((keys, result))
            rows = sum(len(k) for k, _ in self._pending)
            if rows >= _FLUSH_ROWS or time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._flush()

    def flush(self) -> None:
        """Write what is finished. Raises DiskError."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        if any(keys for keys, _ in self._pending):
            keys = [key for part, _ in self._pending for key in part]
            self.results.append(keys, pa.concat_tables([table for _, table in self._pending]))
        self._pending = []
        self._flushed = time.monotonic()


def run_rows(stages: Sequence[RowStage], table: pa.Table, observer: Observer, threads: int) -> pa.Table:
    """Put the columns of a stretch of row stages into the manifest.

    Rows that a stage cannot process are quarantined with its reason and skip the stages after it. Finished
    batches are on disk when this raises or is interrupted.
    """
    rows = pc.indices_nonzero(active(table))
    work = table.take(rows)
    observer.start(" + ".join(stage.stage.name for stage in stages), work.num_rows)
    batch_rows = max(1, min(stage.stage.batch_rows for stage in stages))
    if all(None not in stage.stored(work) for stage in stages[:1]):
        batch_rows = max(batch_rows, _FLUSH_ROWS)  # probably nothing to compute: few, large look-ups
    batches = (work.slice(start, batch_rows) for start in range(0, work.num_rows, batch_rows))
    function = _fused(stages)
    finished: list[pa.Table] = []
    try:
        for result in map_batches(function, batches, threads):
            finished.append(result)
            observer.advance(result.num_rows)
    finally:
        for stage in stages:
            stage.flush()
        observer.finish()
    for stage in stages:
        stage.report.rows = work.num_rows
        table = empty_columns(table, stage.stage.adds)
    if not finished:
        return table
    done = pa.concat_tables(finished)
    order = pc.index_in(pa.array(range(table.num_rows), pa.int64()), value_set=rows.cast(pa.int64()))
    columns = {}
    for name in [*(field.name for stage in stages for field in stage.stage.adds), "state", "reason"]:
        spread = done[name].combine_chunks().take(order)
        columns[name] = spread if name not in ("state", "reason") else pc.coalesce(spread, table[name])
        if name == "reason":
            columns[name] = pc.if_else(active(table), spread, table[name])
    return merge(table, pa.table(columns), stages[0].stage.name)


def _fused(stages: Sequence[RowStage]) -> Callable[[pa.Table], pa.Table]:
    def through(batch: pa.Table) -> pa.Table:
        for stage in stages:
            batch = empty_columns(batch, stage.stage.adds)
            alive = pc.indices_nonzero(active(batch))
            if len(alive) == 0:
                continue
            result = stage.compute(batch.take(alive))
            batch = _apply(batch, alive, result, stage.stage.name)
        return batch

    return through


def _apply(batch: pa.Table, rows: pa.Array, result: pa.Table, name: str) -> pa.Table:
    order = pc.index_in(pa.array(range(batch.num_rows), pa.uint64()), value_set=rows.cast(pa.uint64()))
    spread = result.combine_chunks().take(order)
    for field in result.schema:
        if field.name != "error":
            batch = batch.set_column(batch.schema.get_field_index(field.name), field, spread[field.name])
    failed = pc.is_valid(spread["error"])
    reason = pc.binary_join_element_wise(pa.scalar(name), spread["error"], ":")
    state = pc.if_else(failed, QUARANTINED, batch["state"])
    reason = pc.if_else(failed, reason, batch["reason"])
    batch = batch.set_column(batch.schema.get_field_index("state"), "state", state)
    return batch.set_column(batch.schema.get_field_index("reason"), "reason", reason)
