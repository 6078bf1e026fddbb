"""The third measure: whether two pictures that are alike at a glance differ in some one part.

Two expressions of one drawn face, or a photograph and the same with closed eyes, have near hashes and equal
coarse thumbs. On a finer grid a copy differs a little everywhere, another expression strongly in a few cells.
What differs so is no sure copy, unless it is but a small mark of one shade at the edge: a watermark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.copies.packed import PackedGrids, as_text

Grid = NDArray[np.float32]

UNLIKE, SAME, SAME_CUT, CHANGED = range(4)  # CHANGED: the same but for some part

_SIDE = 48  # cells a side
_TOP = 15  # four bits a cell
_HEAD = 3  # bytes: lowest and highest level, shape
BYTES = _HEAD + _SIDE * _SIDE // 2  # of one picture
_SHAPE_STEPS, _SQUARE = 32, 128  # of the logarithm of width by height; its byte for squares
_LEAST_RANGE = 128.0  # levels: a darker or paler picture's differences count as if it had this contrast
_PATCH = 5  # cells a side of the part that differs most
_WIDE = 4.0  # cells: slower differences are light, vignettes and tints
_MOST_LOOKED_AT, _MOST_ALIGNED = 8, 2  # of the candidates, the likeliest
_TOLERANCE = 0.6  # of what half a cell's shift changes: forgiven in pictures that had to be aligned
_GAINS = 0.4, 2.5

# On planted copies and pictures changed in one attribute (benchmarks/corpus.py, seed 7).
_MOST_APART = 24.0  # root mean square difference of the patch, levels, of pictures that are framed alike
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
    packed: bytes = (levels[0::2] << 4 | levels[1::2]).tobytes()
    shape = round(_SHAPE_STEPS * math.log2(light.width / light.height)) + _SQUARE
    return bytes((low, high, min(max(shape, 0), 255))) + packed


@dataclass(frozen=True)
class Difference:
    """What remains between two pictures of one framing after light and contrast are fitted.

    Attributes:
        apart: root mean square of the 5x5 patch that differs most, levels.
        is_mark: whether it looks like a mark on one of the two, such as a watermark.
    """

    apart: float
    is_mark: bool


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
        likely = np.argsort(_unlike(ours, theirs), kind="stable")[:_MOST_LOOKED_AT].tolist()
        found = np.full(len(at), UNLIKE, np.uint8)
        for k in likely:
            # Of two copies one may have lost lights or shadows: it is told from the other only.
            pairs = (ours, theirs[k]), (theirs[k], ours)
            if any(_is_copy(_difference(first, second, shape)) for first, second in pairs):
                found[k] = SAME
        if not (found == SAME).any():
            for k in likely[:_MOST_ALIGNED]:
                found[k] = _compare_aligned(ours, theirs[k], shifted=bool(shifted[k]))
        return found

    def differ_by_mark(self, i: int, j: int) -> bool:
        """Whether all that tells two known pictures apart looks like a mark on one of them."""
        ours, theirs = self._levels(np.array([i, j]))
        return _difference(ours, theirs, self._shape(i)).is_mark

    def _shape(self, i: int) -> float:
        """Width of a picture by its height."""
        return float(2 ** ((float(self._packed[self._place[i], 2]) - _SQUARE) / _SHAPE_STEPS))

    def _levels(self, at: NDArray[np.int64]) -> Grid:
        """Grey levels of some pictures, shape (K, 48, 48)."""
        packed = self._packed[self._place[at]]
        low, high = packed[:, :1].astype(np.float32), packed[:, 1:2].astype(np.float32)
        cells = np.stack([packed[:, _HEAD:] >> 4, packed[:, _HEAD:] & _TOP], axis=-1).reshape(len(packed), -1)
        grids = (low + cells * ((high - low) / _TOP)).reshape(-1, _SIDE, _SIDE)
        return np.ascontiguousarray(grids[:, :, :: -1 if self._mirror else 1], np.float32)


def _unlike(one: Grid, others: Grid) -> NDArray[np.float32]:
    """How little some pictures correlate with one, shape (K,)."""
    flat = others.reshape(len(others), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    own = (one - one.mean()).ravel()
    unlike: NDArray[np.float32] = -(flat @ own) / (np.sqrt((flat**2).sum(axis=1)) + 1e-3)
    return unlike


def _difference(first: Grid, second: Grid, shape: float) -> Difference:
    """How two pictures of one framing differ cell by cell; `shape` is width by height."""
    local = _local(second - _relit(first, second), second)
    apart = float(_patches(local).max())
    return Difference(apart, apart <= _MARK_FAINT and _is_mark(local, shape))


def _is_copy(seen: Difference) -> bool:
    return seen.apart <= _MOST_APART or seen.is_mark


def _local(apart: Grid, second: Grid) -> Grid:
    """Differences as if of a picture of full contrast, without what changes slowly over the picture."""
    apart = apart * np.float32(255 / max(_LEAST_RANGE, float(np.ptp(second))))
    local: Grid = apart - cv2.GaussianBlur(apart, (0, 0), _WIDE)
    return local


def _relit(first: Grid, second: Grid) -> Grid:
    """The first picture in the second one's light: gain and offset, clipped to the levels that one has."""
    x, y = first.ravel(), second.ravel()
    gain, offset, weights = 1.0, 0.0, np.ones_like(x)
    for _ in range(5):
        total = float(weights.sum())
        mean_x, mean_y = float(weights @ x) / total, float(weights @ y) / total
        from_mean = x - mean_x
        weighted = weights * from_mean
        gain = float(weighted @ (y - mean_y)) / (float(weighted @ from_mean) + 1.0)
        gain = min(max(gain, _GAINS[0]), _GAINS[1])
        offset = mean_y - gain * mean_x
        misfit = np.abs(y - gain * x - offset)
        weights = 1 / (1 + (misfit / (1.5 * np.median(misfit) + 2)) ** 2)
    relit: Grid = np.clip(gain * first + offset, second.min(), second.max()).astype(np.float32)
    return relit


