"""List the raw folder and the class folder: one row per file, whatever it is, with what its header says."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from dataprep.captions import decode
from dataprep.colour import Alpha
from dataprep.digest import digest
from dataprep.encodings import EncodingName, as_warning
from dataprep.errors import RowError
from dataprep.formats import IMAGE_SUFFIXES
from dataprep.manifest import ACTIVE, BASE, QUARANTINED, conform
from dataprep.pixels import Filter, Limits, PixelPolicy, probe
from dataprep.scan_cache import Facts, ScanCache, read_facts
from dataprep.stage import Context, Stage, TableFunction
from dataprep.walk import Found, walk

PROJECT_FILE = "dataprep.toml"
CAPTION_SUFFIXES = (".txt", ".caption")  # in order of preference
_CACHE = ".dataprep/scan.parquet"
_LOG = logging.getLogger(__name__)
_NAMED_IN_LOG = 5
_LONGEST_CAPTION_BYTES = 1 << 20


class Scan(Stage, frozen=True):
    """Which files count as pictures, and what their pixels are."""

    name: ClassVar[str] = "scan"
    scope = "source"
    needs: ClassVar[pa.Schema] = pa.schema([])
    adds: ClassVar[pa.Schema] = BASE

    alpha: Annotated[
        Alpha,
        Field(
            description="what shows through transparency; colour: the colours hidden under it; mask: white, "
            "and masks are written for training on what is opaque"
        ),
    ] = "white"
    frames: Annotated[
        int,
        Field(ge=0, le=10_000, description="every n-th frame or page is a row of its own; 0: the first only"),
    ] = 0
    salvage: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="truncated pictures are used if this share of their rows is there; 0: never",
        ),
    ] = 0.0
    filter: Annotated[
        Filter,
        Field(
            description="how pictures are resized to their buckets. kohya: as sd-scripts does, and with "
            "crop.focus center and bucket.plan kohya to exactly its pixels; nearest: for pixel art"
        ),
    ] = "lanczos"
    min_side: Annotated[
        int, Field(ge=1, le=4096, description="pictures with a shorter side are set aside, px")
    ] = 64
    max_side: Annotated[int, Field(ge=64, le=65535, description="longest side that is decoded, px")] = 30_000
    max_megapixels: Annotated[
        float, Field(gt=0, le=2000, description="largest picture that is decoded, million pixels")
    ] = 150.0
    max_megabytes: Annotated[float, Field(gt=0, le=65536, description="largest file that is read, MiB")] = (
        1024.0
    )
    caption_encoding: Annotated[
        EncodingName, Field(description="of caption files that are not UTF-8; default: told by their bytes")
    ] = None

    def policy(self) -> PixelPolicy:
        """The part of the settings that decides about pixels."""
        return PixelPolicy(alpha=self.alpha, salvage=self.salvage, filter=self.filter)

    def _limits(self) -> Limits:
        return Limits(self.max_side, self.max_megapixels * 1e6)

    def open(self, context: Context) -> TableFunction:
        """The function ignores the table it is given: a source looks at the folders."""

        def scan(_: pa.Table) -> pa.Table:
            cache = ScanCache(context.out / _CACHE, self.policy())
            rows = self._folder(context.raw, "train", context, cache)
            if context.reg is not None:
                rows += self._folder(context.reg, "reg", context, cache)
            if not context.dry_run:
                cache.save()
            return conform({name: [row[name] for row in rows] for name in BASE.names}, BASE, self.name)

        return scan

    def _folder(self, root: Path, role: str, context: Context, cache: ScanCache) -> list[dict[str, Any]]:
        skip = [context.out] + [folder for folder in (context.reg,) if folder is not None and role == "train"]
        started = time.time_ns()
        found = [item for item in walk(root, tuple(skip)) if item.name != PROJECT_FILE]
        captions, found = _captions(found, self.caption_encoding)
        with ThreadPoolExecutor(max_workers=max(1, context.threads)) as pool:
            facts = list(pool.map(lambda item: self._facts(item, role, cache), found))
        for item, fact in zip(found, facts, strict=True):
            cache.put(role, item, fact, started)
            if item.stat is not None and fact.sha256 is not None:
                context.pixels.stamps.note(item.path, item.stat)
        _tell_salvaged([item.name for item, fact in zip(found, facts, strict=True) if not fact.whole])
        return [
            self._row(item, role, self._of_frame(item, fact, frame), captions, frame)
            for item, fact in zip(found, facts, strict=True)
            for frame in range(0, fact.frames if self.frames else 1, self.frames or 1)
        ]

    def _of_frame(self, item: Found, facts: Facts, frame: int) -> Facts:
        """The facts with the size of one frame: pages may have their own."""
        if frame == 0 or facts.fault is not None or facts.format != "tiff":
            return facts
        try:
            found = probe(item.path, self.policy(), frame)
        except RowError as error:
            return replace(facts, width=None, height=None, fault=(error.code, error.detail))
        return replace(facts, width=found.width, height=found.height)

    def _facts(self, item: Found, role: str, cache: ScanCache) -> Facts:
        if item.fault is not None or item.stat is None:
            return Facts(fault=item.fault)
        size_bytes = item.stat.st_size
        if size_bytes > self.max_megabytes * 2**20:
            detail = f"{size_bytes / 2**20:.0f} MiB; scan.max_megabytes allows {self.max_megabytes:g}"
            return Facts(bytes=size_bytes, fault=("too-large", detail))
        return cache.get(role, item) or read_facts(item.path, self.policy(), self._limits())

    def _row(
        self, item: Found, role: str, facts: Facts, captions: dict[str, str | None], frame: int
    ) -> dict[str, Any]:
        fault = facts.fault or self._out_of_range(facts)
        view = f"frame{frame}" if frame else ""
        return {
            "id": digest(role, item.name, view),
            "path": item.name,
            "view": view,
            "role": role,
            "sha256": facts.sha256,
            "pixels_key": None if facts.sha256 is None else self.policy().key(facts.sha256, frame),
            "state": ACTIVE if fault is None else QUARANTINED,
            "reason": None if fault is None else f"scan:{fault[0]}: {fault[1]}",
            "format": facts.format,
            "width": facts.width,
            "height": facts.height,
            "bytes": facts.bytes,
            "raw_caption": captions.get(item.name),
        }

    def _out_of_range(self, facts: Facts) -> tuple[str, str] | None:
        if facts.width is None or facts.height is None:
            return None
        size = f"{facts.width}x{facts.height} px"
        if min(facts.width, facts.height) < self.min_side:
            return "too-small", f"{size}; scan.min_side asks for {self.min_side}"
        if max(facts.width, facts.height) > self.max_side:
            return "too-large", f"{size}; scan.max_side allows {self.max_side}"
        if facts.width * facts.height > self.max_megapixels * 1e6:
            return "too-large", f"{size}; scan.max_megapixels allows {self.max_megapixels:g} million"
        return None


def _tell_salvaged(names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _NAMED_IN_LOG} more" if len(names) > _NAMED_IN_LOG else ""
        _LOG.warning(
            "%d truncated pictures are used without their missing rows (scan.salvage): %s%s",
            len(names), ", ".join(names[:_NAMED_IN_LOG]), more,
        )  # fmt: skip


def _captions(
    found: Iterable[Found], encoding: str | None = None
) -> tuple[dict[str, str | None], list[Found]]:
    """Text beside each picture, by the picture's name, and what is left when the caption files are taken out.

    `a.png.txt` goes to a.png alone; `a.txt` and `a.caption` to every picture of the stem a.
    """
    found = list(found)
    pictures: dict[str, list[str]] = defaultdict(list)  # name without suffix, and whole name -> pictures
    for item in found:
        if PurePosixPath(item.name).suffix.lower() in IMAGE_SUFFIXES:
            pictures[str(PurePosixPath(item.name).with_suffix(""))].append(item.name)
            pictures[item.name].append(item.name)
    texts: dict[str, str | None] = {}
    rest: list[Found] = []
    ranked = sorted(found, key=lambda item: _preference(item.name, pictures))
    for item in ranked:
        owners = pictures.get(str(PurePosixPath(item.name).with_suffix("")), [])
        if PurePosixPath(item.name).suffix.lower() not in CAPTION_SUFFIXES or not owners or item.fault:
            rest.append(item)
            continue
        text = _text(item.path, item.name, encoding)
        for owner in owners:
            if texts.get(owner) is None:
                texts[owner] = text
    return texts, sorted(rest, key=lambda item: item.name)


def _preference(name: str, pictures: dict[str, list[str]]) -> tuple[bool, int, str]:
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    rank = CAPTION_SUFFIXES.index(suffix) if suffix in CAPTION_SUFFIXES else len(CAPTION_SUFFIXES)
    own = PurePosixPath(path.stem).suffix.lower() in IMAGE_SUFFIXES
    return not own, rank, name


def _text(path: Path, name: str, encoding: str | None) -> str | None:
    """A caption file's text, stripped; None if it is empty, cannot be read, or its encoding is in doubt."""
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_CAPTION_BYTES)
    except OSError:
        return None
    text = decode(data, encoding)
    if text.doubtful:
        _LOG.warning("%s", as_warning(name, data, text))
        return None
    if text.guessed:
        _LOG.warning("%s is not UTF-8; it was read as %s, look whether that is right", name, text.encoding)
    return text.text or None
