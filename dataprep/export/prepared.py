"""A prepared folder read for another trainer, and the writing that all those exports share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa

from dataprep.digest import digest, file_sha256
from dataprep.errors import InputError
from dataprep.export.kohya import one_line
from dataprep.export.sync import Report, Wanted, sync
from dataprep.framing.buckets import Size

IMAGES = "images"  # sub-folder of training pictures in every export that has folders
CLASS_IMAGES = "class"


@dataclass(frozen=True)
class Picture:
    """One picture of the prepared folder."""

    id: str
    file: Path  # absolute
    stem: str
    caption: str
    role: Literal["train", "reg"]
    repeats: int
    size: Size  # px

    @property
    def folder(self) -> str:
        """Sub-folder in exports."""
        return CLASS_IMAGES if self.role == "reg" else IMAGES


@dataclass(frozen=True)
class Prepared:
    """What a prepared folder offers to other trainers."""

    directory: Path
    pictures: tuple[Picture, ...]
    trigger: str | None
    class_word: str | None
    resolution: int  # px
    family: str

    @property
    def train(self) -> tuple[Picture, ...]:
        """Training pictures."""
        return tuple(picture for picture in self.pictures if picture.role == "train")

    @property
    def reg(self) -> tuple[Picture, ...]:
        """Class pictures."""
        return tuple(picture for picture in self.pictures if picture.role == "reg")

    @property
    def repeats(self) -> int:
        """Of the training pictures; they all have the same."""
        return max((picture.repeats for picture in self.train), default=1)

    @property
    def name(self) -> str:
        """What to call the set."""
        return self.trigger or self.class_word or self.directory.name


def read_prepared(directory: Path, table: pa.Table, metadata: dict[str, Any]) -> Prepared:
    """The pictures of a manifest.

    Args:
        directory: the prepared folder.
        table: its manifest.
        metadata: the manifest's metadata.
    Raises:
        InputError: no picture was written, or one is gone.
    """
    pictures = [_picture(directory, row) for row in table.to_pylist() if row.get("image_file")]
    if not any(picture.role == "train" for picture in pictures):
        raise InputError(f"{directory}: holds no prepared pictures; run `dataprep run` to the end first")
    lost = [picture.file for picture in pictures if not picture.file.is_file()]
    if lost:
        raise InputError(f"{lost[0]}: is gone; run `dataprep run` again to write it")
    settings = metadata.get("settings", {}).get("export", {})
    return Prepared(
        directory,
        tuple(pictures),
        metadata.get("trigger"),
        metadata.get("class_word"),
        int(settings.get("resolution", 512)),
        str(settings.get("family", "sd1")),
    )


def _picture(directory: Path, row: dict[str, Any]) -> Picture:
    caption_file = directory / row["caption_file"]
    # The file, not the manifest: it may have been edited since, and that is what people mean.
    caption = caption_file.read_text("utf-8-sig", "replace") if caption_file.is_file() else row["caption"]
    return Picture(
        row["id"],
        directory / row["image_file"],
        PurePosixPath(row["image_file"]).stem,
        one_line(caption),
        row["role"],
        row.get("repeats") or 1,
        (row["bucket_width"], row["bucket_height"]),
    )


def image(picture: Picture, file: str) -> Wanted:
    """A picture under another name, as a hard link where possible."""
    row = {"id": picture.id, "role": picture.role}
    key = digest("copy", file_sha256(picture.file))
    return Wanted(file, "image", key, picture.file.read_bytes, row, source=picture.file)


def text(file: str, content: str, picture: Picture | None = None) -> Wanted:
    """A text file, UTF-8."""
    row = {} if picture is None else {"id": picture.id, "role": picture.role}
    return Wanted(file, "config", digest("text", content), content.encode, row)


def pairs(pictures: Sequence[Picture]) -> list[Wanted]:
    """Each picture with its caption beside it, training and class pictures in folders of their own."""
    wanted = []
    for picture in pictures:
        stem = f"{picture.folder}/{picture.stem}"
        wanted += [image(picture, f"{stem}.png"), text(f"{stem}.txt", picture.caption + "\n", picture)]
    return wanted


def write(prepared: Prepared, out: Path, wanted: Sequence[Wanted]) -> Report:
    """Bring an export folder in line; files that are not ours are left alone.

    Raises:
        InputError: the folder is, contains, or lies in the prepared one, or is a stranger's.
        DiskError: a file cannot be written.
    """
    here, there = prepared.directory.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise InputError(f"{out}: lies in the prepared folder, or around it; choose a folder beside it")
    if out.is_dir() and any(out.iterdir()) and not (out / ".dataprep" / "receipt.parquet").is_file():
        raise InputError(f"{out}: holds files that are not an export; choose an empty or new folder")
    return sync(out, wanted, lambda item, edited, before: False, folders=())
