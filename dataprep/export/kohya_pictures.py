"""The pictures of one folder as sd-scripts sees them: sizes, buckets, captions, caches.

It looks at files only, never at our receipt or manifest: what sd-scripts cannot know must not help here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dataprep.export.difference import LATENTS, STOPS, Difference
from dataprep.export.kohya_caches import (
    UNREADABLE,
    Cache,
    TextCache,
    cache_options,
    misplaced,
    read_cache,
    read_texts,
    refusal,
    text_refusal,
)
from dataprep.export.kohya_dataset import Subset, area, grid
from dataprep.export.kohya_rules import CACHE_STYLES, IMAGE_SUFFIXES, TEXT_CACHES, Family
from dataprep.framing.buckets import Size, bucket_sizes, place, place_without_upscaling

_SIZES_KEPT = "metadata_cache.json"  # sd-scripts' own, with cache_info


@dataclass(frozen=True)
class Picture:
    """One picture as sd-scripts sees it."""

    file: str  # relative to the folder, POSIX
    size: Size  # as it believes, px
    bucket: Size
    caption: str
    repeats: int
    is_reg: bool
    cache: Cache | None  # accepted latents
    refused: str = ""  # why latents that are there are not accepted
    texts: TextCache | None = None  # accepted text-encoder outputs
    texts_refused: str = ""
    texts_older: bool = False  # than the caption file
    cache_older: bool = False  # than the picture


@dataclass(frozen=True)
class Reader:
    """What is read alike for all folders."""

    root: Path
    family: Family
    given: Mapping[str, Any]  # options of train.toml
    problems: list[Difference]  # grows
    notes: list[str]  # grows

    def say(self, text: str, code: str | None = None) -> None:
        """Note a difference."""
        self.problems.append(Difference(text) if code is None else Difference(text, code))

    def pictures(self, subset: Subset) -> list[Picture]:
        """The pictures that sd-scripts finds in a folder."""
        kept = self._kept_info(subset)
        files = self._files(subset) if kept is None else [path for path in kept if path.is_file()]
        # With cache_info it measures the pictures, to write their sizes down.
        measured = bool(subset.options.get("cache_info", False))
        sizes = {} if measured else self._sizes_from_caches(subset.folder, files)
        found = []
        for path in files:
            told = None if kept is None else kept[path]
            picture = self._picture(path, subset, sizes.get(path), told)
            found += [] if picture is None else [picture]
        self._foreign(subset.folder, files)
        return found

    def _files(self, subset: Subset) -> list[Path]:
        every = sorted(subset.folder.iterdir(), key=str)
        files = [path for path in every if path.suffix in IMAGE_SUFFIXES]
        for path in filter(_is_skipped_picture, every):
            self.say(f"{subset.folder.name}/{path.name}: sd-scripts skips pictures of this name")
        for stem, count in Counter(path.stem for path in files).items():
            if count > 1:
                self.say(f"{subset.folder.name}/{stem}: {count} pictures share one caption and one cache")
        return files

    def _kept_info(self, subset: Subset) -> dict[Path, tuple[str, Size]] | None:
        """Captions and sizes that sd-scripts once wrote down and believes, with cache_info."""
        path = subset.folder / _SIZES_KEPT
        if not subset.options.get("cache_info", False) or not path.is_file():
            return None
        try:
            told = json.loads(path.read_text("utf-8"))
            return {
                Path(name): (one["caption"] or "", (one["resolution"][0], one["resolution"][1]))
                for name, one in told.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            self.say(f"{subset.name}/{_SIZES_KEPT}: cannot be read ({error!r}): sd-scripts stops", STOPS)
            return {}

    def _picture(
        self, path: Path, subset: Subset, named: Size | None, told: tuple[str, Size] | None
    ) -> Picture | None:
        file = _relative(path, self.root)
        try:
            with Image.open(path) as image:
                real = image.size
        except OSError as error:
            self.say(f"{file}: is no picture: {error}", STOPS)
            return None
        size = named or real if told is None else told[1]
        if size != real:
            source = "a latents file's name" if told is None else _SIZES_KEPT
            code = LATENTS if told is None else None
            self.say(f"{file}: is {_by(real)}, {source} makes sd-scripts believe {_by(size)}", code)
        bucket = _bucket(size, subset.options)
        if 0 in bucket:
            self.say(f"{file}: too small for any bucket: sd-scripts stops", STOPS)
            return None
        cache = self._cache(path, size, bucket)
        refused = "" if cache is None else refusal(cache, cache_options(subset.options))
        texts, texts_refused = self._texts(path)
        text = self._caption(path, subset, file) if told is None else told[0]
        return Picture(
            file, size, bucket, text, subset.repeats, subset.is_reg, None if refused else cache, refused,
            texts, texts_refused, texts is not None and _is_older(texts, path, subset.caption_suffix),
            cache is not None and cache.mtime_ns < path.stat().st_mtime_ns,
        )  # fmt: skip

    def _sizes_from_caches(self, folder: Path, files: Sequence[Path]) -> dict[Path, Size]:
        """Sizes that sd-scripts takes from cache names: one sweep over both lists, comparing beginnings."""
        sizes: dict[Path, Size] = {}
        suffix = CACHE_STYLES[self.family].suffix
        caches = sorted(
            (str(path) for path in folder.glob(f"*{suffix}")),
            key=lambda name: name.rsplit("_", maxsplit=2)[0],
        )
        position = 0
        for path in files:
            stem = str(path.with_suffix(""))
            while position < len(caches):
                head = caches[position][: len(stem)]
                if head > stem:
                    break
                if head == stem:
                    size = _named_size(caches[position], suffix)
                    if size is not None:
                        sizes[path] = size
                    break
                position += 1
        return sizes

    def _caption(self, path: Path, subset: Subset, file: str) -> str:
        source = _caption_file(path, subset.caption_suffix)
        if source is None:
            self.say(f"{file}: has no {subset.caption_suffix}: trained as {subset.class_tokens!r}")
            return subset.class_tokens
        try:
            with source.open(encoding="utf-8") as opened:  # line ends as Python's, so as sd-scripts reads it
                lines = opened.readlines()
        except UnicodeDecodeError:
            self.say(f"{file}: its caption is not UTF-8: sd-scripts stops", STOPS)
            return ""
        if not lines:
            self.say(f"{file}: its caption file is empty: sd-scripts stops", STOPS)
            return ""
        if lines[0].startswith("\ufeff"):
            self.say(
                f"{file}: its caption starts with a byte order mark, which becomes part of the first word"
            )
        if subset.options.get("enable_wildcard", False):
            return "\n".join(line.strip() for line in lines if line.strip())
        if any(line.strip() for line in lines[1:]):
            self.say(f"{file}: only the first line of its caption is trained")
        return lines[0].strip()

    def _cache(self, path: Path, size: Size, bucket: Size) -> Cache | None:
        style = CACHE_STYLES[self.family]
        old, file = path.with_suffix(".npz"), _relative(path, self.root)
        if style.plain_keys and old.exists():
            self.say(
                f"{file}: {old.name} of an older sd-scripts is trained in place of newer latents", LATENTS
            )
            named = old
        else:
            named = path.with_name(f"{path.stem}_{size[0]:04d}x{size[1]:04d}{style.suffix}")
        if not named.is_file():
            return None
        try:
            cache = read_cache(self.root, named, bucket, style.plain_keys)
        except UNREADABLE as error:
            self.say(f"{_relative(named, self.root)}: broken ({error}): sd-scripts stops", STOPS)
            return None
        wanted = (style.channels, bucket[1] // 8, bucket[0] // 8)
        if cache.shape != wanted:
            self.say(
                f"{cache.file}: latents of shape {cache.shape} are trained where {wanted} belong", LATENTS
            )
        elif wrong := misplaced(cache, size, bucket):
            self.say(f"{cache.file}: {wrong}: SDXL is trained with it", LATENTS)
        return cache

    def _texts(self, path: Path) -> tuple[TextCache | None, str]:
        """A picture's text-encoder outputs where sd-scripts looks for them, and why it does not take them."""
        style = TEXT_CACHES.get(self.family)
        if style is None:
            return None, ""
        if not self.given.get("cache_text_encoder_outputs_to_disk", False):
            return None, "cache_text_encoder_outputs_to_disk is off"
        named = path.with_name(path.stem + style.suffix)
        if not named.is_file():
            return None, f"there is no {named.name}"
        try:
            texts = read_texts(self.root, named, self.family)
        except UNREADABLE as error:
            self.say(f"{_relative(named, self.root)}: broken ({error}): sd-scripts stops", STOPS)
            return None, "broken"
        refused = text_refusal(texts, self.given, style)
        return (None, refused) if refused else (texts, "")

    def _foreign(self, folder: Path, files: Sequence[Path]) -> None:
        """Caches of other families, which this family's trainer does not look at."""
        own = CACHE_STYLES[self.family].suffix
        others = {style.suffix for style in CACHE_STYLES.values() if style.suffix != own}
        others |= {style.suffix for family, style in TEXT_CACHES.items() if family != self.family}
        names = sorted(path.name for path in folder.glob("*.npz") if path.name.endswith(tuple(others)))
        if names and files:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            self.notes.append(f"{folder.parent.name}/{folder.name}/{names[0]}{more}")


