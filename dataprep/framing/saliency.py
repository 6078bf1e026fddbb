"""Where a picture's subject is, without a model: what differs in colour from the picture's rim.

The rim's lower edge is left out, since people and things stand on it or are cut by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.framing.boxes import Box

Map = NDArray[np.float32]

_LONG_SIDE = 96  # px of the map
_RIM_SAMPLES = 60
_RIM_SHARE = 0.4  # how far down the left and right rim counts
# A pixel is background if this share of the rim looks like it; a rim of several colours still counts.
_LIKE_RIM = 0.18
_TOP_SHARE = 0.25  # of the height, in which the two edges show how they usually differ
_CUT_BY_EDGE = 20.0  # Lab units; from 12 to 20 as many of the test figures are kept whole
_LEAST_SHARE, _MOST_SHARE = 0.015, 0.8  # of the area; anything else is noise or the whole scene
_LEAST_CONTRAST = 2.2  # mean difference from the rim inside the subject, against outside
_SIDE_PART = 0.15  # parts smaller than this share of the largest are specks
_MARGIN = 0.05  # of the subject's own size, kept around it; twice that below, where feet meet the ground


@dataclass(frozen=True)
class Focus:
    """What to keep in the frame.

    Attributes:
        x: the point to keep near the middle, share of the width.
        y: share of the height.
        subject: what must stay whole, px; None where nothing stands out.
    """

    x: float
    y: float
    subject: Box | None


def find_focus(image: Image.Image, width: int, height: int) -> Focus:
    """The subject by its difference from the rim.

    Args:
        image: the picture at any size, mode RGB.
        width: of the original, px: what the result is in.
        height: of the original, px.
    """
    difference = rim_difference(image)
    mask = _parts(difference)
    x, y = _centre(difference)
    box = _bounds(mask)
    if box is None or not _stands_out(difference, mask):
        return Focus(x, y, None)
    left, top, right, bottom = _widened(box)
    subject = Box(
        int(left * width), int(top * height), max(1, round(right * width)), max(1, round(bottom * height))
    )
    # A subject that is taller than the frame is shown from its top: heads matter more than feet.
    upper = top + min(bottom - top, (right - left) * width / height) / 2
    return Focus((left + right) / 2, upper, subject)


def rim_difference(image: Image.Image) -> Map:
    """How far each pixel's colour is from the most similar share of the rim's, shape (h, w), Lab units."""
    scale = _LONG_SIDE / max(image.size)
    size = max(8, round(image.width * scale)), max(8, round(image.height * scale))
    small = np.asarray(image.resize(size, Image.Resampling.BOX)).astype(np.float32) / 255
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)  # (h, w, 3)
    height = lab.shape[0]
    reach = max(1, round(_RIM_SHARE * height))
    rim = np.concatenate(
        [lab[:2].reshape(-1, 3), lab[:reach, :2].reshape(-1, 3), lab[:reach, -2:].reshape(-1, 3)]
    )
    rim = rim[np.linspace(0, len(rim) - 1, _RIM_SAMPLES).astype(int)]  # (60, 3)
    apart = np.linalg.norm(lab[:, :, None, :] - rim, axis=-1)  # (h, w, 60)
    rank = round(_LIKE_RIM * (_RIM_SAMPLES - 1))
    nearest = np.partition(apart, rank, axis=-1)[..., rank]
    # What lies between two edges of its own colour is ground too: a beach, a street, a floor, a gradient.
    nearest = np.minimum(nearest, np.linalg.norm(lab - _ground_across(lab), axis=-1))
    blurred: Map = cv2.GaussianBlur(nearest.astype(np.float32), (0, 0), 1.2)
    return blurred


def _ground_across(lab: Map) -> Map:
    """What each row is if it goes evenly from one edge's ground to the other's, shape (h, w, 3), Lab."""
    left, right = cv2.cvtColor(
        _edge_grounds(lab), cv2.COLOR_LAB2RGB
    )  # (h, 3) each; gradients are even in RGB
    width = lab.shape[1]
    share = ((np.arange(width) + 0.5) / width).astype(np.float32)[:, None]  # (w, 1)
    ground: Map = cv2.cvtColor(left[:, None] * (1 - share) + right[:, None] * share, cv2.COLOR_RGB2LAB)
    return ground


def _edge_grounds(lab: Map) -> Map:
    """The ground's colour at the left and the right edge of each row, shape (2, h, 3), Lab.

    Where the two edges differ otherwise than they do at the top, a figure is cut by the one that changed more
    against the row above, until they agree again; the ground that it hides is told from the other edge.
    """
    grounds = np.stack([lab[:, :2].mean(axis=1), lab[:, -2:].mean(axis=1)])  # (2, h, 3)
    apart = grounds[1] - grounds[0]
    usual = np.median(apart[: max(2, round(_TOP_SHARE * len(apart)))], axis=0)
    odd = np.linalg.norm(apart - usual, axis=1) > _CUT_BY_EDGE
    hidden: int | None = None
    for row in range(1, len(odd)):
        if not odd[row]:
            hidden = None
            continue
        if hidden is None:
            changed = np.linalg.norm(grounds[:, row] - grounds[:, row - 1], axis=1)
            hidden = int(changed[1] > changed[0])
        grounds[hidden, row] = grounds[1 - hidden, row] + (usual if hidden else -usual)
    return grounds


def _parts(difference: Map) -> NDArray[np.bool_]:
    """The connected parts that stand out, without specks."""
    scaled = np.clip(difference / max(1e-6, float(np.quantile(difference, 0.98))) * 255, 0, 255).astype(
        np.uint8
    )
    _, mask = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # label 0 is the background
    if count == 1:
        return np.zeros(difference.shape, bool)
    kept: NDArray[np.bool_] = np.isin(labels, np.flatnonzero(areas >= max(1, _SIDE_PART * areas.max())))
    return kept


def _stands_out(difference: Map, mask: NDArray[np.bool_]) -> bool:
    share = float(mask.mean())
    if not _LEAST_SHARE <= share <= _MOST_SHARE:
        return False
    return bool(difference[mask].mean() >= _LEAST_CONTRAST * max(1.0, float(difference[~mask].mean())))


def _bounds(mask: NDArray[np.bool_]) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom of the mask as shares, None if it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    height, width = mask.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def _widened(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    dx, dy = _MARGIN * (right - left), _MARGIN * (bottom - top)
    return max(0.0, left - dx), max(0.0, top - dy), min(1.0, right + dx), min(1.0, bottom + 2 * dy)


def _centre(difference: Map) -> tuple[float, float]:
    """Centre of mass of the difference, drawn half way to the middle of the picture."""
    height, width = difference.shape
    weight = difference.astype(np.float64) ** 2
    total = float(weight.sum())
    if total < 1e-6:
        return 0.5, 0.5
    x = float((weight.sum(axis=0) * (np.arange(width) + 0.5)).sum() / total / width)
    y = float((weight.sum(axis=1) * (np.arange(height) + 0.5)).sum() / total / height)
    return (x + 0.5) / 2, (y + 0.5) / 2
