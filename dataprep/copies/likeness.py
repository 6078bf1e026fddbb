"""The second measure: whether two pictures whose hashes are near show the same thing in the same colours.

A perceptual hash sees the coarse shape of light and dark only: the same pose with other hair, two pages of
one layout, or two plain walls can have equal hashes. Coarse colour thumbnails tell them apart, and forgive
recompression, brightness, contrast, small crops, watermarks and the loss of colour.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.copies.hashing import Texture
from dataprep.copies.light import BRIGHTENED, brightened

_SIDE = 8  # px
_CELLS = _SIDE * _SIDE
_LUMA = np.array([0.299, 0.587, 0.114])
_COLOURLESS = 4.0  # root mean square of chroma, levels
_FLAT = 3.0  # standard deviation of brightness, levels: nothing to correlate
_STILL = 4.0  # levels of the Laplacian that noise and compression make
_BUSIER = 0.6  # octaves: how much busier a cell is under a mark
_MOST_CELLS = 24  # of 64: what changes more is not a mark
_COLOUR_WEIGHT = 0.5  # of colour beside brightness in a sketch: copies may have lost it
_RECOLOURED = 16.0  # difference of chroma, levels, from which a cell is of another colour
_OF_CLIPPED = 2 / 3  # of that counts what clipped channels only nearly explain
_CELLS_RECOLOURED = 3  # of 64, from which that is no accident of compression
_BURNT = 245  # level from which a channel may have been cut off
_GAINS, _FITS = (0.4, 2.5), 4  # of colour between two copies; rounds of fitting it
_FLAT_APART = 8.0  # root mean square difference of two flat pictures, levels


@dataclass(frozen=True)
class Limits:
    """How alike two thumbs have to be.

    Attributes:
        luma: least correlation of brightness.
        chroma: least cosine of colour, which brightness and contrast only scale.
        luma_of_grey: least correlation of brightness where one of the two has no colour to compare.
        edges: least correlation of how busy cells are.
    """

    luma: float
    chroma: float
    luma_of_grey: float
    edges: float = -math.inf


# Measured on planted copies and look-alikes (benchmarks/corpus.py): of the pairs within hash distance 8,
# these keep 99.5 % of the copies and 10 % of the look-alikes.
WHOLE = Limits(luma=0.85, chroma=0.90, luma_of_grey=0.92)
# Of pictures without their borders. Two portraits of one character on plain grounds, trimmed to the figure,
# come near without being copies; a picture and the same with a border round it are almost equal.
TRIMMED = Limits(luma=0.92, chroma=0.93, luma_of_grey=0.95)
# Of pages of text, one of which was not measured as a page (pages.py). In one layout hash and thumb are all
# but equal: of 600,000 pairs of 100 full pages of random words and their copies, distance 8 and the limits
# above take 57,600 for copies, these and PAGE_DISTANCE 13.
PAGE = Limits(luma=0.9985, chroma=0.90, luma_of_grey=0.9985, edges=0.985)
PAGE_TRIMMED = Limits(luma=0.95, chroma=0.93, luma_of_grey=0.95)
PAGE_DISTANCE = 4  # bits
_PAGE_EDGES = 15.0  # mean levels of the Laplacian from which a picture is full of detail
_PAGE_UNEVEN = 0.15  # standard deviation of brightness, as a share of it, up to which detail is all over
_PAGE_LIGHT = 110.0  # median brightness, levels: of ink on paper, darkened copies included
_PAGE_TINT = 4.0  # standard deviation of chroma, levels: paper has one tint
_PERHAPS = 0.6  # of the limits above: measured as a page lest a copy of a page falls short of them


def thumb(image: Image.Image) -> str:
    """The picture's 8x8 means of colour, as text.

    Args:
        image: mode RGB.
    """
    return _text(image.resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes())


def edges(texture: Texture) -> str:
    """How busy each of 8x8 cells of a picture is, as text: mean size of its Laplacian, 0 to 255."""
    return _text(texture.busy.clip(0, 255).round().astype(np.uint8).tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def may_be_page(trim_thumb: str, edges: str) -> bool:
    """Whether a picture is so like a page of text that it has to be measured as one.

    Args:
        trim_thumb: what `thumb` gave for it without its borders.
        edges: what `edges` gave.
    """
    if np.frombuffer(base64.b64decode(edges), np.uint8).mean() < _PAGE_EDGES * _PERHAPS:
        return False  # most pictures
    thumbs = Thumbs([trim_thumb], [edges])
    return bool(thumbs.is_full(_PERHAPS)[0] and thumbs.is_paper(_PERHAPS)[0])


def are_marked(texts: Sequence[str], other: str) -> NDArray[np.bool_]:
    """Which of some copies have something on them that another copy has not, such as a watermark.

    Args:
        texts: what `edges` gave for each of K pictures.
        other: and for a copy of them.
    Returns:
        Shape (K,).
    """
    values = np.frombuffer(b"".join(map(base64.b64decode, (*texts, other))), np.uint8)
    busy = np.log2(values.reshape(-1, _CELLS) + _STILL)
    busier = busy[:-1] - busy[-1]
    middle = np.partition(busier, (_CELLS // 2 - 1, _CELLS // 2), axis=1)[
        :, _CELLS // 2 - 1 : _CELLS // 2 + 1
    ]
    busier -= middle.mean(axis=1, keepdims=True)  # the one that is sharper all over is not marked
    more, less = (busier > _BUSIER).sum(axis=1), (busier < -_BUSIER).sum(axis=1)
    marked: NDArray[np.bool_] = (more > 0) & (more > 2 * less) & (more <= _MOST_CELLS)
    return marked


class Thumbs:
    """What was measured of N pictures, unpacked so that one is compared with many at once.

    Args:
        texts: of each picture, what `thumb` gave.
        edges: of each picture, what `edges` gave; None or "" where it was not measured.
        mirror: whether the mirrored pictures are meant.
    """

    def __init__(
        self, texts: Sequence[str], edges: Sequence[str | None] = (), *, mirror: bool = False
    ) -> None:
        values = np.frombuffer(b"".join(map(base64.b64decode, texts)), np.uint8)
        values = values.reshape(-1, _SIDE, _SIDE, 3)[:, :, :: -1 if mirror else 1]
        self.values = values.reshape(-1, _CELLS, 3)  # (N, 64, 3)
        light = self.values @ _LUMA
        chroma = self.values[..., [0, 2]] - light[..., None]
        self.flat = light.std(axis=1) < _FLAT
        self.colourless = np.sqrt((chroma**2).mean(axis=(1, 2))) < _COLOURLESS
        self.luma = _unit(light - light.mean(axis=1, keepdims=True))
        self.chroma = _unit(chroma.reshape(-1, 2 * _CELLS))
        measured = b"".join(base64.b64decode(text) if text else bytes(_CELLS) for text in edges)
        busy = np.frombuffer(measured or bytes(len(texts) * _CELLS), np.uint8)
        busy = busy.reshape(-1, _SIDE, _SIDE)[:, :, :: -1 if mirror else 1].reshape(-1, _CELLS)
        self._busy = busy.mean(axis=1)
        self.edges = _unit(busy - self._busy[:, None])
        self._light = np.median(light, axis=1)
        self._uneven, self._tint = light.std(axis=1), chroma.std(axis=1).max(axis=1)
        # Flat pictures that are alike lie in neighbouring cells of this grid of mean colours.
        self.cells = np.floor(self.values.mean(axis=1) / (_FLAT_APART * math.sqrt(3) + 0.01)).astype(np.int64)

    @cached_property
    def sketches(self) -> NDArray[np.uint64]:
        """64 bits of each picture, of which copies have most in common, shape (N,)."""
        plane = np.random.default_rng(0).standard_normal((3 * _CELLS, 64)).astype(np.float32)
        colour = self.chroma * np.where(self.colourless, 0, _COLOUR_WEIGHT)[:, None].astype(np.float32)
        return bits_of(np.concatenate([self.luma, colour], axis=1) @ plane)

    def is_full(self, leniency: float = 1.0) -> NDArray[np.bool_]:
        """Which pictures are full of detail, shape (N,); a leniency under 1 takes more for it."""
        full: NDArray[np.bool_] = self._busy >= _PAGE_EDGES * leniency
        return full

    def is_paper(self, leniency: float = 1.0) -> NDArray[np.bool_]:
        """Which pictures are light, even and of one tint, shape (N,); a leniency under 1 takes more."""
        paper: NDArray[np.bool_] = (
            (self._light >= _PAGE_LIGHT * leniency)
            & (self._uneven <= _PAGE_UNEVEN * self._light / leniency)
            & (self._tint <= _PAGE_TINT / leniency)
        )
        return paper

    def alike(self, i: int, others: Thumbs, at: NDArray[np.int64], limits: Limits) -> NDArray[np.bool_]:
        """Which of some pictures can be copies of one.

        Args:
            i: the one.
            others: thumbs of the others.
            at: which of them, shape (K,).
            limits: how alike they have to be.
        Returns:
            Shape (K,).
        """
        luma = others.luma[at] @ self.luma[i]
        colour = others.chroma[at] @ self.chroma[i]
        grey = others.colourless[at] | self.colourless[i]
        found: NDArray[np.bool_] = np.where(
            grey, luma >= limits.luma_of_grey, (luma >= limits.luma) & (colour >= limits.chroma)
        ) & (others.edges[at] @ self.edges[i] >= limits.edges)
        flat = np.flatnonzero(others.flat[at] | self.flat[i])
        apart = others.values[at[flat]].astype(np.float64) - self.values[i]
        found[flat] = np.sqrt((apart**2).mean(axis=(1, 2))) <= _FLAT_APART
        return found

    def recoloured(self, i: int, others: Thumbs, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some pictures have a part in another colour than one of the same framing.

        What a brighter copy may have lost is forgiven, and pictures without colour are passed over.

        Args:
            i: the one.
            others: thumbs of the others.
            at: which of them, shape (K,).
        Returns:
            Shape (K,).
        """
        valid = (self.values[i].max(axis=-1) < _BURNT) & (others.values[at].max(axis=-1) < _BURNT)
        ours, theirs = self.values[i], others.values[at]
        found: NDArray[np.bool_] = ~(self.colourless[i] | others.colourless[at])
        found &= _strongest(_distances(_colours(theirs) - _colours(ours)) * valid) > _RECOLOURED
        if found.any():  # few copies need to be seen in another light
            found[found] = _strongest(_recoloured(ours, theirs[found], valid[found])) > _RECOLOURED
        return found


