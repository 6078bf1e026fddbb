"""One picture in another's light: how its grid would look with that one's brightness, contrast and losses.

A brightened or clipped copy differs much, but only as light can make it differ; a smaller one differs where
shades meet, for its pixels lie elsewhere. What is left when both are forgiven is another thing shown.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]  # grey levels of cells, shape (side, side)

_GAINS = 0.4, 2.5
_ROUNDS = 5  # of the robust fit
_LEAST_RANGE = 128.0  # levels: a darker or paler picture's differences count as if it had this contrast
_PATCH = 5  # cells a side of the part that differs most
_WIDE = 4.0  # cells: slower differences are light, vignettes and tints
_RESAMPLED = 0.2  # of how far the cells around a cell lie apart: what sampling anew may change
_AROUND = np.ones((3, 3), np.uint8)
BRIGHTENED = 1.05  # gain from which levels may have been clipped
_SHADOW, _CLIPPED = 20.0, 190.0  # levels between which a cell tells by how much a picture was brightened
_LEAST_TELLING = 0.1  # share of the cells, else all but shadows tell
_BRIGHTER = 0.6  # quantile of what they tell: clipping in them only lowers it


def are_lit_alike(first: Grid, second: Grid, most_apart: float) -> bool:
    """Whether the second picture is the first one in some other light.

    Args:
        first: of one picture.
        second: of another of the same framing.
        most_apart: root mean square of the 5x5 patch that differs most, levels of a picture of full contrast.
    Returns:
        Whether the same light, or another gain and offset, or a gain that clipped much of it explains all.
    """
    if 2 * _scale(second) * float(np.abs(second - first).max()) <= most_apart:
        return True  # whatever is taken out as slow adds at most as much again
    if _apart(second, first, first, first) <= most_apart:
        return True
    gain, offset = _fitted(first, second)
    expected = _within(gain * first + offset, second)
    # What was clipped lies between what it was and what it would be.
    was = first if gain > BRIGHTENED else expected
    if _apart(second, np.minimum(expected, was), np.maximum(expected, was), expected) <= most_apart:
        return True
    gain = brightened(first, second)
    expected = np.minimum(gain * first, 255).astype(np.float32)
    return gain > BRIGHTENED and _apart(second, first, expected, expected) <= most_apart


def relit(first: Grid, second: Grid) -> Grid:
    """The first picture in the second one's light: gain and offset, clipped to the levels that one has."""
    gain, offset = _fitted(first, second)
    return _within(gain * first + offset, second)


def local(apart: Grid, second: Grid) -> Grid:
    """Differences as if of a picture of full contrast, without what changes slowly over the picture."""
    apart = apart * np.float32(_scale(second))
    rest: Grid = apart - cv2.GaussianBlur(apart, (0, 0), _WIDE)
    return rest


def patches(apart: Grid) -> Grid:
    """Root mean square around each cell, shape (side, side)."""
    squares = cv2.blur(apart * apart, (_PATCH, _PATCH), borderType=cv2.BORDER_REPLICATE)
    found: Grid = np.sqrt(np.maximum(squares, 0))
    return found


def _scale(picture: Grid) -> float:
    return 255 / max(_LEAST_RANGE, float(picture.max() - picture.min()))


def _within(expected: Grid, second: Grid) -> Grid:
    clipped: Grid = expected.clip(second.min(), second.max())
    return clipped


def _apart(second: Grid, low: Grid, high: Grid, expected: Grid) -> float:
    """How far a picture lies from what may be expected, low to high, in the patch that differs most."""
    around = _RESAMPLED * (cv2.dilate(expected, _AROUND) - cv2.erode(expected, _AROUND))
    beyond = np.maximum(second - high - around, 0) - np.maximum(low - around - second, 0)
    return float(patches(local(beyond, second)).max())


def _fitted(first: Grid, second: Grid) -> tuple[float, float]:
    """Gain and offset, fitted so that cells of another content hardly count."""
    x, y = first.ravel(), second.ravel()
    gain, offset, weights = 1.0, 0.0, np.ones_like(x)
    for _ in range(_ROUNDS):
        total = float(weights.sum())
        mean_x, mean_y = float(weights @ x) / total, float(weights @ y) / total
        from_mean = x - mean_x
        weighted = weights * from_mean
        gain = float(weighted @ (y - mean_y)) / (float(weighted @ from_mean) + 1.0)
        gain = min(max(gain, _GAINS[0]), _GAINS[1])
        offset = mean_y - gain * mean_x
        misfit = np.abs(y - gain * x - offset)
        middle = np.partition(misfit, len(misfit) // 2)[len(misfit) // 2]
        weights = 1 / (1 + (misfit / (1.5 * middle + 2)) ** 2)
    return gain, offset


def brightened(first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]) -> float:
    """By which factor a picture was made brighter, told by what is too dark to have been clipped.

    Args:
        first: levels of its cells before, any shape.
        second: and after.
    """
    lit = first > _SHADOW
    telling = lit & (second < _CLIPPED)
    if np.count_nonzero(telling) < _LEAST_TELLING * first.size:
        telling = lit
    if np.count_nonzero(telling) < _LEAST_TELLING * first.size / 2:
        return 1.0
    return min(float(np.quantile(second[telling] / first[telling], _BRIGHTER)), _GAINS[1])
