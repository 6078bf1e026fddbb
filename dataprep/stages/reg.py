"""Repeats and subset folders, and which class images may stay: none that shows a training picture again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from dataprep.export.kohya import folder_name
from dataprep.export.kohya_rules import reg_uses
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
            ("thumb", pa.string()),
            ("bucket_width", pa.int32()),
            ("bucket_height", pa.int32()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema([("repeats", pa.int32()), ("folder", pa.string())])

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
    target_samples_per_epoch: Annotated[
        int, Field(ge=1, le=100_000, description="goal: training pictures x repeats in an epoch")
    ] = 200
    near_duplicate_distance: Annotated[
        int, Field(ge=0, le=64, description="class images this near to a training picture are dropped, bits")
    ] = 4

    def open(self, context: Context) -> TableFunction:
        """Needs nothing."""
        return self.decide

    def decide(self, table: pa.Table) -> pa.Table:
        """Repeats and folder of each active row; class images that repeat a training picture are dropped."""
        rows = table.to_pylist()
        train = [row for row in rows if row["role"] == "train" and row["state"] == ACTIVE]
        repeats = self.train_repeats(len(train))
        words = (self.trigger, self.class_word)
        own = folder_name(repeats, *words) if any(words) else folder_name(repeats, self.purpose)
        hashes = _hashes(train)
        for row in rows:
            row["repeats"] = row["folder"] = None
            if row["state"] != ACTIVE:
                continue
            if row["role"] == "train":
                row["repeats"], row["folder"] = repeats, own
            elif twin := self._twin(row, train, hashes):
                row["state"], row["reason"] = DROPPED, f"reg:near-duplicate: {twin}"
            else:
                row["repeats"], row["folder"] = 1, folder_name(1, self.class_word or "class")
        names = [*self.adds.names, "state", "reason"]
        fields = [*self.adds, pa.field("state", pa.string()), pa.field("reason", pa.string())]
        return pa.table({name: [row[name] for row in rows] for name in names}, schema=pa.schema(fields))

    def train_repeats(self, images: int) -> int:
        """Repeats that bring images x repeats nearest to the goal, at least 1."""
        if self.repeats is not None:
            return self.repeats
        return min(_MAX_REPEATS, max(1, round(self.target_samples_per_epoch / max(1, images))))

    def _twin(
        self, row: dict[str, Any], train: Sequence[dict[str, Any]], hashes: NDArray[np.uint64]
    ) -> str | None:
        if row["phash"] is None or not len(hashes):
            return None
        distances = np.bitwise_count(hashes ^ np.uint64(int(row["phash"], 16)))
        hashed = [other for other in train if other["phash"] is not None]
        for i in distances.argsort(kind="stable"):
            if distances[i] > self.near_duplicate_distance:
                break
            if alike(
                row["thumb"], hashed[i]["thumb"]
            ):  # the hash alone sees one pose with other colours as equal
                return f"of training picture {hashed[i]['path']}, distance {int(distances[i])}"
        return None


def _hashes(rows: Sequence[dict[str, Any]]) -> NDArray[np.uint64]:
    return np.array([int(row["phash"], 16) for row in rows if row["phash"] is not None], np.uint64)


def reg_plan(table: pa.Table) -> str:
    """How a trainer will use the class images, in words and numbers, over all and by bucket.

    Args:
        table: a manifest with columns role, state, repeats, bucket_width and bucket_height.
    """
    rows = [row for row in table.to_pylist() if row["state"] == ACTIVE and row["repeats"] is not None]
    train = [row for row in rows if row["role"] == "train"]
    reg = [row for row in rows if row["role"] == "reg"]
    samples = sum(row["repeats"] for row in train)
    head = f"{len(train)} training pictures x repeats = {samples} an epoch"
    if not reg:
        return f"{head}; no class images, so nothing holds the class word in place (give a folder with --reg)"
    uses = reg_uses(samples, [row["repeats"] for row in reg])
    lines = [f"{head}; {_usage(uses, samples)}"]
    by_bucket = Counter({_bucket(row): 0 for row in rows})
    shown: Counter[str] = Counter()
    for row in train:
        by_bucket[_bucket(row)] += row["repeats"]
    for row, use in zip(reg, uses, strict=True):
        shown[_bucket(row)] += use
    lines += [f"  {name}: {count} training, {shown[name]} class" for name, count in by_bucket.most_common()]
    return "\n".join(lines)


def _usage(uses: Sequence[int], samples: int) -> str:
    if 0 in uses:
        used = sum(use > 0 for use in uses)
        return f"{len(uses)} class images are more than that: only the first {used} are used"
    low, high = min(uses), max(uses)
    often = f"{low}" if low == high else f"{low} to {high}"
    return f"{len(uses)} class images are each shown {often} times: together {max(samples, sum(uses))} too"


def _bucket(row: dict[str, Any]) -> str:
    return f"{row['bucket_width']}x{row['bucket_height']}"