def _patches(local: Grid) -> Grid:
    """Root mean square around each cell, shape (48, 48)."""
    squares = cv2.blur(local * local, (_PATCH, _PATCH), borderType=cv2.BORDER_REPLICATE)
    patches: Grid = np.sqrt(np.maximum(squares, 0))
    return patches


def _peak(patches: Grid) -> float:
    return float(patches.max()) / (float(np.median(patches)) + 1.5)


def _is_mark(local: Grid, shape: float) -> bool:
    """Whether a difference is a line of one shade near the upper or lower edge, as watermarks are.

    A mark is lighter or darker than all that it covers. A mouth or an arm that has moved is both: it comes
    where it was not and goes from where it was. Clothes and hair reach the edge, and cover more.
    """
    size = np.abs(local)
    most = float(size.max())
    strong = size >= max(_MARK_CELLS / 2, 0.5 * most)
    one_signed = abs(float(local[strong].sum())) >= _ONE_SIGNED * float(size[strong].sum())
    rows, columns = np.nonzero(size >= max(_MARK_CELLS, _MARK_SHARE * most))
    if not one_signed or not 0 < len(rows) <= _MOST_MARKED * local.size:
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
    expected = _relit(_moved(first, place, cv2.INTER_CUBIC), second)
    # The grid fell otherwise on the two: what half a cell's shift would change is forgiven.
    around = cv2.resize(expected, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    around = np.stack([around[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    kernel = np.ones((3, 3), np.uint8)
    more = _TOLERANCE * (cv2.dilate(around.max(axis=0), kernel) - expected)
    less = _TOLERANCE * (expected - cv2.erode(around.min(axis=0), kernel))
    apart = second - expected
    apart = np.maximum(apart - more, 0) - np.maximum(-apart - less, 0)
    inside = cv2.erode(_inside(_SIDE, place).astype(np.uint8), kernel) > 0
    patches = _patches(np.where(inside, _local(apart, second), 0))
    return float(patches.max()) <= _MOST_APART_ALIGNED and _peak(patches[inside]) <= _MOST_PEAK


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
