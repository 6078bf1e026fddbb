"""One cache file as sd-scripts reads it, and whether it makes use of it: by its own rules, and by ours.

Ours are stricter where sd-scripts looks away: values that are not finite, masks that it was not told of,
sizes that are not the picture's.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.export.kohya_rules import TEXT_CACHES, Family, TextCacheStyle
from dataprep.framing.buckets import Size, stored_crop

# What decides whether sd-scripts makes use of latents on disk; each is off unless said.
OPTIONS = ("cache_latents_to_disk", "flip_aug", "alpha_mask", "color_aug", "random_crop")
# What reading a damaged file may raise: sd-scripts stops at it.
UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
# A larger file of texts is read in pieces, for its checksums only: T5's 8 MB in 4 ms, with SHA-256 in 14
_LARGE_BYTES = 2**22
_PIECE_BYTES = 2**20
_REMEMBERED = 20_000  # files of each kind; about 1 kB each


@dataclass(frozen=True)
class Cache:
    """What a latents file holds."""

    file: str
    shape: tuple[int, ...]  # (C, h, w)
    fingerprint: str | None
    keys: frozenset[str]  # arrays that its family's reader finds, named without the latent's size
    finite: bool  # no latent is NaN or infinite
    sizes: tuple[tuple[float, ...], tuple[float, ...]]  # original_size and crop_ltrb
    sha256: str  # of the file
    mtime_ns: int


@dataclass(frozen=True)
class TextCache:
    """What a file of text-encoder outputs holds."""

    file: str
    fingerprint: str | None
    shapes: Mapping[str, tuple[int, ...]]
    flags: Mapping[str, bool]  # apply_t5_attn_mask and its like
    finite: bool  # as far as it was read
    sha256: str  # of the file, "" where it was not read whole
    mtime_ns: int


def cache_options(settings: Mapping[str, Any]) -> dict[str, bool]:
    """The options that decide about caches, of any settings."""
    return {name: bool(settings.get(name, False)) for name in OPTIONS}


def refusal(cache: Cache, options: Mapping[str, bool]) -> str:
    """Why a latents file is not accepted, "" if it is."""
    if not options["cache_latents_to_disk"]:
        return "cache_latents_to_disk is off"
    for name in ("color_aug", "random_crop"):
        if options[name]:
            return f"{name} is on, with which sd-scripts caches nothing"
    if options["flip_aug"] and "latents_flipped" not in cache.keys:
        return "flip_aug is on and they lack latents_flipped"
    if options["alpha_mask"] and "alpha_mask" not in cache.keys:
        return "alpha_mask is on and they lack alpha_mask"
    if "alpha_mask" in cache.keys and not options["alpha_mask"]:
        return "they hold an alpha_mask that is applied although alpha_mask is off"
    return "" if cache.finite else "they hold values that are not finite"


def misplaced(cache: Cache, size: Size, bucket: Size) -> str:
    """What original_size and crop_ltrb say that is not so, "" if all is; SDXL is trained with both."""
    told, crop = cache.sizes
    if told != size:
        return f"original_size {told}, the picture is {size}"
    wanted = tuple(stored_crop(bucket, *size))
    same = len(crop) == len(wanted) and np.allclose(crop, wanted, atol=1e-3)
    return "" if same else f"crop_ltrb {crop}, wanted {wanted}"


def text_refusal(cache: TextCache, options: Mapping[str, Any], style: TextCacheStyle) -> str:
    """Why a file of text-encoder outputs is not accepted, "" if it is.

    Args:
        cache: the file.
        options: of train.toml.
        style: the family's.
    """
    if missing := [name for name in (*style.shapes, *style.flags) if name not in cache.shapes]:
        return f"they lack {', '.join(missing)}"
    for name in style.flags:
        if cache.flags[name] != bool(options.get(name, False)):
            return f"they were made with {name} {'on' if cache.flags[name] else 'off'}"
    lengths = {name: cache.shapes[name] for name in style.shapes}
    for name, dimensions in style.shapes.items():
        if len(lengths[name]) != dimensions:
            return f"{name} is of shape {lengths[name]}"
    wanted = style.positions(options)
    wrong = {name: lengths[name][0] for name in style.read if wanted and lengths[name][0] != wanted}
    if wrong:
        name, found = next(iter(wrong.items()))
        return f"{name} has {found} positions, with this train.toml it must have {wanted}"
    return "" if cache.finite else "they hold values that are not finite"


def read_cache(root: Path, path: Path, bucket: Size, plain_keys: bool) -> Cache:
    """Read a latents file, all of it.

    Args:
        root: the prepared folder.
        path: of the file.
        bucket: of its picture, px.
        plain_keys: whether its family's keys are without the latent's size.
    Raises:
        OSError, ValueError and the others of UNREADABLE: sd-scripts would stop at it.
    """
    found = path.stat()
    return _read(root, path, bucket, plain_keys, (found.st_size, found.st_mtime_ns, found.st_ctime_ns))


# A run's report and its reading back want the same files.
@lru_cache(_REMEMBERED)
def _read(root: Path, path: Path, bucket: Size, plain_keys: bool, state: tuple[int, int, int]) -> Cache:
    sized = f"_{bucket[1] // 8}x{bucket[0] // 8}"
    key = "" if plain_keys else sized
    data, sha256 = _arrays(path)
    wanted = ("latents", "original_size", "crop_ltrb")
    if missing := [name + key for name in wanted if name + key not in data]:
        raise KeyError(f"lacks {', '.join(missing)}")
    latents = [_array(data[name]) for name in (f"latents{key}", f"latents_flipped{key}") if name in data]
    fingerprint = str(_array(data["fingerprint"])) if "fingerprint" in data else None
    names = frozenset(data)
    keys = names if plain_keys else frozenset(n.removesuffix(sized) for n in names if n.endswith(sized))
    if any(array.dtype.kind != "f" for array in latents):
        raise ValueError(f"latents are {latents[0].dtype}, wanted floats")
    finite = all(bool(np.isfinite(array).all()) for array in latents)
    size, crop = (tuple(_array(data[name + key]).ravel().tolist()) for name in wanted[1:])
    file = path.relative_to(root).as_posix()
    return Cache(file, latents[0].shape, fingerprint, keys, finite, (size, crop), sha256, state[1])


def latents_sha256(root: Path, path: Path, bucket: Size, plain_keys: bool) -> str | None:
    """A latents file's SHA-256, None where it cannot be read; see read_cache, which remembers it."""
    try:
        return read_cache(root, path, bucket, plain_keys).sha256
    except UNREADABLE:
        return None


