"""Perceptual hashes of pictures, bit for bit those of the imagehash package, without its cost per picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

_SIDE = 32  # px of the grey thumbnail; its DCT's lowest 8x8 make the hash
_LOW = 8
_NESTED_BORDERS = 3
_BLED_PX, _BLED_SHARE = 4, 0.02  # lines, share of a side
_BLENDED_PX, _BLENDED_SHARE = 2, 0.01  # px, share of the shorter side
_ONE_BLOCK = 2**22  # px that Pillow surely holds in one piece
_TIE = (
    1e-5  # coefficients this near to the median lie on a side by rounding; the least true gap is far larger
)


def _dct_rows() -> NDArray[np.float64]:
    """First 8 rows of the DCT-II matrix of 32 points, shape (8, 32), scaled as scipy.fftpack.dct."""
    k = np.arange(_LOW)[:, None]
    n = np.arange(_SIDE)[None, :]
    rows: NDArray[np.float64] = 2.0 * np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE))
    return rows


_DCT = _dct_rows()


def grey_thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """Grey picture of 32x32 px by Lanczos, shape (32, 32): what pHash is computed from."""
    return np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))


def phash_bits(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """pHash bits of grey thumbnails.

    Args:
        grey: shape (..., 32, 32).
    Returns:
        Shape (..., 8, 8): which of the lowest DCT coefficients lie above their median.
    """
    low = _DCT @ grey.astype(np.float64) @ _DCT.T  # (..., 8, 8)
    median = _median(low)
    bits: NDArray[np.bool_] = low > median
    for i in np.argwhere((np.abs(low - median) < _TIE).any(axis=(-2, -1))):
        bits[tuple(i)] = _reference_bits(grey[tuple(i)])
    return bits


def _median(low: NDArray[np.float64]) -> NDArray[np.float64]:
    flat = low.reshape(*low.shape[:-2], _LOW * _LOW)
    median: NDArray[np.float64] = np.median(flat, axis=-1)[..., None, None]
    return median


def _reference_bits(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The bits of one thumbnail by the FFT that imagehash uses: on flat pictures rounding decides them."""
    from scipy.fftpack import dct

    low = dct(dct(grey, axis=0), axis=1)[:_LOW, :_LOW]
    bits: NDArray[np.bool_] = low > np.median(low)
    return bits


Hash = Literal["phash", "dhash", "whash"]


def bits_of(image: Image.Image, kind: Hash = "phash") -> NDArray[np.bool_]:
    """The 64 bits of a perceptual hash, equal to those of the imagehash function of this name.

    Args:
        image: mode RGB.
        kind: phash: lowest DCT coefficients; dhash: neighbours compared; whash: Haar wavelets, far slower.
    Returns:
        Shape (8, 8).
    """
    if kind == "phash":
        return phash_bits(grey_thumbnail(image))
    if kind == "dhash":
        grey = np.asarray(image.convert("L").resize((_LOW + 1, _LOW), Image.Resampling.LANCZOS))
        rising: NDArray[np.bool_] = grey[:, 1:] > grey[:, :-1]
        return rising
    import imagehash

    bits: NDArray[np.bool_] = imagehash.whash(image, hash_size=_LOW).hash
    return bits


def hex_of(bits: NDArray[np.bool_]) -> str:
    """64 bits as 16 hex digits, in the order that str(imagehash.ImageHash) prints."""
    return np.packbits(bits.reshape(-1)).tobytes().hex()


def numbers_of(hexes: list[str]) -> NDArray[np.uint64]:
    """Hashes of 16 hex digits as numbers, shape (N,)."""
    return np.frombuffer(bytes.fromhex("".join(hexes)), dtype=">u8").astype(np.uint64)


def phash(image: Image.Image) -> str:
    """The 64-bit pHash, equal to str(imagehash.phash(image))."""
    return hex_of(phash_bits(grey_thumbnail(image)))


def trimmed(
    image: Image.Image, light: Image.Image | None = None, tolerance: int = 24, least_share: float = 0.2
) -> Image.Image:
    """The picture without uniform borders, also where one lies within another.

    Args:
        image: mode RGB.
        light: the same in mode L, where it is at hand.
        tolerance: how far a border pixel may be from its line's median, levels, in grey and in each channel.
        least_share: each side keeps at least this share of its length, else it is not trimmed further.
    """
    grey = pixels_of(image.convert("L") if light is None else light)
    whole = box = (0, 0, image.width, image.height)
    blended = max(_BLENDED_PX, round(_BLENDED_SHARE * min(image.size)))
    cut = [False] * 4  # which sides were
    for _ in range(_NESTED_BORDERS):
        # Between two borders lie lines of neither, made by reducing or by JPEG: the next one begins behind.
        left, top, right, bottom = (
            side + (blended if i < 2 else -blended) * cut[i] for i, side in enumerate(box)
        )
        inner = grey[top:bottom, left:right]
        if not inner.size:
            break
        cuts = [_run(lines, tolerance) for lines in (inner.T, inner, inner.T[::-1], inner[::-1])]
        if any(cuts):
            cuts = _of_one_colour(np.asarray(image.crop((left, top, right, bottom))), cuts, tolerance)
        new = left + cuts[0], top + cuts[1], right - cuts[2], bottom - cuts[3]
        small = new[2] - new[0] < least_share * image.width or new[3] - new[1] < least_share * image.height
        if not any(cuts) or small:
            break
        box, cut = new, [was or now > 0 for was, now in zip(cut, cuts, strict=True)]
    return image if box == whole else image.crop(box)


