"""The second measure: whether two pictures whose hashes are near show the same thing in the same colours.

A perceptual hash sees the coarse shape of light and dark only: the same pose with other hair, two pages of
one layout, or two plain walls can have equal hashes. Coarse colour thumbnails tell them apart, and forgive
recompression, brightness, contrast, small crops, watermarks and the loss of colour.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 8  # px
_LUMA = np.array([0.299, 0.587, 0.114])
_COLOURLESS = 4.0  # root mean square of chroma, levels
_FLAT = 3.0  # standard deviation of brightness, levels: nothing to correlate
_STILL = 4.0  # levels of the Laplacian that noise and compression make
_BUSIER = 0.6  # octaves: how much busier a cell is under a mark
_MOST_CELLS = 24  # of 64: what changes more is not a mark
_FLAT_APART = 8.0  # root mean square difference of two flat pictures, levels


@dataclass(frozen=True)
class Limits:
    """How alike two thumbs have to be.

    Attributes:
        luma: least correlation of brightness.
        chroma: least cosine of colour, which brightness and contrast only scale.
        luma_of_grey: least correlation of brightness where one of the two has no colour to compare.
    """

    luma: float
    chroma: float
    luma_of_grey: float


# Measured on planted copies and look-alikes (benchmarks/corpus.py): of the pairs within hash distance 8,
# these keep 99.5 % of the copies and 10 % of the look-alikes.
WHOLE = Limits(luma=0.85, chroma=0.90, luma_of_grey=0.92)
# Of pictures without their borders. Two portraits of one character on plain grounds, trimmed to the figure,
# come near without being copies; a picture and the same with a border round it are almost equal.
TRIMMED = Limits(luma=0.92, chroma=0.93, luma_of_grey=0.95)


def thumb(image: Image.Image) -> str:
    """The picture's 8x8 means of colour, as text.

    Args:
        image: mode RGB.
    """
    return base64.b64encode(image.resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()).decode("ascii")


def edges(laplacian: NDArray[np.int16]) -> str:
    """How busy each of 8x8 cells of a picture is, as text: mean size of its Laplacian, 0 to 255."""
    sizes = np.abs(laplacian).astype(np.float32)
    if min(sizes.shape) < _SIDE:
        return base64.b64encode(bytes(_SIDE * _SIDE)).decode("ascii")
    rows = np.linspace(0, sizes.shape[0], _SIDE + 1).astype(int)[:-1]
    columns = np.linspace(0, sizes.shape[1], _SIDE + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(sizes, rows, axis=0), columns, axis=1)
    means = sums * (_SIDE * _SIDE / sizes.size)
    return base64.b64encode(np.clip(means, 0, 255).round().astype(np.uint8).tobytes()).decode("ascii")


def is_marked(first: str, second: str) -> bool:
    """Whether the first of two copies has something on it that the second has not, such as a watermark.

    Args:
        first: what `edges` gave for one picture.
        second: and for a copy of it.
    """
    a, b = (np.frombuffer(base64.b64decode(text), np.uint8).astype(np.float64) for text in (first, second))
    busier = np.log2((a + _STILL) / (b + _STILL))
    busier -= np.median(busier)  # the one that is sharper all over is not marked
    more, less = int((busier > _BUSIER).sum()), int((busier < -_BUSIER).sum())
    return more > 0 and more > 2 * less and more <= _MOST_CELLS


def _values(text: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, 3).astype(np.float64)  # (64, 3)


def mirrored(text: str) -> str:
    """The thumb of the mirrored picture."""
    values = np.frombuffer(base64.b64decode(text), np.uint8).reshape(_SIDE, _SIDE, 3)
    return base64.b64encode(values[:, ::-1].tobytes()).decode("ascii")


def alike(first: str, second: str, limits: Limits = WHOLE) -> bool:
    """Whether two thumbs can be of copies of one picture.

    Args:
        first: what `thumb` gave for one picture.
        second: and for the other.
        limits: how alike they have to be.
    """
    a, b = _values(first), _values(second)
    luma_a, luma_b = a @ _LUMA, b @ _LUMA
    if min(luma_a.std(), luma_b.std()) < _FLAT:
        return bool(np.sqrt(((a - b) ** 2).mean()) <= _FLAT_APART)
    correlation = _cosine(luma_a - luma_a.mean(), luma_b - luma_b.mean())
    chroma_a, chroma_b = (v[:, [0, 2]] - luma[:, None] for v, luma in ((a, luma_a), (b, luma_b)))
    if min(np.sqrt((chroma_a**2).mean()), np.sqrt((chroma_b**2).mean())) < _COLOURLESS:
        return correlation >= limits.luma_of_grey
    return correlation >= limits.luma and _cosine(chroma_a, chroma_b) >= limits.chroma


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum() + 1e-12))
