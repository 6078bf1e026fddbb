"""Repeats and subset folders, and which class images may stay: none that shows a training picture again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from dataprep.class_plan import SURPLUS, bucket_of, samples_by_bucket, surplus
from dataprep.classes import MADE, Made, read_made
from dataprep.export.kohya import folder_name
from dataprep.likeness import alike
from dataprep.manifest import ACTIVE, DROPPED
from dataprep.stage import Context, Stage, TableFunction

_MAX_REPEATS = 100


class Reg(Stage):
    """Settings of repeats and class images."""

    name: ClassVar[str] = "reg"
    scope: ClassVar[Literal["source", "row", "table", "sink"]] = "table"
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("role", pa.string()),
            ("state", pa.string()),
            ("reason", pa.string()),
            ("phash", pa.string()),
            ("mirror_phash", pa.string()),
            ("thumb", pa.string()),
            ("sha256", pa.string()),
            ("bucket_width", pa.int32()),
            ("bucket_height", pa.int32()),
            ("crop_loss", pa.float32()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("repeats", pa.int32()),
            ("folder", pa.string()),
            ("generated", MADE),  # how a class image was drawn, null for all others
        ]
    )

    trigger: Annotated[str | None, Field(description="word that the LoRA will answer to")] = None
    class_word: Annotated[str | None, Field(description="what the subject is one of")] = None
    purpose: Annotated[
        Literal["character", "style", "outfit", "pose", "object"],
        Field(description="what the LoRA shall learn"),
    ] = "character"
    repeats: Annotated[
        int | None,
        Field(
            ge=1,
            le=_MAX_REPEATS,
            description="times each training picture is shown an epoch; unset: from the goal",
        ),
    ] = None
    goal: Annotated[
        Literal["steps", "balance"],
        Field(
            description="what repeats are chosen for. steps: epochs of target_samples_per_epoch; balance: "
            "as many training samples as there are class images, so that each is shown once an epoch"
        ),
    ] = "steps"
    target_samples_per_epoch: Annotated[
        int, Field(ge=1, le=100_000, description="goal steps: training pictures x repeats in an epoch")
    ] = 200
    near_duplicate_distance: Annotated[
        int, Field(ge=0, le=64, description="class images this near to a training picture are dropped, bits")
    ] = 4
    class_images: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="how many --reg generate draws; unset: pictures x repeats",
        ),
    ] = None
    prompts: Annotated[
        Literal["class", "captions"],
        Field(description="what is drawn: the class word, or each caption without trigger and absorbed tags"),
    ] = "class"
    negative: Annotated[str, Field(description="what is drawn away from")] = ""
    sampler: Annotated[
        Literal["ddim", "euler", "euler_a", "dpm++_2m"], Field(description="how class images are drawn")
    ] = "ddim"
    steps: Annotated[int, Field(ge=1, le=1000, description="of the sampler")] = 30
    guidance: Annotated[float, Field(ge=1, le=30, description="classifier-free guidance; 1 is none")] = 7.0
    seed: Annotated[int, Field(ge=0, le=2**31, description="start of the class images' own seeds")] = 0

    def open(self, context: Context) -> TableFunction:
        """Reads how class images were drawn from the files themselves."""

        def decide(table: pa.Table) -> pa.Table:
            made = {
                row["id"]: read_made(context.file(row))
                for row in table.select(["id", "path", "role", "state"]).to_pylist()
                if row["role"] == "reg" and row["state"] == ACTIVE
            }
            return self.decide(table, made)

        return decide

    def decide(self, table: pa.Table, made: Mapping[str, Made | None] | None = None) -> pa.Table:
        """Repeats and folder of each active row; class images that repeat a training picture are dropped.

        Args:
            table: the manifest with the needed columns.
            made: row id -> how it was drawn.
        """
        rows = table.to_pylist()
        train = [row for row in rows if row["role"] == "train" and row["state"] == ACTIVE]
        hashes = _hashes(train)
        for row in rows:
            row["repeats"] = row["folder"] = None
            row["generated"] = (made or {}).get(row["id"])
            if row["state"] == ACTIVE and row["role"] == "reg":
                if twin := self._twin(row, train, hashes):
                    row["state"], row["reason"] = DROPPED, f"reg:near-duplicate: {twin}"
                else:
                    row["repeats"], row["folder"] = 1, folder_name(1, self.class_word or "class")
        repeats = self.train_repeats(len(train), sum(row["repeats"] is not None for row in rows))
        words = (self.trigger, self.class_word)
        own = folder_name(repeats, *words) if any(words) else folder_name(repeats, self.purpose)
        for row in train:
            row["repeats"], row["folder"] = repeats, own
        _drop_surplus(rows)
        names = [*self.adds.names, "state", "reason"]
        fields = [*self.adds, pa.field("state", pa.string()), pa.field("reason", pa.string())]
        return pa.table({name: [row[name] for row in rows] for name in names}, schema=pa.schema(fields))

    def train_repeats(self, images: int, class_images: int = 0) -> int:
        """Repeats that bring images x repeats nearest to the goal, at least 1."""
        if self.repeats is not None:
            return self.repeats
        goal = class_images if self.goal == "balance" and class_images else self.target_samples_per_epoch
        return min(_MAX_REPEATS, max(1, round(goal / max(1, images))))

    def _twin(
        self, row: dict[str, Any], train: Sequence[dict[str, Any]], hashes: NDArray[np.uint64]
    ) -> str | None:
        """Which training picture a class image repeats, as it is or mirrored, None if it repeats none."""
        if row["phash"] is None or not len(hashes):
            return None
        for column, said in (("phash", "of"), ("mirror_phash", "mirrored, of")):
            twin = self._near(row, column, train, hashes)
            if twin is not None:
                return f"{said} training picture {twin}"
        return None

    def _near(
        self, row: dict[str, Any], column: str, train: Sequence[dict[str, Any]], hashes: NDArray[np.uint64]
    ) -> str | None:
        if row[column] is None:
            return None
        distances = np.bitwise_count(hashes ^ np.uint64(int(row[column], 16)))
        hashed = [other for other in train if other["phash"] is not None]
        for i in distances.argsort(kind="stable"):
            if distances[i] > self.near_duplicate_distance:
                break
            # The hash alone sees one pose with other colours as equal.
            if alike(row["thumb"], hashed[i]["thumb"], mirror=column == "mirror_phash"):
                return f"{hashed[i]['path']}, distance {int(distances[i])}"
        return None


def _drop_surplus(rows: list[dict[str, Any]]) -> None:
    """Mark the class images that no epoch would come to, so that those that stay keep the proportion."""
    active = [row for row in rows if row["state"] == ACTIVE and row["bucket_width"] is not None]
    samples = samples_by_bucket([row for row in active if row["role"] == "train"])
    reg = [row for row in active if row["role"] == "reg"]
    if not samples:
        return
    for i in surplus([bucket_of(row) for row in reg], [row["crop_loss"] or 0.0 for row in reg], samples):
        reg[i].update(repeats=None, folder=None, state=DROPPED)
        reg[i]["reason"] = f"{SURPLUS}: an epoch has room for {samples.total()} class images of {len(reg)}"


def _hashes(rows: Sequence[dict[str, Any]]) -> NDArray[np.uint64]:
    return np.array([int(row["phash"], 16) for row in rows if row["phash"] is not None], np.uint64)