def _recoloured(
    ours: NDArray[np.uint8], theirs: NDArray[np.uint8], valid: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """How far the colours of each cell lie apart, beyond what light and clipping explain, shape (K, 64).

    Args:
        ours: shape (64, 3).
        theirs: shape (K, 64, 3).
        valid: which cells are compared, shape (K, 64).
    """
    one, others = _colours(ours), _colours(theirs)  # (64, 2), (K, 64, 2)
    product, squares = (one * others).sum(axis=-1) * valid, (one**2).sum(axis=-1) * valid
    weights = np.ones_like(product)
    for _ in range(_FITS):
        gains = (weights * product).sum(axis=1) / ((weights * squares).sum(axis=1) + 1)
        gain = gains.clip(*_GAINS)[:, None, None]
        apart = _distances(others - gain * one) * valid
        weights = 1 / (1 + (apart / (1.5 * np.median(apart, axis=1, keepdims=True) + 2)) ** 2)
    light = ours @ _LUMA
    for k, levels in enumerate(theirs):
        for gained in (float(gain[k, 0, 0]), brightened(light, levels @ _LUMA)):
            if gained > BRIGHTENED:
                lost = _beyond_clipping(ours.astype(np.float64), levels.astype(np.float64), gained)
                apart[k] = np.minimum(apart[k], _OF_CLIPPED * lost * valid[k])
    return apart


def _beyond_clipping(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], gain: float
) -> NDArray[np.float64]:
    """As `_recoloured`, of one picture: a clipped channel lies between what it was and would be."""
    brighter = gain * ours
    expected = brighter + np.median((theirs - brighter) @ _LUMA)
    beyond = theirs - theirs.clip(np.minimum(expected, ours), np.maximum(expected, ours))
    return _distances(_colours(beyond))


