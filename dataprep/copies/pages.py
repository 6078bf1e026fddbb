"""The second measure for pages of text: whether two pages of one layout have the same words on them.

The next page of a book has nearly the same hash and the same coarse thumb. What tells it from a copy is where
the ink lies within the lines, cell by cell: a recompressed, smaller or brighter copy agrees in nearly every
part of the page, another page in hardly any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.copies.likeness import bits_of
from dataprep.copies.packed import PackedGrids, as_text

_SIDE = 40  # cells a side: an eighth of a line's words in a book, so that a pixel of misfit is little
_CELLS = _SIDE * _SIDE
_PARTS = 4  # the page is compared in 4x4 parts
_PART = _SIDE // _PARTS
_TOP = 15  # darkest level: four bits a cell
_BYTES = _CELLS // 2
_FAINT = 0.15  # of the strongest part's ink: less is blank paper or noise
_MISFITS = 6  # one part in six may differ, under a watermark for instance
_SHIFTS = 5  # each way: -1, -1/2, 0, 1/2, 1 cells
_SKETCH_BITS = 64


@dataclass(frozen=True)
class PageLimits:
    """How alike two pages have to be.

    Attributes:
        mean: least mean correlation of the parts.
        part: least correlation of all parts but one in six.
        spread: how far below the mean these may be: another paragraph on a page that is else the same.
    """

    mean: float
    part: float
    spread: float


# Of 3,160 pairs of different pages and 800 copies (benchmarks/corpus.py, seed 7) other pages reach .31 and
# .11 at most; copies have .90 and .83 at least, but for pages of small print made smaller (.83, .68), and
# cropped and then recompressed (.49, .25).
SAME_PAGE = PageLimits(mean=0.40, part=0.18, spread=0.45)
PERHAPS_SAME_PAGE = PageLimits(mean=0.30, part=-1.0, spread=2.0)  # worth a look


def page(light: Image.Image, inner: Image.Image) -> str:
    """Where a page has ink, as text.

    Args:
        light: the picture, mode L.
        inner: the same without uniform borders; `light` itself if it has none.
    """
    return as_text(_packed, light, inner)


def _packed(light: Image.Image) -> bytes:
    ink = 255.0 - np.asarray(light.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
    levels = np.round((ink - ink.min()) * (_TOP / max(1.0, float(np.ptp(ink))))).astype(np.uint8)
    packed: bytes = (levels[0::2] << 4 | levels[1::2]).tobytes()
    return packed


class Pages(PackedGrids):
    """What was measured of N pictures by `page`, None or "" for those that are no pages."""

    SIZE = _BYTES

    def same(
        self, i: int, others: Pages, at: NDArray[np.int64], limits: PageLimits = SAME_PAGE
    ) -> NDArray[np.bool_]:
        """Which of some pages are the same page as one.

        Args:
            i: the one; known.
            others: the other pages.
            at: which of them, shape (K,); known.
            limits: how alike they have to be.
        Returns:
            Shape (K,).
        """
        ours, inked = _parts(_shifted(self._levels(np.array([i]))[0]))  # (25, 16, 100), (25, 16)
        theirs, theirs_inked = _parts(others._levels(at))  # (K, 16, 100), (K, 16)
        alike = np.matmul(ours.swapaxes(0, 1), theirs.transpose(1, 2, 0))  # (16, 25, K)
        counted = inked[len(inked) // 2] | theirs_inked  # (K, 16)
        number = counted.sum(axis=1)
        means = (alike * counted.T[:, None]).sum(axis=0) / np.maximum(1, number)  # (25, K)
        best = means.argmax(axis=0)
        each = np.arange(len(at))
        ordered = np.sort(np.where(counted, alike[:, best, each].T, np.inf), axis=1)
        mean, part = means[best, each], ordered[each, number // _MISFITS]
        found: NDArray[np.bool_] = (
            (number > 0) & (mean >= limits.mean) & (part >= limits.part) & (part >= mean - limits.spread)
        )
        return found

    @cached_property
    def sketches(self) -> NDArray[np.uint64]:
        """64 bits of each picture, of which the same page has the most in common; 0 where it is no page."""
        plane = np.random.default_rng(0).standard_normal((_CELLS, _SKETCH_BITS)).astype(np.float32)
        found = np.zeros(len(self.known), np.uint64)
        known = np.flatnonzero(self.known)
        for start in range(0, len(known), 1024):
            some = known[start : start + 1024]
            found[some] = bits_of(_parts(self._levels(some))[0].reshape(len(some), -1) @ plane)
        return found

    def _levels(self, at: NDArray[np.int64]) -> NDArray[np.float32]:
        """Ink of some pages, shape (K, 40, 40)."""
        packed = self._packed[self._place[at]]
        levels = np.stack([packed >> 4, packed & _TOP], axis=-1).reshape(-1, _SIDE, _SIDE)
        return levels[:, :, :: -1 if self._mirror else 1].astype(np.float32)


def _shifted(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A page moved by up to a cell each way in halves of a cell, shape (25, 40, 40), the page itself 13th."""
    wide = np.pad(levels, 1, mode="edge")
    fine = np.empty((2 * wide.shape[0] - 1, 2 * wide.shape[1] - 1), np.float32)
    fine[::2, ::2] = wide
    fine[::2, 1::2] = (wide[:, 1:] + wide[:, :-1]) / 2
    fine[1::2] = (fine[2::2] + fine[:-2:2]) / 2
    moves = range(_SHIFTS)
    return np.stack([fine[y : y + 2 * _SIDE : 2, x : x + 2 * _SIDE : 2] for y in moves for x in moves])


def _parts(levels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What is peculiar to each part of some pages, and which parts are not blank.

    Lines of text and margins are alike on every page: the mean of each row and column of a part is taken out.

    Args:
        levels: shape (K, 40, 40).
    Returns:
        Unit vectors, shape (K, 16, 100), and shape (K, 16).
    """
    parts = levels.reshape(-1, _PARTS, _PART, _PARTS, _PART).swapaxes(2, 3)
    parts = parts - parts.mean(axis=-1, keepdims=True)
    parts -= parts.mean(axis=-2, keepdims=True)
    parts = parts.reshape(-1, _PARTS * _PARTS, _PART * _PART)
    length = np.sqrt((parts**2).sum(axis=-1, keepdims=True))
    inked: NDArray[np.bool_] = length[..., 0] > _FAINT * length.max(axis=1)
    return parts / np.maximum(length, 1e-6), inked
