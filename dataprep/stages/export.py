"""Write the prepared folder in kohya's layout: pictures, captions, latents and configuration files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from dataprep.curate.taken import read_taken
from dataprep.errors import ConfigError
from dataprep.export import kohya
from dataprep.export.kohya_rules import TEXT_CACHES, FamilySetting, array_names
from dataprep.export.names import safe_name
from dataprep.export.presets import Purpose, TrainPlan, needed_tokens, train_toml
from dataprep.export.receipt import owners, retouched
from dataprep.export.sync import Report, Wanted, sync
from dataprep.manifest import BASE, BOX, QUARANTINED, empty_columns
from dataprep.stage import Context, Row, Stage, TableFunction
from dataprep.stages.latents import SUFFIX
from dataprep.stages.texts import SUFFIX as TEXTS_SUFFIX
from dataprep.stages.texts import kept_tokens
from dataprep.store import LostBlob

_LOG = logging.getLogger(__name__)
_NAMED_IN_LOG = 5
# Without these sd-scripts makes no use of the text encoders' outputs.
_TEXTS_KEPT: dict[str, bool | int] = {
    "cache_text_encoder_outputs": True,
    "cache_text_encoder_outputs_to_disk": True,
    "network_train_unet_only": True,
}


class Export(Stage):
    """Settings of the folder that a trainer reads."""

    name: ClassVar[str] = "export"
    scope: ClassVar[Literal["source", "row", "table", "sink"]] = "sink"
    needs: ClassVar[pa.Schema] = pa.schema([])  # a chain that stops early has fewer columns: see _COLUMNS
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("image_file", pa.string()),
            ("caption_file", pa.string()),
            ("latents_file", pa.string()),
            ("caption", pa.string()),  # as its file has it
        ]
    )

    trigger: Annotated[str | None, Field(description="word that the LoRA will answer to")] = None
    class_word: Annotated[str | None, Field(description="what the subject is one of")] = None
    purpose: Annotated[
        Purpose, Field(description="what the LoRA shall learn; chooses train.toml's preset")
    ] = "character"
    resolution: Annotated[int, Field(ge=64, le=4096, description="px; its square is the training area")] = 512
    family: FamilySetting = "sd1"
    batch_size: Annotated[int, Field(ge=1, le=256, description="pictures a training step")] = 2
    train: Annotated[
        Mapping[str, bool | int | float | str],
        Field(description="settings of train.toml that win over the preset's, in sd-scripts' names"),
    ] = {}

    @field_validator("train")
    @classmethod
    def _trainable(
        cls, train: Mapping[str, bool | int | float | str]
    ) -> Mapping[str, bool | int | float | str]:
        """Refuse now what training would refuse later."""
        from dataprep.training.kohya_args import known_names, misspelt
        from dataprep.training.settings import load_config

        if wrong := misspelt(train):
            raise ValueError(wrong)
        try:
            load_config(None, {name: train[name] for name in train if name in known_names()})
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("train settings: ")) from error
        return train

    ascii_names: Annotated[bool, Field(description="names of files and folders in ASCII only")] = False

    def open(self, context: Context) -> TableFunction:
        """Needs nothing."""

        def write(table: pa.Table) -> pa.Table:
            wanted, columns = self.wanted(table, context)
            taken = read_taken(context.out).files
            report = sync(context.out, wanted, _merged, context.threads, taken=taken)
            tell(report)
            columns = _without_latents(columns, set(report.retouched))
            return _quarantined(table, columns, report) if report.failed else columns

        return write

    def wanted(self, table: pa.Table, context: Context) -> tuple[list[Wanted], pa.Table]:
        """The files that should be there, and the columns that tell each row's.

        Raises:
            LostBlob: latents that were encoded are no longer in the store.
        """
        table = empty_columns(table, _COLUMNS).select(_COLUMNS.names)
        rows = table.to_pylist()
        placed = [row for row in rows if kohya.is_placed(row)]
        pictures = kohya.picture_files(
            placed,
            self._default_folders(),
            self.family,
            ascii_only=self.ascii_names,
            retouched=set(owners(retouched(context.out).values(), placed).values()),
        )
        wanted: list[Wanted] = []
        columns: dict[str, list[str | None]] = {name: [] for name in self.adds.names}
        for row in rows:
            files = self._row_files(row, pictures[row["id"]], context) if row["id"] in pictures else []
            wanted += files
            for kind in ("image", "caption", "latents"):
                file = next((file.file for file in files if file.kind == kind), None)
                columns[f"{kind}_file"].append(file)
            columns["caption"].append(self.caption(row) if files else row["caption"])
        return wanted + self._configs(placed, pictures, context), pa.table(columns, schema=self.adds)

    def _default_folders(self) -> dict[str, str]:
        own = kohya.folder_name(1, self.trigger, self.class_word) if self.trigger or self.class_word else None
        return {
            "train": own or kohya.folder_name(1, self.purpose),
            "reg": kohya.folder_name(1, self.class_word or "class"),
        }

    def _row_files(self, row: Row, picture: str, context: Context) -> list[Wanted]:
        files = [kohya.picture(row, picture, context.view)]
        files.append(kohya.caption(row, kohya.caption_file(picture), self.caption(row)))
        if row["latents_key"] is not None:
            blob = context.blobs.path(row["latents_key"], SUFFIX)
            if not blob.is_file():
                raise LostBlob(f"{blob}: latents that were encoded earlier are gone; run again")
            file = kohya.latents_file(picture, row, self.family)
            files.append(kohya.latents(row, file, blob, context.out, self.family))
        if row["texts_key"] is not None:
            blob = context.blobs.path(row["texts_key"], TEXTS_SUFFIX)
            file = kohya.texts_file(picture, self.family)
            files.append(kohya.texts(row, file, blob, context.out, self.family))
        return files

    def caption(self, row: Row) -> str:
        """The text of a row's caption file."""
        return kohya.caption_text(row, self.trigger, self.class_word, self.purpose)

    def _kept_length(self, placed: list[Row], context: Context) -> int | None:
        """Tokens of the captions whose text-encoder outputs are kept, None where none are."""
        key = next((row["texts_key"] for row in placed if row["texts_key"]), None)
        return None if key is None else kept_tokens(context.blobs.path(key, TEXTS_SUFFIX), self.family)

    def _configs(self, placed: list[Row], pictures: dict[str, str], context: Context) -> list[Wanted]:
        if not placed:
            return []
        subsets = {
            pictures[row["id"]].rpartition("/")[0]: (row["repeats"] or 1, row["role"] == "reg")
            for row in placed
        }
        cached = next((row["latents_key"] for row in placed if row["latents_key"]), None)
        extras = array_names(context.blobs.path(cached, SUFFIX)) if cached else frozenset()
        sizes = sorted({(row["bucket_width"], row["bucket_height"]) for row in placed})
        kept = int(self.train.get("keep_tokens", 1))
        dataset = kohya.dataset_toml(
            context.out, subsets, sizes, self.resolution, self.batch_size, self.family, extras, kept
        )
        train = [row for row in placed if row["role"] == "train"]
        longest = max((row["caption_tokens"] or 0 for row in placed), default=0)
        length = self._kept_length(placed, context)
        plan = TrainPlan(
            purpose=self.purpose,
            family=self.family,
            resolution=self.resolution,
            batch_size=self.batch_size,
            images=len(train),
            samples_per_epoch=sum(row["repeats"] or 1 for row in train),
            reg=len(placed) - len(train),
            # A file name: of a trigger such as ../a it must not lead elsewhere.
            name=safe_name(self.trigger or self.class_word or self.purpose, ascii_only=self.ascii_names),
            caption_tokens=longest,
            cached_tokens=_cached_tokens(length, longest) if self.family == "sdxl" else None,
            sizes=tuple(sizes),
            extras=extras,
            keep_tokens=kept,
        )
        texts = {} if length is None else _TEXTS_KEPT
        if length is not None and (option := TEXT_CACHES[self.family].option) != "max_token_length":
            texts = {**texts, option: length}
        return [
            kohya.config("dataset.toml", dataset),
            kohya.config("train.toml", train_toml(plan, {**texts, **self.train})),
        ]


_COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("view", pa.string()),
        ("role", pa.string()),
        ("sha256", pa.string()),
        ("pixels_key", pa.string()),
        ("state", pa.string()),
        ("box", BOX),
        ("bucket_width", pa.int32()),
        ("bucket_height", pa.int32()),
        ("caption", pa.string()),
        ("caption_tokens", pa.int32()),
        ("hand_added", pa.list_(pa.string())),
        ("hand_removed", pa.list_(pa.string())),
        ("hand_caption", pa.string()),
        ("repeats", pa.int32()),
        ("folder", pa.string()),
        ("latents_key", pa.string()),
        ("texts_key", pa.string()),
    ]
)


def _cached_tokens(length: int | None, longest: int) -> int | None:
    """The length, in tokens, of SDXL's captions whose text-encoder outputs are kept; None where none are.

    Raises:
        ConfigError: the longest caption would be cut.
    """
    if length is not None and needed_tokens(longest) > length:
        raise ConfigError(
            f"texts.max_tokens = {length}: the longest caption has {longest} tokens and would be cut; set "
            f"texts.max_tokens = {needed_tokens(longest)}"
        )
    return length


def _merged(item: Wanted, edited: str, before: str | None) -> bool:
    """Whether an edited caption's changes are in the wanted one."""
    row: dict[str, Any] = item.row
    if row["hand_caption"] is not None:
        return kohya.one_line(row["hand_caption"]) == kohya.one_line(edited)
    return kohya.same_tags(
        edited, before, item.caption or "", row["hand_added"] or (), row["hand_removed"] or ()
    )