def _is_skipped_picture(path: Path) -> bool:
    return path.suffix not in IMAGE_SUFFIXES and path.suffix.lower() in (
        *IMAGE_SUFFIXES, ".gif", ".tif", ".tiff", ".avif", ".jxl", ".heic",
    )  # fmt: skip


def _caption_file(path: Path, suffix: str) -> Path | None:
    """A picture's caption file; of a name such as name_cx_cy_w_h also the one without the numbers."""
    own = path.with_name(path.stem + suffix)
    if own.is_file():
        return own
    parts = str(path.with_suffix("")).split("_")
    other = Path("_".join(parts[:-4]) + suffix)
    return other if len(parts) >= 5 and other.is_file() else None


def _is_older(texts: TextCache, path: Path, suffix: str) -> bool:
    source = _caption_file(path, suffix)
    return source is not None and texts.mtime_ns < source.stat().st_mtime_ns


def _named_size(name: str, suffix: str) -> Size | None:
    width, _, height = name.removesuffix(suffix).rpartition("_")[2].partition("x")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else None


def _bucket(size: Size, options: Mapping[str, Any]) -> Size:
    buckets = grid(options)
    if buckets is None:
        return area(options)
    if options.get("bucket_no_upscale", False):
        return place_without_upscaling(*size, buckets).bucket
    return place(*size, bucket_sizes(buckets)).bucket


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
