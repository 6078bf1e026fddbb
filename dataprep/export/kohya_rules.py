"""The rules of kohya's sd-scripts that a prepared folder must obey: file names, cache keys, counting.

Pure functions; sizes are (width, height) in px unless a name says otherwise.
Buckets are in `buckets`.

Source: sd-scripts 48d368fa, whose own numbers the tests compare with.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataprep.framing.buckets import Size, stored_crop

Family = Literal["sd1", "sd2", "sdxl", "sd3", "flux"]
# The setting that latents, texts and export have alike
FamilySetting = Annotated[
    Family,
    Field(
        description="family of the base model; decides file names and keys. It follows `models`; "
        "where you say it yourself, say it alike in latents, texts and export"
    ),
]


@dataclass(frozen=True)
class CacheStyle:
    """How one family's latents are cached on disk."""

    suffix: str  # of the file name, after _WWWWxHHHH
    channels: int
    plain_keys: bool  # keys without the latent's size ("latents"): SD and SDXL
    step: int  # every bucket side must be a multiple, px


CACHE_STYLES: dict[Family, CacheStyle] = {
    "sd1": CacheStyle("_sd.npz", 4, True, 64),
    "sd2": CacheStyle("_sd.npz", 4, True, 64),
    "sdxl": CacheStyle("_sdxl.npz", 4, True, 32),
    "sd3": CacheStyle("_sd3.npz", 16, False, 32),
    "flux": CacheStyle("_flux.npz", 16, False, 32),
}

# FLUX latents are cached as (z - shift) * scale, all other families' unscaled.
FLUX_SHIFT, FLUX_SCALE = 0.1159, 0.3611


@dataclass(frozen=True)
class TextCacheStyle:
    """How one family's text-encoder outputs are cached on disk; they survive every edit of the caption."""

    suffix: str  # of the file name
    shapes: Mapping[str, int]  # array -> how many dimensions it has
    read: tuple[str, ...]  # arrays with a row for each position of the text
    flags: tuple[str, ...] = ()  # options that must be as when it was made
    option: str = "t5xxl_max_token_length"  # that says how many positions there are
    default: int | None = None  # None: the base model decides
    extra: int = 0  # positions that the option does not count, such as start and end

    def positions(self, options: Mapping[str, object]) -> int | None:
        """Positions of every text with these options of train.toml, None where the base model decides."""
        length = options.get(self.option) or self.default
        return length + self.extra if isinstance(length, int) else None


TEXT_CACHES: dict[Family, TextCacheStyle] = {
    "sdxl": TextCacheStyle(
        "_te_outputs.npz",
        {"hidden_state1": 2, "hidden_state2": 2, "pool2": 1},
        ("hidden_state1", "hidden_state2"),
        option="max_token_length",
        default=75,
        extra=2,
    ),
    "flux": TextCacheStyle(
        "_flux_te.npz",
        {"l_pooled": 1, "t5_out": 2, "txt_ids": 2, "t5_attn_mask": 1},
        ("t5_out", "txt_ids", "t5_attn_mask"),
        ("apply_t5_attn_mask",),
    ),
    "sd3": TextCacheStyle(
        "_sd3_te.npz",
        {
            "lg_out": 2, "lg_pooled": 1, "t5_out": 2, "clip_l_attn_mask": 1, "clip_g_attn_mask": 1,
            "t5_attn_mask": 1,
        },
        ("t5_out", "t5_attn_mask"),
        ("apply_lg_attn_mask", "apply_t5_attn_mask"),
        default=256,
    ),
}  # fmt: skip
TEXT_CACHE_SUFFIXES = tuple(style.suffix for style in TEXT_CACHES.values())
IMAGE_SUFFIXES = tuple(
    e for suffix in (".png", ".jpg", ".jpeg", ".webp", ".bmp") for e in (suffix, suffix.upper())
)


def latents_name(stem: str, width: int, height: int, family: Family) -> str:
    """File name of the cache of a picture file of this size (the file's own, before any resize)."""
    return f"{stem}_{width:04d}x{height:04d}{CACHE_STYLES[family].suffix}"


def latent_arrays(
    latents: NDArray[np.float32],
    size: Size,
    bucket: Size,
    fingerprint: str,
    family: Family,
    flipped: NDArray[np.float32] | None = None,
    alpha_mask: NDArray[np.float32] | None = None,
) -> dict[str, NDArray[np.generic]]:
    """The arrays of one cache file, under the keys of every reader's generation.

    Args:
        latents: shape (C, h, w), float32, unscaled for SD, SDXL and SD3, scaled and shifted for FLUX.
        size: of the picture file, (width, height) in px.
        bucket: (width, height) in px.
        fingerprint: names what the latents were made of; readers ignore the extra array.
        family: decides the key style; SD and SDXL get both, since newer readers want the size in the key.
        flipped: latents of the mirrored picture, same shape, or None.
        alpha_mask: shape (bucket height, bucket width), 0..1, or None.
    """
    values: dict[str, NDArray[np.generic]] = {
        "latents": latents.astype(np.float32),
        "original_size": np.array(size, np.int64),
        "crop_ltrb": np.array(stored_crop(bucket, *size), np.float64),
    }
    if flipped is not None:
        values["latents_flipped"] = flipped.astype(np.float32)
    if alpha_mask is not None:
        values["alpha_mask"] = alpha_mask.astype(np.float32)
    sized = {f"{name}_{latents.shape[1]}x{latents.shape[2]}": array for name, array in values.items()}
    plain = values if CACHE_STYLES[family].plain_keys else {}
    return {**plain, **sized, "fingerprint": np.array(fingerprint)}


def array_names(path: Path) -> frozenset[str]:
    """The arrays in an npz file. Raises OSError, zipfile.BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        return frozenset(name.removesuffix(".npy") for name in archive.namelist())


def is_whole(data: bytes) -> bool:
    """Whether an npz file is complete and has the checksums that it was written with."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError):
        return False


def reg_uses(train_samples: int, repeats: Sequence[int]) -> list[int]:
    """How often sd-scripts uses each class picture in an epoch.

    In order, each counts its own repeats until the sum reaches the number of training samples; the rest is
    not used. If all of them do not reach it, each in turn gets one more, round after round.

    Args:
        train_samples: training pictures times their repeats.
        repeats: of each class picture, in the reader's order.
    """
    uses = [0] * len(repeats)
    total = 0
    for i, own in enumerate(repeats):
        if total >= train_samples:
            return uses
        uses[i] = own
        total += own
    while repeats and total < train_samples:
        for i in range(len(repeats)):
            uses[i] += 1
            total += 1
            if total >= train_samples:
                break
    return uses


def folder_subset(name: str) -> tuple[int, str] | None:
    """Repeats and class tokens of a folder's name, None where sd-scripts ignores the folder."""
    first, *rest = name.split("_")
    try:
        repeats = int(first)
    except ValueError:
        return None
    return (repeats, "_".join(rest)) if repeats >= 1 else None
