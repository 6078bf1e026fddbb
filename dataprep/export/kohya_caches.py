"""One latents file as sd-scripts reads it, and whether it makes use of it: by its own rules, and by ours.

Ours are stricter where sd-scripts looks away: values that are not finite, and masks that it was not told of.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.buckets import Size

# What decides whether sd-scripts makes use of latents on disk; each is off unless said.
OPTIONS = ("cache_latents_to_disk", "flip_aug", "alpha_mask", "color_aug", "random_crop")
# What reading a damaged file may raise: sd-scripts stops at it.
UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_REMEMBERED = 20_000  # files; about 1 kB each


@dataclass(frozen=True)
class Cache:
    """What a latents file holds."""

    file: str
    shape: tuple[int, ...]  # (C, h, w)
    fingerprint: str | None
    keys: frozenset[str]  # arrays that its family's reader finds, named without the latent's size
    finite: bool  # no latent is NaN or infinite


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
def _read(root: Path, path: Path, bucket: Size, plain_keys: bool, _state: tuple[int, int, int]) -> Cache:
    sized = f"_{bucket[1] // 8}x{bucket[0] // 8}"
    key = "" if plain_keys else sized
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        # Each array whole, so that its checksum is compared.
        data = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
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
    return Cache(path.relative_to(root).as_posix(), latents[0].shape, fingerprint, keys, finite)


def _array(data: bytes) -> Any:  # noqa: ANN401 - an array of any shape and dtype
    return np.load(io.BytesIO(data), allow_pickle=False)