def _run(lines: NDArray[np.uint8], tolerance: int) -> int:
    """How many lines from the first on are uniform and like the first."""
    first = lines[0].astype(np.int16)
    level = int(np.median(first))
    if np.abs(first - level).max() > tolerance:
        return 0  # nearly every picture: not worth looking at the other lines
    low, high = max(0, level - tolerance), min(255, level + tolerance)
    differs = (lines.min(axis=1) < low) | (lines.max(axis=1) > high)
    return int(np.argmax(differs)) if differs.any() else len(lines)


def _of_one_colour(inner: NDArray[np.uint8], cuts: list[int], tolerance: int) -> list[int]:
    """Of lines of one grey those of one colour: a yellow balloon on white is no border.

    Args:
        inner: the picture, shape (H, W, 3).
        cuts: lines of one grey at the left, top, right and bottom.
        tolerance: as of `trimmed`.
    """
    sides = inner.swapaxes(0, 1), inner, inner.swapaxes(0, 1)[::-1], inner[::-1]
    found = []
    for lines, cut in zip(sides, cuts, strict=True):
        colour = min((_run(lines[:cut, :, i], tolerance) for i in range(3)), default=0) if cut else 0
        # JPEG's coarse colour lets what is within bleed into the last lines of a border.
        bled = cut - colour <= max(_BLED_PX, _BLED_SHARE * len(lines))
        found.append(cut if bled else colour)
    return found


def detail(grey: NDArray[np.uint8]) -> float:
    """Standard deviation of the grey thumbnail, grey levels: 0 flat, about 20 soft, 60 and more lively."""
    return float(grey.astype(np.float64).std())


@dataclass(frozen=True)
class Texture:
    """How much a picture's pixels differ from their neighbours: what its Laplacian is like.

    Attributes:
        sharpness: variance, grey levels squared; under about 100 looks soft.
        busy: mean size in 8x8 cells, grey levels, shape (8, 8); zeros in pictures thinner than 10 px.
    """

    sharpness: float
    busy: NDArray[np.float64]


def texture(grey: Image.Image) -> Texture:
    """Texture of a picture, mode L.

    Taken in eight strips: on a whole picture most of the time goes into fresh memory for results in between.
    """
    import cv2

    values = pixels_of(grey)
    height, width = values.shape[0] - 2, values.shape[1] - 2  # inner pixels: those with four neighbours
    if min(height, width) < 1:
        return Texture(0.0, np.zeros((_LOW, _LOW)))
    rows = np.unique(np.linspace(0, height, _LOW + 1).astype(int))
    columns = np.linspace(0, width, _LOW + 1).astype(int)[:-1]
    sums, squares, sizes = 0.0, 0.0, []
    for top, bottom in pairwise(rows.tolist()):
        strip = cv2.Laplacian(values[top : bottom + 2], cv2.CV_16S, ksize=1)[1:-1, 1:-1]
        mean, deviation = (float(number[0, 0]) for number in cv2.meanStdDev(strip))
        sums += mean * strip.size
        squares += (deviation**2 + mean**2) * strip.size
        sizes.append(cv2.reduce(cv2.convertScaleAbs(strip), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0])
    sharpness = squares / (height * width) - (sums / (height * width)) ** 2
    if min(height, width) < _LOW:
        return Texture(sharpness, np.zeros((_LOW, _LOW)))
    busy = np.add.reduceat(np.stack(sizes), columns, axis=1)
    area = np.diff(rows)[:, None] * np.diff([*columns, width])
    return Texture(sharpness, busy / area)


def pixels_of(grey: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a picture of mode L, shape (H, W), not copied where that is possible; read-only."""
    if grey.width * grey.height > _ONE_BLOCK:
        return np.asarray(grey)
    shared: NDArray[np.uint8] = pa.array(grey).to_numpy(zero_copy_only=True).reshape(grey.height, grey.width)
    return shared


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey picture, grey levels squared; under about 100 looks soft."""
    return texture(image.convert("L")).sharpness
