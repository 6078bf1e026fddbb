"""What a run would do, without doing it: `run --dry-run` and `status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

from dataprep.classes import missing, orders
from dataprep.manifest import active
from dataprep.progress import Observer
from dataprep.rows import RowStage, run_rows
from dataprep.run import Job, Planned, plan, run_whole
from dataprep.stage import Stage

if TYPE_CHECKING:
    from dataprep.stages.reg import Reg

DRAWN = "class images"


@dataclass(frozen=True)
class Step:
    """One stage's forecast."""

    stage: str
    rows: int
    to_compute: int | None  # None: depends on results that an earlier stage has yet to compute
    note: str

    def __str__(self) -> str:
        count = "?" if self.to_compute is None else str(self.to_compute)
        if self.stage == DRAWN:
            return f"{self.stage:<12} {count:>7} of {self.rows or '?'} to draw  {self.note}"
        return f"{self.stage:<12} {count:>7} of {self.rows} rows to compute  {self.note}".rstrip()


def forecast(job: Job, *, device: str = "cpu") -> list[Step]:
    """Walk the chain with stored results only; stop where something would have to be computed first.

    Raises:
        UserError: as a run would.
    """
    planned = plan(job, device=device, dry_run=True)
    table: pa.Table | None = None
    steps: list[Step] = []
    for stage, key in zip(planned.stages, planned.keys, strict=True):
        if steps and (steps[-1].to_compute is None or steps[-1].to_compute > 0) and table is None:
            steps.append(Step(stage.name, steps[-1].rows, None, "depends on the above"))
            continue
        step, table = _step(stage, key, table, planned)
        steps.append(step)
        if stage.name == "reg" and planned.draws and table is not None:
            steps.append(_to_draw(table, cast("Reg", stage), planned))
            table = None if steps[-1].to_compute else table
    if planned.draws and not any(step.stage == DRAWN for step in steps):
        steps.append(Step(DRAWN, 0, None, _how_many(planned)))
    return steps


def _to_draw(table: pa.Table, reg: Reg, planned: Planned) -> Step:
    wanted = orders(table, reg)
    lacking = len(missing(wanted, planned.context))
    note = f"drawn by {planned.context.models['base'].name}" if lacking else "drawn already"
    return Step(DRAWN, len(wanted), lacking, note)


def _how_many(planned: Planned) -> str:
    """What can be said of class images before the training set is known."""
    reg = cast("Reg", next(stage for stage in planned.stages if stage.name == "reg"))
    many = "as many as training pictures x repeats"
    goal = (
        f"about {reg.target_samples_per_epoch}" if reg.repeats is None else f"{reg.repeats} for each picture"
    )
    number = f"{reg.class_images}" if reg.class_images else f"{many}, {goal}"
    return f"{planned.context.models['base'].name} draws those that are not there yet: {number}"


def _step(stage: Stage, key: str, table: pa.Table | None, planned: Planned) -> tuple[Step, pa.Table | None]:
    if stage.scope != "row":
        if stage.scope == "sink":
            rows = 0 if table is None else pc.sum(active(table)).as_py() or 0
            return Step(stage.name, rows, 0, "compares and writes only what differs"), table
        table, report = run_whole(stage, key, table, planned, Observer())
        return Step(stage.name, report.rows, 0, "cheap, decided anew"), table
    if table is None:
        return Step(stage.name, 0, None, "depends on the above"), None
    row_stage = RowStage(stage, key, planned.store, planned.context)
    work = table.filter(active(table))
    missing = row_stage.stored(work).count(None)
    if missing:
        why = "new settings, model or version" if missing == work.num_rows else "new or changed pictures"
        return Step(stage.name, work.num_rows, missing, why), None
    return Step(stage.name, work.num_rows, 0, "stored"), run_rows([row_stage], table, Observer(), 1)