def _without_latents(columns: pa.Table, retouched: set[str]) -> pa.Table:
    """The columns without latents files where the picture file was changed by hand."""
    if not retouched:
        return columns
    rows = columns.to_pylist()
    changed = [row | {"latents_file": None} if row["image_file"] in retouched else row for row in rows]
    return pa.Table.from_pylist(changed, schema=columns.schema)


def _quarantined(table: pa.Table, columns: pa.Table, report: Report) -> pa.Table:
    """The columns with rows marked whose picture could no longer be read."""
    rows = [
        {**new, "state": row["state"], "reason": row["reason"]}
        if row["id"] not in report.failed
        else {"state": QUARANTINED, "reason": f"export:{report.failed[row['id']]}"}
        for row, new in zip(
            table.select(["id", "state", "reason"]).to_pylist(), columns.to_pylist(), strict=True
        )
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([*columns.schema, BASE.field("state"), BASE.field("reason")])
    )


def tell(report: Report) -> None:
    """Say what was kept because it is somebody else's, and what was not."""
    known = set(report.retouched)
    for files, what in (
        (
            report.retouched,
            "changed by hand here: the latents show the old pixels and are left out, so that "
            "sd-scripts encodes them itself and `dataprep train` refuses them. Edit the raw picture instead, "
            "or take the change back: delete the changed file and run again, which writes it anew (deleted "
            "once more after that, the picture is left out)",
        ),
        (
            report.orphaned,
            "changed by hand here, and no raw picture stands for it now (gone, or left out): it is kept, "
            "and trained without a caption. Delete it here, or put the raw picture back and run again",
        ),
        (_less(report.edited, known), "changed since they were written and not merged: kept as they are"),
        (
            _less(report.foreign, known),
            "not written by this program: left alone, but a trainer may read them",
        ),
        (
            report.mended,
            "had other content than was written, damaged on disk or changed by a trainer: written anew",
        ),
        (
            report.displaced,
            "removed: a trainer's own caches, broken, of older files, or taken instead of those here",
        ),
    ):
        if files:
            more = f" and {len(files) - _NAMED_IN_LOG} more" if len(files) > _NAMED_IN_LOG else ""
            noun = "file" if len(files) == 1 else "files"
            named = ", ".join(files[:_NAMED_IN_LOG])
            _LOG.warning("%d %s %s: %s%s", len(files), noun, what, named, more)


def _less(files: list[str], known: set[str]) -> list[str]:
    return [file for file in files if file not in known]
