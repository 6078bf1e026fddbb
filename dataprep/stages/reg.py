"""Repeats and subset folders, and which class images may stay: none that shows a training picture again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.class_plan import SURPLUS, bucket_of, samples_by_bucket, surplus
from dataprep.classes import MADE, Made, read_made
from dataprep.copies.duplicates import find_copies
from dataprep.errors import ConfigError
from dataprep.export.kohya import caption_text, folder_name, one_line
from dataprep.manifest import ACTIVE, DROPPED
from dataprep.stage import Context, Row, Stage, TableFunction
from dataprep.stages.dedup import Dedup
from dataprep.tags.tokens import caption_tokens

_MAX_REPEATS = 100


class Reg(Stage):
    """Settings of repeats and class images."""

    name: ClassVar[str] = "reg"
    scope: ClassVar[Literal["source", "row", "table", "sink"]] = "table"
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            *Dedup.needs,  # what pictures are compared by
            ("state", pa.string()),
            ("reason", pa.string()),
            ("sha256", pa.string()),
            ("bucket_width", pa.int32()),
            ("bucket_height", pa.int32()),
            ("crop_loss", pa.float32()),
            ("caption", pa.string()),
            ("caption_tokens", pa.int32()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("repeats", pa.int32()),
            ("folder", pa.string()),
            ("generated", MADE),  # how a class image was drawn, null for all others
            ("caption", pa.string()),  # with words in place of none: a trainer stops at an empty one
            ("caption_tokens", pa.int32()),  # as prune counts them
        ]
    )

    trigger: Annotated[str | None, Field(description="word that the LoRA will answer to")] = None
    class_word: Annotated[str | None, Field(description="what the subject is one of")] = None
    purpose: Annotated[
        Literal["character", "style", "outfit", "pose", "object"],
        Field(description="what the LoRA shall learn"),
    ] = "character"
    source: Annotated[
        str | None,
        Field(
            exclude=True,  # the project's reg by another name: what it means is in the rows
            description="folder of class images, or generate; the same as reg = ... at the top of the file, "
            "which cannot stand beside a table [reg]",
        ),
    ] = None
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
        int,
        Field(
            ge=0,
            le=20,
            description="class images this near to a training picture, by what dedup compares, are dropped, "
            "bits; see dedup.max_distance",
        ),
    ] = 8
    crops: Annotated[
        bool, Field(description="whether class images cut out of training pictures are dropped too")
    ] = False
    class_images: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="how many --reg generate draws; unset: pictures x repeats. They are kept as they are "
            "drawn, four at once, so an interrupted run loses those four at most",
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
        active = [row for row in rows if row["role"] == "reg" and row["state"] == ACTIVE]
        twins = self._twins(train, active)
        for row in rows:
            row["repeats"] = row["folder"] = None
            row["generated"] = (made or {}).get(row["id"])
            if row["state"] == ACTIVE and row["role"] == "reg":
                if twin := twins.get(row["id"]):
                    row["state"], row["reason"] = DROPPED, f"reg:near-duplicate: {twin}"
                else:
                    row["repeats"], row["folder"] = 1, folder_name(1, self.class_word or "class")
        repeats = self.train_repeats(len(train), sum(row["repeats"] is not None for row in rows))
        words = (self.trigger, self.class_word)
        own = folder_name(repeats, *words) if any(words) else folder_name(repeats, self.purpose)
        for row in train:
            row["repeats"], row["folder"] = repeats, own
        _drop_surplus(rows)
        for row in rows:
            if row["state"] == ACTIVE:
                self._give_words(row)
        names = [*self.adds.names, "state", "reason"]
        fields = [*self.adds, pa.field("state", pa.string()), pa.field("reason", pa.string())]
        return pa.table({name: [row[name] for row in rows] for name in names}, schema=pa.schema(fields))

    def _give_words(self, row: Row) -> None:
        """Put words where the caption is empty, those that its file will have."""
        text = caption_text(row, self.trigger, self.class_word, self.purpose)
        if text != one_line(row["caption"]):
            row.update(caption=text, caption_tokens=caption_tokens(text))

    def train_repeats(self, images: int, class_images: int = 0) -> int:
        """Repeats that bring images x repeats nearest to the goal, at least 1."""
        if self.repeats is not None:
            return self.repeats
        goal = class_images if self.goal == "balance" and class_images else self.target_samples_per_epoch
        return min(_MAX_REPEATS, max(1, round(goal / max(1, images))))

    def _twins(self, train: list[Row], reg: list[Row]) -> dict[str, str]:
        """Class image's id -> which training picture it shows again, by what dedup compares."""
        found: dict[str, str] = {}
        for mirrored, said in ((False, "of"), (True, "mirrored, of")):
            for row, copy in self._copies(train, [row for row in reg if row["id"] not in found], mirrored):
                twin, distance = copy
                found[row["id"]] = f"{said} training picture {twin['path']}, distance {distance}"
        if self.crops:
            found |= _cuts(train, [row for row in reg if row["id"] not in found])
        return found

    def _copies(self, train: list[Row], reg: list[Row], mirrored: bool) -> list[tuple[Row, tuple[Row, int]]]:
        """Class images with the training picture that each is a copy of, and how far it is, bits."""
        # No training picture gives way here, whatever speaks for its copy.
        held = [row | {"hand_state": "keep"} for row in train if row["phash"] is not None]
        found = []
        reg = [row for row in reg if row["phash"] is not None]
        while reg:
            # Lenient: the same picture with another expression would teach the class the subject, too.
            copies = find_copies([*held, *reg], self.near_duplicate_distance, mirrored=mirrored, lenient=True)
            # A copy of another class image may still be one of a training picture, if of no nearer one.
            again = [reg[copy.row - len(held)] for copy in copies if copy.of >= len(held)]
            found += [
                (reg[copy.row - len(held)], (held[copy.of], copy.distance))
                for copy in copies
                if copy.of < len(held)
            ]
            reg = again
        return found


def _cuts(train: list[Row], reg: list[Row]) -> dict[str, str]:
    """Class image's id -> which training picture one of the two is cut out of, or from."""
    from dataprep.copies.crops import find_crops  # imports OpenCV

    rows = [*train, *reg]
    if any(row["features"] is None for row in rows):
        raise ConfigError(
            "reg.crops: the pictures were not measured for it; set crops = true at the top of "
            "dataprep.toml (or --set crops=true), which fingerprint, dedup and reg read"
        )
    found = {}
    for cut in find_crops([row["features"] for row in rows]):
        part, whole = rows[cut.row], rows[cut.of]
        if part["role"] == whole["role"]:
            continue
        if part["role"] == "reg":
            found[part["id"]] = f"cut out of training picture {whole['path']}, shows {cut.share:.0%} of it"
        else:
            found[whole["id"]] = f"training picture {part['path']} is cut out of it"
    return {row["id"]: found[row["id"]] for row in reg if row["id"] in found and row["hand_state"] != "keep"}


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
