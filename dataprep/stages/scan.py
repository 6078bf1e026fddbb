"""List the raw folder and the class folder: one row per file, whatever it is, with what its header says."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from dataprep.curate.caption_files import pair_captions, tell
from dataprep.curate.encodings import EncodingName
from dataprep.digest import digest
from dataprep.errors import RowError
from dataprep.framing.buckets import Size
from dataprep.manifest import ACTIVE, BASE, QUARANTINED, conform
from dataprep.pictures.colour import Alpha
from dataprep.pictures.extents import gif_sizes
from dataprep.pictures.pixels import Filter, Limits, PixelPolicy, probe
from dataprep.pictures.scan_cache import Facts, ScanCache, read_facts
from dataprep.pictures.walk import Found, walk
from dataprep.stage import Context, Stage, TableFunction

PROJECT_FILE = "dataprep.toml"
_CACHE = ".dataprep/scan.parquet"
_LOG = logging.getLogger(__name__)
_NAMED_IN_LOG = 5
_OWN_SIZES = frozenset({"tiff", "heif"})  # formats whose pages are read one by one


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
        float,
        Field(
            gt=0,
            le=2000,
            description="largest picture that is decoded, million pixels; less of forms that take more "
            "memory. Of the default 150: 48 to 80 of WebP, AVIF, JPEG 2000, HEIC and JPEG XL; of progressive "
            "JPEG 80 in CMYK, 96 in 4:4:4, 137 in 4:2:0. Phones' 108 pass as baseline or 4:2:0 JPEG",
        ),
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
        files, found = pair_captions(found, self.caption_encoding)
        for line in tell(files):
            _LOG.warning("%s", line)
        captions = {picture: file.text for file in files for picture in file.pictures}
        with ThreadPoolExecutor(max_workers=max(1, context.threads)) as pool:
            facts = list(pool.map(lambda item: self._facts(item, role, cache), found))
        for item, fact in zip(found, facts, strict=True):
            cache.put(role, item, fact, started)
            if item.stat is not None and fact.sha256 is not None:
                context.pixels.stamps.note(item.path, item.stat)
        _tell_salvaged([item.name for item, fact in zip(found, facts, strict=True) if not fact.whole])
        return [
            self._row(item, role, of_frame, captions, frame)
            for item, fact in zip(found, facts, strict=True)
            for frame, of_frame in self._by_frame(item, fact)
        ]

    def _by_frame(self, item: Found, facts: Facts) -> Iterator[tuple[int, Facts]]:
        """The frames or pages that are rows, with the facts of each: they may have sizes of their own."""
        numbers = range(0, facts.frames if self.frames else 1, self.frames or 1)
        sizes: list[Size] = []
        if len(numbers) > 1 and facts.format == "gif":
            try:
                sizes = gif_sizes(item.path)
            except RowError as error:
                facts = replace(facts, width=None, height=None, fault=(error.code, error.detail))
        for frame in numbers:
            if frame and facts.fault is None and facts.format in _OWN_SIZES:
                yield frame, self._of_frame(item, facts, frame)
            elif frame and sizes:
                width, height = sizes[min(frame, len(sizes) - 1)]
                yield frame, replace(facts, width=width, height=height)
            else:
                yield frame, facts

    def _of_frame(self, item: Found, facts: Facts, frame: int) -> Facts:
        try:
            found = probe(item.path, self.policy(), frame)
        except RowError as error:
            return replace(facts, width=None, height=None, fault=(error.code, error.detail))
        return replace(facts, width=found.width, height=found.height, burden=found.burden)

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
        if not self._limits().allow(facts.width, facts.height, facts.burden):
            allowed = f"scan.max_megapixels allows {self.max_megapixels:g} million"
            if facts.burden > 1:
                size += f", in a form that takes {facts.burden:.1f} times the memory of others"
            return "too-large", f"{size}; {allowed}"
        return None


def _tell_salvaged(names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _NAMED_IN_LOG} more" if len(names) > _NAMED_IN_LOG else ""
        _LOG.warning(
            "%d truncated pictures are used without their missing rows (scan.salvage): %s%s",
            len(names), ", ".join(names[:_NAMED_IN_LOG]), more,
        )  # fmt: skip
