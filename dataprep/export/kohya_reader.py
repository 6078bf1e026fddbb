"""Read a prepared folder as sd-scripts would, and compare what it would train with what the manifest says.

It has two ways in: --dataset_config dataset.toml, or --train_data_dir img with train.toml's settings.

It looks at files only, never at our receipt or manifest: what sd-scripts cannot know must not help here.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from PIL import Image

from dataprep.buckets import BucketGrid, Size, bucket_sizes, place, place_without_upscaling
from dataprep.errors import InputError
from dataprep.export.kohya import one_line
from dataprep.export.kohya_caches import UNREADABLE, Cache, cache_options, read_cache, refusal
from dataprep.export.kohya_rules import (
    CACHE_STYLES,
    IMAGE_SUFFIXES,
    folder_subset,
    reg_uses,
)

_Read = TypeVar("_Read")
_STYLES = {style.suffix: style for style in CACHE_STYLES.values()}


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


@dataclass(frozen=True)
class KohyaView:
    """What sd-scripts would train."""

    pictures: tuple[Picture, ...]
    problems: tuple[str, ...]  # what stops it or makes it train something else
    reg_uses: Mapping[str, int]  # class picture -> times used in an epoch


@dataclass(frozen=True)
class _Subset:
    folder: Path
    repeats: int
    class_tokens: str
    is_reg: bool
    caption_suffix: str
    options: Mapping[str, Any]  # see kohya_caches.OPTIONS


def read_folder(root: Path) -> KohyaView:
    """Read the folder through its dataset.toml.

    Raises:
        InputError: dataset.toml is missing or not readable.
    """
    root = root.resolve()  # as dataset.toml names it
    settings, subsets = _read(root / "dataset.toml", partial(_dataset, given=_given(root)))
    return _view(root, settings, subsets)


def read_data_dirs(root: Path) -> KohyaView:
    """Read the folder as with --config_file train.toml --train_data_dir img --reg_data_dir reg.

    Raises:
        InputError: train.toml is missing, or not readable, or does not say what dataset.toml would.
    """
    root = root.resolve()
    settings = _read(root / "train.toml", _arguments)
    subsets = []
    for parent, is_reg in (("img", False), ("reg", True)):
        for folder in sorted((root / parent).glob("*/")):
            if found := folder_subset(folder.name):
                suffix = settings.get("caption_extension", ".caption")
                options = cache_options(settings)
                subsets.append(_Subset(folder, found[0], found[1], is_reg, suffix, options))
    return _view(root, settings, subsets)


def _read(path: Path, understand: Callable[[dict[str, Any]], _Read]) -> _Read:
    try:
        return understand(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read: {error!r}; delete it, and `dataprep run` writes it anew"
        ) from error


def _given(root: Path) -> dict[str, Any]:
    """The options of train.toml, which hold where dataset.toml says nothing."""
    try:
        document = tomllib.loads((root / "train.toml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {"cache_latents_to_disk": True}  # dataset.toml is used with flags, as its first lines say
    return cache_options(_flat(document))


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in document.items():
        settings |= value if isinstance(value, dict) else {name: value}
    return settings


def _arguments(document: Mapping[str, Any]) -> dict[str, Any]:
    """Command-line settings, whose sections have no meaning."""
    settings = _flat(document)
    width, _, height = str(settings["resolution"]).partition(",")
    return settings | {"resolution": [int(width), int(height or width)]}


def _view(root: Path, settings: Mapping[str, Any], subsets: Sequence[_Subset]) -> KohyaView:
    pictures: list[Picture] = []
    problems: list[str] = []
    for subset in subsets:
        if not subset.folder.resolve().is_relative_to(root.resolve()):
            problems.append(
                f"dataset.toml names {subset.folder}, which is not in this folder: run again if it moved"
            )
        elif not subset.folder.is_dir():
            problems.append(f"dataset.toml names {subset.folder.name}, which is not there")
        else:
            pictures += _read_subset(root, subset, settings, problems)
    if not any(not picture.is_reg for picture in pictures):
        problems.append("there is no training picture: sd-scripts stops")
    problems += _unnamed_folders(root, subsets)
    samples = sum(picture.repeats for picture in pictures if not picture.is_reg)
    reg = [picture for picture in pictures if picture.is_reg]
    uses = reg_uses(samples, [picture.repeats for picture in reg])
    return KohyaView(
        tuple(pictures), tuple(problems), dict(zip((picture.file for picture in reg), uses, strict=True))
    )


def _dataset(document: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[_Subset]]:
    datasets = document["datasets"]
    if len(datasets) != 1:
        raise ValueError(f"{len(datasets)} datasets, wanted 1")
    general = document.get("general", {})
    settings = {**general, **{key: value for key, value in datasets[0].items() if key != "subsets"}}
    if isinstance(settings["resolution"], str):
        raise ValueError("resolution is a text; sd-scripts takes a number or two here, such as [512, 512]")
    subsets = []
    for subset in datasets[0]["subsets"]:
        own = {**given, **settings, **subset}
        subsets.append(
            _Subset(
                Path(own["image_dir"]),
                int(own.get("num_repeats", 1)),
                own.get("class_tokens") or "",
                bool(own.get("is_reg", False)),
                own.get("caption_extension", ".caption"),
                cache_options(own),
            )
        )
    return settings, subsets


def _unnamed_folders(root: Path, subsets: Sequence[_Subset]) -> list[str]:
    named = {subset.folder.resolve() for subset in subsets}
    problems = []
    for parent in ("img", "reg"):
        for folder in sorted(path for path in (root / parent).glob("*") if path.is_dir()):
            if folder.resolve() not in named and folder_subset(folder.name):
                problems.append(
                    f"{parent}/{folder.name} is read with --train_data_dir but is not in dataset.toml"
                )
    return problems


def _read_subset(
    root: Path, subset: _Subset, settings: Mapping[str, Any], problems: list[str]
) -> list[Picture]:
    files = sorted((path for path in subset.folder.iterdir() if path.suffix in IMAGE_SUFFIXES), key=str)
    skipped = [path.name for path in subset.folder.iterdir() if _is_skipped_picture(path)]
    problems += [
        f"{subset.folder.name}/{name}: sd-scripts skips pictures of this name" for name in sorted(skipped)
    ]
    stems = Counter(path.stem for path in files)
    problems += [
        f"{subset.folder.name}/{stem}: {count} pictures share one caption and one cache"
        for stem, count in stems.items()
        if count > 1
    ]
    sizes = _sizes_from_caches(subset.folder, files)
    pictures = []
    for path in files:
        file = path.relative_to(root).as_posix()
        try:
            with Image.open(path) as image:
                real = image.size
        except OSError as error:
            problems.append(f"{file}: is no picture: {error}")
            continue
        size = sizes.get(path, real)
        if size != real:
            problems.append(
                f"{file}: is {_by(real)}, a latents file's name makes sd-scripts believe {_by(size)}"
            )
        bucket = _bucket(size, settings)
        if 0 in bucket:
            problems.append(f"{file}: too small for any bucket: sd-scripts stops")
            continue
        cache = _cache(root, path, size, bucket, problems)
        refused = "" if cache is None else refusal(cache, subset.options)
        text = _caption(path, subset, file, problems)
        accepted = None if refused else cache
        pictures.append(Picture(file, size, bucket, text, subset.repeats, subset.is_reg, accepted, refused))
    return pictures


def _is_skipped_picture(path: Path) -> bool:
    return path.suffix not in IMAGE_SUFFIXES and path.suffix.lower() in (
        *IMAGE_SUFFIXES, ".gif", ".tif", ".tiff", ".avif", ".jxl", ".heic",
    )  # fmt: skip


def _sizes_from_caches(folder: Path, files: Sequence[Path]) -> dict[Path, Size]:
    """Sizes that sd-scripts takes from cache names: one sweep over both lists, comparing beginnings."""
    sizes: dict[Path, Size] = {}
    for suffix in _STYLES:
        caches = sorted(
            (str(path) for path in folder.glob(f"*{suffix}")),
            key=lambda name: name.rsplit("_", maxsplit=2)[0],
        )
        position = 0
        for path in files:
            stem = str(path.with_suffix(""))
            while position < len(caches):
                head = caches[position][: len(stem)]
                if head > str(path)[: len(stem)]:
                    break
                position += 1
                if head == stem:
                    size = _named_size(caches[position - 1], suffix)
                    if size is not None:
                        sizes[path] = size
                    break
    return sizes


def _named_size(name: str, suffix: str) -> Size | None:
    width, _, height = name.removesuffix(suffix).rpartition("_")[2].partition("x")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else None


def _bucket(size: Size, settings: Mapping[str, Any]) -> Size:
    resolution = settings["resolution"]
    area: Size = (resolution, resolution) if isinstance(resolution, int) else (resolution[0], resolution[1])
    if not settings.get("enable_bucket", False):
        return area
    low, high = settings.get("min_bucket_reso", 256), settings.get("max_bucket_reso", 1024)
    grid = BucketGrid(area, low, high, settings.get("bucket_reso_steps", 64)).adjusted()
    if settings.get("bucket_no_upscale", False):
        return place_without_upscaling(*size, grid).bucket
    return place(*size, bucket_sizes(grid)).bucket


def _caption(path: Path, subset: _Subset, file: str, problems: list[str]) -> str:
    source = path.with_suffix(subset.caption_suffix)
    if not source.is_file():
        problems.append(f"{file}: has no {subset.caption_suffix}: trained as {subset.class_tokens!r}")
        return subset.class_tokens
    try:
        lines = source.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        problems.append(f"{file}: its caption is not UTF-8: sd-scripts stops")
        return ""
    if not lines:
        problems.append(f"{file}: its caption file is empty: sd-scripts stops")
        return ""
    if lines[0].startswith("\ufeff"):
        problems.append(
            f"{file}: its caption starts with a byte order mark, which becomes part of the first word"
        )
    if any(line.strip() for line in lines[1:]):
        problems.append(f"{file}: only the first line of its caption is trained")
    return lines[0].strip()


def _cache(root: Path, path: Path, size: Size, bucket: Size, problems: list[str]) -> Cache | None:
    old = path.with_suffix(".npz")
    file = path.relative_to(root).as_posix()
    if old.exists():
        problems.append(f"{file}: {old.name} of an older sd-scripts is trained instead of newer latents")
    found = None
    for suffix, style in _STYLES.items():
        named = path.with_name(f"{path.stem}_{size[0]:04d}x{size[1]:04d}{suffix}")
        if not named.is_file():
            continue
        try:
            cache = read_cache(root, named, bucket, style.plain_keys)
        except UNREADABLE as error:
            problems.append(f"{named.relative_to(root).as_posix()}: broken ({error}): sd-scripts stops")
            continue
        wanted = (style.channels, bucket[1] // 8, bucket[0] // 8)
        if cache.shape != wanted:
            problems.append(f"{cache.file}: latents of shape {cache.shape} are trained where {wanted} belong")
        found = cache
    return found


def differences(view: KohyaView, manifest: pa.Table) -> list[str]:
    """What sd-scripts would train otherwise than the manifest says; empty when all is as planned."""
    found = list(view.problems)
    rows = {row["image_file"]: row for row in manifest.to_pylist() if row.get("image_file")}
    pictures = {picture.file: picture for picture in view.pictures}
    found += [f"{file}: sd-scripts does not see it" for file in sorted(set(rows) - set(pictures))]
    found += [f"{file}: is not in the manifest, but is trained" for file in sorted(set(pictures) - set(rows))]
    for file in sorted(set(rows) & set(pictures)):
        found += [f"{file}: {what}" for what in _row_differences(pictures[file], rows[file])]
    return found


def _row_differences(picture: Picture, row: Mapping[str, Any]) -> list[str]:
    found = []
    planned = (row["bucket_width"], row["bucket_height"])
    if picture.bucket != planned:
        found.append(f"bucket {_by(picture.bucket)}, planned {_by(planned)}")
    if picture.is_reg != (row["role"] == "reg"):
        found.append("class and training pictures are mixed up")
    if row.get("repeats") is not None and picture.repeats != row["repeats"]:
        found.append(f"repeats {picture.repeats}, planned {row['repeats']}")
    if row.get("caption") and picture.caption != one_line(row["caption"]):
        found.append(f"caption {picture.caption!r}, planned {row['caption']!r}")
    if row.get("latents_file"):
        if picture.cache is None:
            why = f" ({picture.refused})" if picture.refused else ""
            found.append(f"its latents are not accepted{why} and would be computed anew")
        elif row.get("latents_key") and picture.cache.fingerprint not in (None, row["latents_key"]):
            found.append("its latents were made of other pixels or by another VAE")
    elif picture.cache is not None:
        found.append(f"{picture.cache.file} is trained, which the manifest does not know")
    return found


def describe(view: KohyaView) -> str:
    """What sd-scripts will see, in a few lines."""
    train = [picture for picture in view.pictures if not picture.is_reg]
    reg = [picture for picture in view.pictures if picture.is_reg]
    samples = sum(picture.repeats for picture in train)
    cached = sum(picture.cache is not None for picture in view.pictures)
    buckets = Counter(_by(picture.bucket) for picture in train)
    lines = [
        f"sd-scripts will see: {len(train)} training pictures, {samples} with repeats, "
        f"in {len(buckets)} buckets: "
        + ", ".join(f"{name} {count}" for name, count in buckets.most_common()),
        f"  latents accepted for {cached} of {len(view.pictures)} pictures",
    ]
    if reg:
        used = [use for use in view.reg_uses.values() if use]
        lines.append(f"  {len(used)} of {len(reg)} class pictures, together {sum(used)} times an epoch")
    return "\n".join(lines)


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