def _distances(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths of differences of colour, shape (..., 2)."""
    distances: NDArray[np.float64] = np.sqrt((apart**2).sum(axis=-1))
    return distances


def _strongest(apart: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart the cells lie that differ most, but for two which may do so by accident, shape (K,)."""
    strongest: NDArray[np.float64] = np.sort(apart, axis=1)[:, -_CELLS_RECOLOURED]
    return strongest


def _colours(values: NDArray[np.uint8] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Red and blue without brightness, shape (..., 2)."""
    chroma: NDArray[np.float64] = values[..., [0, 2]] - (values @ _LUMA)[..., None]
    return chroma


def bits_of(values: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The signs of 64 numbers each, shape (N, 64), as bits, shape (N,)."""
    return np.packbits(values > 0, axis=1).view(np.uint64).ravel()


def alike(first: str, second: str, limits: Limits = WHOLE, *, mirror: bool = False) -> bool:
    """Whether two thumbs can be of copies of one picture.

    Args:
        first: what `thumb` gave for one picture.
        second: and for the other.
        limits: how alike they have to be.
        mirror: whether the second is meant as seen in a mirror.
    """
    return bool(Thumbs([first]).alike(0, Thumbs([second], mirror=mirror), np.array([0]), limits)[0])


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True) + 1e-12)).astype(
        np.float32
    )
    return unit
