"""What a stage is: frozen settings plus declared columns, opened once per worker into a function on tables.

Row stages measure one row at a time (hashes, scores, boxes) and are stored row by row; table stages decide
over all rows (thresholds, frequencies, who is whose duplicate); source stages look at the outside world and
always run; sinks write files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import BaseModel

from dataprep.digest import digest
from dataprep.errors import RowError
from dataprep.manifest import conform

if TYPE_CHECKING:
    from PIL import Image

    from dataprep.models import Model
    from dataprep.pictures.pixels import PixelCache
    from dataprep.store import Blobs

Row = dict[str, Any]
TableFunction = Callable[[pa.Table], pa.Table]

ERROR = pa.field("error", pa.string())  # of a row stage's result: "code: detail", null when all is well
TRANSIENT = pa.field("transient", pa.bool_())  # True: the error is not stored, the next run tries again


@dataclass(frozen=True)
class Context:
    """What a stage may use while it runs. Nothing here may change a result, so nothing here is in a key.

    Model files are the exception that keys know about: run.py adds each model's sha256 to the stage key.
    """

    raw: Path
    out: Path
    pixels: PixelCache
    blobs: Blobs
    reg: Path | None = None
    models: Mapping[str, Model] = field(default_factory=dict)  # by kind: tagger, clip, vae, base
    device: str = "cpu"
    threads: int = 1
    dry_run: bool = False  # True: look, compute, write nothing

    def file(self, row: Row) -> Path:
        """The file a row's `path` and `role` point to."""
        root = self.reg if row["role"] == "reg" and self.reg is not None else self.raw
        return root / str(row["path"])

    def image(self, row: Row) -> Image.Image:
        """The row's pixels: upright, sRGB, RGB, decoded once for all stages that want them soon after.

        Raises:
            RowError: the file cannot be decoded.
        """
        return self.pixels.load(self.file(row), row["pixels_key"])

    def view(self, row: Row) -> Image.Image:
        """The picture that is trained: the row's box, cut from full pixels, at bucket size.

        Raises:
            RowError: the file cannot be decoded.
        """
        from dataprep.pictures.views import view

        width, height = row["bucket_width"], row["bucket_height"]
        return view(self.pixels, self.file(row), row["pixels_key"], row["box"], width, height)


class Stage(BaseModel, frozen=True, extra="forbid"):
    """Settings of one stage. Subclasses add fields (the settings) and the class variables below."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when the same settings give another result
    scope: ClassVar[Literal["source", "row", "table", "sink"]] = "row"
    needs: ClassVar[pa.Schema]
    adds: ClassVar[pa.Schema]
    expands: ClassVar[bool] = False  # True: the result has further rows, see expand.py
    models: ClassVar[tuple[str, ...]] = ()  # kinds of model that open() takes from the context
    batch_rows: ClassVar[int] = 8  # rows a row stage is given at once

    def open(self, context: Context) -> TableFunction:
        """Load what is needed once per run and return the function. Several threads may call it at once.

        Row scope: gets active rows with the needed columns plus id, path and role; returns `adds` plus ERROR
        and TRANSIENT (use `per_row` or `per_batch`). Table, source and sink scope: gets the whole manifest
        and returns `adds` for every row in the same order, plus `state` and `reason` where it marks rows.
        """
        raise NotImplementedError

    def key(self) -> str:
        """Key of the settings: equal keys on equal rows give equal results."""
        return digest(self.name, self.version, self.model_dump(mode="json"), str(self.adds))


def per_row(stage: Stage, function: Callable[[Row], Mapping[str, Any]]) -> TableFunction:
    """Lift a function on one row to one on tables; a RowError marks only its own row."""

    def apply(table: pa.Table) -> pa.Table:
        def one(row: Row) -> Mapping[str, Any] | RowError:
            try:
                return function(row)
            except RowError as error:
                return error

        return _result(stage, [one(row) for row in table.to_pylist()])

    return apply


def per_batch(
    stage: Stage,
    load: Callable[[Row], Any],
    function: Callable[[list[Any]], list[Mapping[str, Any]]],
) -> TableFunction:
    """Lift a pair (load one row's input, run a model on many) to a function on tables.

    Args:
        stage: whose `adds` the results have.
        load: one row's model input; a RowError marks only its own row.
        function: inputs of the rows that loaded -> one result each, same order.
    """

    def apply(table: pa.Table) -> pa.Table:
        outcomes: list[Any] = []
        for row in table.to_pylist():
            try:
                outcomes.append(load(row))
            except RowError as error:
                outcomes.append(error)
        good = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, RowError)]
        if good:
            for i, result in zip(good, function([outcomes[i] for i in good]), strict=True):
                outcomes[i] = result
        return _result(stage, outcomes)

    return apply


def _result(stage: Stage, outcomes: list[Mapping[str, Any] | RowError]) -> pa.Table:
    schema = pa.schema([*stage.adds, ERROR, TRANSIENT])
    rows = [
        {"error": str(o), "transient": o.transient} if isinstance(o, RowError) else {**o, "transient": False}
        for o in outcomes
    ]
    known = set(schema.names)
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in schema.names}
    for row in rows:
        unknown = set(row) - known
        if unknown:
            columns.update({name: [] for name in unknown})  # conform() names them
    return conform(columns, schema, stage.name)