def texts_sha256(root: Path, path: Path, family: Family) -> str | None:
    """The SHA-256 of a file of text-encoder outputs, None where it is damaged, "" where it is large."""
    try:
        return read_texts(root, path, family).sha256
    except UNREADABLE:
        return None


def read_texts(root: Path, path: Path, family: str) -> TextCache:
    """Read a file of text-encoder outputs, checksums compared; of a large one only small arrays are kept.

    Raises:
        OSError, ValueError and the others of UNREADABLE: sd-scripts would stop at it.
    """
    found = path.stat()
    return _read_texts(root, path, family, (found.st_size, found.st_mtime_ns, found.st_ctime_ns))


@lru_cache(_REMEMBERED)
def _read_texts(root: Path, path: Path, family: str, state: tuple[int, int, int]) -> TextCache:
    style = TEXT_CACHES[family]  # type: ignore[index]
    if state[0] > _LARGE_BYTES:  # T5's are 8 MB each
        shapes, arrays = _headers(path)
        sha256 = ""
    else:
        data, sha256 = _arrays(path)
        arrays = {name: _array(part) for name, part in data.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
    return TextCache(
        path.relative_to(root).as_posix(),
        str(arrays["fingerprint"]) if "fingerprint" in arrays else None,
        {name: shapes[name] for name in (*style.shapes, *style.flags) if name in shapes},
        {name: bool(np.any(arrays[name])) for name in style.flags if name in arrays},
        all(bool(np.isfinite(array).all()) for array in arrays.values() if array.dtype.kind == "f"),
        sha256,
        state[1],
    )


def _headers(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Every array's shape, and the small arrays themselves; all bytes are held against their checksums."""
    shapes, arrays = {}, {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.file_size < _LARGE_BYTES // 100:
                arrays[name] = _array(archive.read(info))
                shapes[name] = arrays[name].shape
                continue
            with archive.open(info) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0
                shapes[name] = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)[0]
                while file.read(_PIECE_BYTES):
                    pass  # at the end the checksum is compared: a worn disk changes neither size nor time
    return shapes, arrays


def _arrays(path: Path) -> tuple[dict[str, bytes], str]:
    """Every array's bytes, checksums compared, and the file's SHA-256."""
    whole = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        data = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    return data, hashlib.sha256(whole).hexdigest()


def _array(data: bytes) -> Any:  # noqa: ANN401 - an array of any shape and dtype
    return np.load(io.BytesIO(data), allow_pickle=False)
