"""The third measure: whether two pictures that are alike at a glance differ in some one part.

Two expressions of one drawn face, or a photograph and the same with closed eyes, have near hashes and equal
coarse thumbs. On a finer grid a copy differs little once light, clipped levels and edges sampled anew are
forgiven (light.py), another expression strongly in a few cells. What differs so is no sure copy, unless it is
but a small mark of one shade at the edge: a watermark.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.copies.light import Grid, are_lit_alike, local, patches, relit
from dataprep.copies.packed import PackedGrids, as_text

UNLIKE, SAME, SAME_CUT, CHANGED = range(4)  # CHANGED: the same but for some part

_SIDE = 48  # cells a side
_TOP = 63  # six bits a cell: with four, rounding is most of what tells a recompressed copy
_HEAD = 3  # bytes: lowest and highest level, shape
BYTES = _HEAD + _SIDE * _SIDE * 3 // 4  # of one picture
_SHAPE_STEPS, _SQUARE = 32, 128  # of the logarithm of width by height; its byte for squares
_MOST_LOOKED_AT, _MOST_ALIGNED = 8, 2  # of the candidates, the likeliest
_TOLERANCE = 0.6  # of what half a cell's shift changes: forgiven in pictures that had to be aligned

# On planted copies and pictures changed in one attribute (benchmarks/corpus.py, seeds 777 and 4242).
_MOST_APART = 10.0  # root mean square difference of the patch, levels, of pictures that are framed alike
_FRAMED_ALIKE = 0.4  # cells of displacement; slightly cropped copies have .47 and more
_MOST_APART_ALIGNED = 40.0  # levels, and how many times the median patch:
_MOST_PEAK = 8.0
_ONE_SIGNED = 0.9  # share of the strong differences that go the same way under a mark
_MARK_CELLS, _MARK_SHARE = 16.0, 0.25  # levels from which a cell is under the mark; of the strongest cell
_MOST_MARKED = 0.07  # share of the cells
_MARK_ABOVE, _MARK_BELOW = 12, 34  # rows that marks do not reach below, or above
_MARK_LONG = 2.2  # times as long as tall, px
_MARK_FAINT = 60.0  # levels: what covers more is rather a part of the drawing

# Alignment, from coarse to fine: cells a side, blur in cells, steps.
_PASSES = ((_SIDE // 2, 1.5, 4), (_SIDE, 1.2, 3), (_SIDE, 0.0, 2))
_LEAST_PLACE = np.array([0.85, -0.16, 0.85, -0.16])  # scale and shift across, scale and shift down
_MOST_PLACE = np.array([1.18, 0.16, 1.18, 0.16])


def fine(light: Image.Image, inner: Image.Image) -> str:
    """A picture's 48x48 grey means, as text.

    Args:
        light: the picture, mode L.
        inner: the same without uniform borders; `light` itself if it has none.
    """
    return as_text(_packed, light, inner)


def _packed(light: Image.Image) -> bytes:
    cells = np.asarray(light.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
    low, high = int(cells.min()), int(cells.max())
    levels = np.rint((cells - np.float32(low)) * np.float32(_TOP / max(1, high - low))).astype(np.uint8)
    a, b, c, d = levels.reshape(-1, 4).T
    packed = np.stack([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d], axis=-1).tobytes()
    shape = round(_SHAPE_STEPS * math.log2(light.width / light.height)) + _SQUARE
    return bytes((low, high, min(max(shape, 0), 255))) + packed


class Fines(PackedGrids):
    """What was measured of N pictures by `fine`, None or "" where it was not."""

    SIZE = BYTES

    def compare(
        self, i: int, others: Fines, at: NDArray[np.int64], shifted: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """How some pictures compare with one in every part.

        Args:
            i: the one; known.
            others: the other pictures.
            at: which of them, shape (K,); known.
            shifted: which of these may be cut otherwise by less than a cell, shape (K,).
        Returns:
            SAME, SAME_CUT, CHANGED or UNLIKE, shape (K,). Only the likeliest few are looked at, the others
            are UNLIKE.
        """
        (ours,), theirs, shape = self._levels(np.array([i])), others._levels(at), self._shape(i)
        likely = _likeliest(ours, theirs)
        found = np.full(len(at), UNLIKE, np.uint8)
        for k in likely:
            if _same(ours, theirs[k], shape):
                found[k] = SAME
        if not (found == SAME).any():
            for k in likely[:_MOST_ALIGNED]:
                found[k] = _compare_aligned(ours, theirs[k], shifted=bool(shifted[k]))
        return found

    def differ_by_mark(self, i: int, j: int) -> bool:
        """Whether all that tells two known pictures apart looks like a mark on one of them."""
        ours, theirs = self._levels(np.array([i, j]))
        return _differ_by_mark(ours, theirs, self._shape(i))

    def _shape(self, i: int) -> float:
        """Width of a picture by its height."""
        return float(2 ** ((float(self._packed[self._place[i], 2]) - _SQUARE) / _SHAPE_STEPS))

    def _levels(self, at: NDArray[np.int64]) -> Grid:
        """Grey levels of some pictures, shape (K, 48, 48)."""
        packed = self._packed[self._place[at]]
        low, high = packed[:, :1].astype(np.float32), packed[:, 1:2].astype(np.float32)
        one, two, three = packed[:, _HEAD::3], packed[:, _HEAD + 1 :: 3], packed[:, _HEAD + 2 :: 3]
        cells = np.empty((len(packed), _SIDE * _SIDE // 4, 4), np.uint8)
        cells[..., 0], cells[..., 1] = one >> 2, (one << 4 | two >> 4) & _TOP
        cells[..., 2], cells[..., 3] = (two << 2 | three >> 6) & _TOP, three & _TOP
        grids = (low + cells.reshape(len(packed), -1) * ((high - low) / _TOP)).reshape(-1, _SIDE, _SIDE)
        return np.ascontiguousarray(grids[:, :, :: -1 if self._mirror else 1])


def _likeliest(one: Grid, others: Grid) -> list[int]:
    """Which of some pictures correlate most with one, these first."""
    if len(others) == 1:
        return [0]
    flat = others.reshape(len(others), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    own = (one - one.mean()).ravel()
    alike = (flat @ own) / (np.sqrt((flat**2).sum(axis=1)) + 1e-3)
    return [int(k) for k in np.argsort(-alike, kind="stable")[:_MOST_LOOKED_AT]]


def _same(first: Grid, second: Grid, shape: float) -> bool:
    """Whether two pictures of one framing, `shape` wide by high, differ in no part or by a mark only."""
    # Of two copies one may have lost lights or shadows: it is told from the other only.
    pairs = (first, second), (second, first)
    return any(are_lit_alike(*pair, _MOST_APART) for pair in pairs) or any(
        _differ_by_mark(*pair, shape) for pair in pairs
    )


def _differ_by_mark(first: Grid, second: Grid, shape: float) -> bool:
    """Whether what tells two pictures of one framing apart looks like a mark on one of them."""
    apart = local(second - relit(first, second), second)
    return float(patches(apart).max()) <= _MARK_FAINT and _is_mark(apart, shape)


def _peak(found: Grid) -> float:
    return float(found.max()) / (float(np.median(found)) + 1.5)


def _is_mark(apart: Grid, shape: float) -> bool:
    """Whether a difference is a line of one shade near the upper or lower edge, as watermarks are.

    A mark is lighter or darker than all that it covers. A mouth or an arm that has moved is both: it comes
    where it was not and goes from where it was. Clothes and hair reach the edge, and cover more.
    """
    size = np.abs(apart)
    most = float(size.max())
    strong = size >= max(_MARK_CELLS / 2, 0.5 * most)
    one_signed = abs(float(apart[strong].sum())) >= _ONE_SIGNED * float(size[strong].sum())
    rows, columns = np.nonzero(size >= max(_MARK_CELLS, _MARK_SHARE * most))
    if not one_signed or not 0 < len(rows) <= _MOST_MARKED * apart.size:
        return False
    top, bottom, long = int(rows.min()), int(rows.max()) + 1, int(np.ptp(columns)) + 1
    at_edge = bottom <= _MARK_ABOVE or (top >= _MARK_BELOW and bottom < _SIDE)
    return at_edge and long * shape >= _MARK_LONG * (bottom - top)


def _compare_aligned(first: Grid, second: Grid, *, shifted: bool) -> int:
    """Whether two pictures are the same but for a few rows and columns that were cut off."""
    place = np.array([1.0, 0.0, 1.0, 0.0])
    for side, blur, steps in _PASSES:
        place = _aligned(_blurred(first, side, blur), _blurred(second, side, blur), place, steps)
    across, down = abs(place[0] - 1) + abs(place[1]), abs(place[2] - 1) + abs(place[3])
    framed_alike = max(across, down) * _SIDE / 2 < _FRAMED_ALIKE
    if not (framed_alike and not shifted) and _same_when_moved(first, second, place):
        return SAME_CUT
    return CHANGED if framed_alike else UNLIKE


def _same_when_moved(first: Grid, second: Grid, place: NDArray[np.float64]) -> bool:
    """Whether the second picture is what the first one shows at a place."""
    expected = relit(_moved(first, place, cv2.INTER_CUBIC), second)
    # The grid fell otherwise on the two: what half a cell's shift would change is forgiven.
    around = cv2.resize(expected, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    around = np.stack([around[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    kernel = np.ones((3, 3), np.uint8)
    more = _TOLERANCE * (cv2.dilate(around.max(axis=0), kernel) - expected)
    less = _TOLERANCE * (expected - cv2.erode(around.min(axis=0), kernel))
    apart = second - expected
    apart = np.maximum(apart - more, 0) - np.maximum(-apart - less, 0)
    inside = cv2.erode(_inside(_SIDE, place).astype(np.uint8), kernel) > 0
    most = patches(np.where(inside, local(apart, second), 0))
    return float(most.max()) <= _MOST_APART_ALIGNED and _peak(most[inside]) <= _MOST_PEAK


def _blurred(grid: Grid, side: int, blur: float) -> Grid:
    small = grid if side == _SIDE else cv2.resize(grid, (side, side), interpolation=cv2.INTER_AREA)
    blurred: Grid = cv2.GaussianBlur(small, (0, 0), blur) if blur else small
    return blurred


def _aligned(first: Grid, second: Grid, place: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Where in the first picture the second one lies, by Gauss-Newton steps that forgive strong differences.

    Args:
        first: shape (side, side).
        second: shape (side, side).
        place: scale and shift across, scale and shift down; the grid reaches from -1 to 1.
        steps: how many.
    """
    side = len(first)
    across, down = _axes(side)
    gain, offset = 1.0, 0.0
    for _ in range(steps):
        moved = _moved(first, place, cv2.INTER_LINEAR)
        inside = _inside(side, place)
        apart = (second - gain * moved - offset)[inside]
        to_right = cv2.Sobel(moved, cv2.CV_32F, 1, 0, scale=gain * side / 16 / place[0])
        to_bottom = cv2.Sobel(moved, cv2.CV_32F, 0, 1, scale=gain * side / 16 / place[2])
        slopes = (to_right * across, to_right, to_bottom * down, to_bottom, moved, np.ones_like(moved))
        slope = np.stack([one[inside] for one in slopes])
        weights = 1 / (1 + (apart / (3 * np.median(np.abs(apart)) + 4)) ** 2)
        weighted = slope * weights
        normal = (weighted @ slope.T).astype(np.float64)
        normal[np.arange(4), np.arange(4)] += 2.5e-4 * np.trace(normal[:4, :4]) + 50
        step = np.linalg.solve(normal, (weighted @ apart).astype(np.float64))
        place = place + np.clip(step[:4], -0.1, 0.1)
        place = np.clip(place, _LEAST_PLACE, _MOST_PLACE)
        gain, offset = gain + step[4], offset + step[5]
    return place


def _axes(side: int) -> tuple[Grid, Grid]:
    """Where the cells of a grid lie, -1 to 1: across and down, shape (side, side) each."""
    line = ((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1).astype(np.float32)
    across, down = np.meshgrid(line, line)
    return across, down


def _inside(side: int, place: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which cells lie within both pictures, shape (side, side)."""
    across, down = _axes(side)
    inside: NDArray[np.bool_] = (
        np.maximum(np.abs(place[0] * across + place[1]), np.abs(place[2] * down + place[3])) < 0.97
    )
    return inside


def _moved(picture: Grid, place: NDArray[np.float64], how: int) -> Grid:
    """What the picture shows at a place, shape (side, side)."""
    side = len(picture)
    middle = (side - 1) / 2
    to_first = np.array(
        [
            [place[0], 0, middle * (1 - place[0]) + place[1] * side / 2],
            [0, place[2], middle * (1 - place[2]) + place[3] * side / 2],
        ]
    )
    moved: Grid = cv2.warpAffine(
        picture, to_first, (side, side), flags=how | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return moved
