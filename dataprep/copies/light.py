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
_MOST_SHIFTED = 17.0  # levels, mean of 3x3 cells, of pictures in another light (seeds 777 and 4242)
_AROUND = np.ones((3, 3), np.uint8)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_HUES = np.array(
    [(1, 1, 1), (1.3, 0.95, 0.7), (1.15, 1.05, 0.4), (0.7, 1.05, 1.4), (1.8, 0.7, 0.7), (0.6, 0.9, 2.0)],
    np.float32,
)
BRIGHTENED = 1.05  # gain from which levels may have been clipped
_SHADOW, _CLIPPED = 20.0, 190.0  # levels between which a cell tells by how much a picture was brightened
_LEAST_TELLING = 0.1  # share of the cells, else all but shadows tell
_BRIGHTER = 0.6  # quantile of what they tell: clipping in them only lowers it


def _colours_of_levels() -> NDArray[np.float32]:
    """Colours of each hue and grey level, the more muted the brighter, shape (hues, 256, 3)."""
    levels = np.arange(256, dtype=np.float32)[None, :, None]
    hues = (_HUES / (_HUES @ _LUMA)[:, None])[:, None]
    beyond = levels * (hues.max(axis=-1, keepdims=True) - 1)
    muted = np.minimum(1, (255 - levels) / np.maximum(beyond, 1e-3))
    colours: NDArray[np.float32] = levels + muted * levels * (hues - 1)
    return colours


_COLOURS = _colours_of_levels()


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
    return any(
        _apart(second, *lit) <= most_apart and _shifted(second, *lit[:2]) <= _MOST_SHIFTED
        for lit in (_lit(first, *light) for light in (_fitted(first, second), (brightened(first, second), 0)))
    )


def _lit(first: Grid, gain: float, offset: float) -> tuple[Grid, Grid, Grid]:
    """The first picture in a light: the least and the most that a cell may have, and what it likely has.

    Which channels of a bright cell are clipped depends on its hue and on the shades mixed in it, which lie
    around it.
    """
    light = gain * _COLOURS + offset
    levels = light.clip(0, 255) @ _LUMA  # (hues, 256)
    least, most = levels.min(axis=0), levels.max(axis=0)
    low, high = cv2.erode(first, _AROUND), cv2.dilate(first, _AROUND)
    share = (first - low) / np.maximum(high - low, 1)
    own, low, high = (np.rint(levels).astype(np.uint8) for levels in (first, low, high))
    mixed_least = least[low] + share * (least[high] - least[low])
    mixed_most = most[low] + share * (most[high] - most[low])
    expected = (gain * first + offset).clip(0, 255).astype(np.float32)
    return (
        np.minimum(np.minimum(least[own], mixed_least), expected).astype(np.float32),
        np.maximum(np.maximum(most[own], mixed_most), expected).astype(np.float32),
        expected,
    )


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


def _shifted(second: Grid, low: Grid, high: Grid) -> float:
    """How far some 3x3 cells lie from what may be expected, in the mean: sampling anew moves no mass so far.

    So it is told that dark hair became lighter and nothing else did. Some gain and offset explain that but
    for what is as dark, and as small as eyes and shoes are, where edges are forgiven most.
    """
    beyond = np.maximum(second - high, 0) - np.maximum(low - second, 0)
    return float(np.abs(cv2.blur(local(beyond, second), (3, 3), borderType=cv2.BORDER_REPLICATE)).max())


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
