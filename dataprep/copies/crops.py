"""Which pictures are cut out of others, however much was cut away: local features, matched and verified.

A hash of the whole picture can't see it. Corners that look alike in two pictures vote for the pair; a pair is
believed when one scale and shift explains many of them and the cut-out itself looks the same.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_FEATURES = 200
_SIDE = 48  # px of the grey thumbnail that verifies a pair
_HEAD = 4  # bytes: width and height of the picture that was measured
_TABLES, _KEY_BITS = 4, 22  # a feature with 12 of 256 bits changed keeps a key with probability .34
_COMMON = 12  # a key that more features share says nothing
_LEAST_VOTES = 8
_LEAST_INLIERS = 12
_LEAST_SHARE = 0.25  # of the smaller picture's matches that agree on one scale and shift
_OFF = 0.015  # of the long side: how far a match may lie from where scale and shift put it
_TILT = 0.03  # sine of the rotation that is still none
_OUTSIDE = 0.03  # of a side: how far the cut-out may reach over the edge, by rounding
_WHOLE = 0.95  # share of the area from which the two are rather copies of each other
_LIKE = 0.9  # least correlation of the cut-out with the picture it was cut from
# A page of text is an even grey at the size of the thumbnail, and correlates less. It is believed nonetheless
# where the corners lie exactly on each other and no area is of another grey, as in a recoloured drawing.
_LIKE_PAGE, _GREY_APART = 0.5, 20.0  # correlation; root mean square difference, levels
_EXACT_OFF, _EXACT_TILT = 0.003, 0.01  # median, share of the long side; sine of the rotation


@dataclass(frozen=True)
class Cut:
    """A picture cut out of another.

    Attributes:
        row: index of the cut-out.
        of: index of the picture it was cut from.
        share: of that one's area that it shows.
    """

    row: int
    of: int
    share: float


def features(image: Image.Image) -> str:
    """Corners of a picture, their descriptors and a small grey picture, as text.

    Args:
        image: mode RGB, reduced: a short side of about 256 px.
    """
    grey = np.asarray(image.convert("L"))
    points, descriptors = cv2.ORB.create(nfeatures=_FEATURES, fastThreshold=8).detectAndCompute(grey, None)
    places = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
    head = np.array(image.size, np.uint16)
    thumb = np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    parts = (
        head,
        thumb,
        places.astype(np.float16),
        np.empty((0, 32), np.uint8) if descriptors is None else descriptors,
    )
    return base64.b64encode(b"".join(part.tobytes() for part in parts)).decode("ascii")


@dataclass(frozen=True)
class Features:
    """What `features` wrote down, read again."""

    text: str

    @cached_property
    def _data(self) -> bytes:
        return base64.b64decode(self.text)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the measured picture, px."""
        width, height = np.frombuffer(self._data, np.uint16, 2).tolist()
        return width, height

    @cached_property
    def thumb(self) -> NDArray[np.uint8]:
        """Grey, shape (48, 48)."""
        return np.frombuffer(self._data, np.uint8, _SIDE * _SIDE, _HEAD).reshape(_SIDE, _SIDE)

    @cached_property
    def count(self) -> int:
        """How many corners there are."""
        return (len(self._data) - _HEAD - _SIDE * _SIDE) // 36

    @cached_property
    def places(self) -> NDArray[np.float32]:
        """Corners, px, shape (count, 2)."""
        start = _HEAD + _SIDE * _SIDE
        return np.frombuffer(self._data, np.float16, 2 * self.count, start).reshape(-1, 2).astype(np.float32)

    @cached_property
    def descriptors(self) -> NDArray[np.uint8]:
        """256 bits of each corner, shape (count, 32)."""
        return np.frombuffer(self._data, np.uint8, offset=len(self._data) - 32 * self.count).reshape(-1, 32)


def find_crops(texts: list[str]) -> list[Cut]:
    """Cut-outs among pictures, each with the picture that shows the most of it.

    Args:
        texts: what `features` gave for each picture.
    """
    all_features = [Features(text) for text in texts]
    best: dict[int, Cut] = {}
    for i, j in _candidates(all_features):
        for part, whole in ((i, j), (j, i)):
            share = _cut_from(all_features[part], all_features[whole])
            if share is not None and (part not in best or share < best[part].share):
                best[part] = Cut(part, whole, share)
    return [best[row] for row in sorted(best)]


def _candidates(pictures: list[Features]) -> Iterator[tuple[int, int]]:
    """Pairs that share several rare features, by sorting bits of the descriptors."""
    owners = np.repeat(np.arange(len(pictures)), [picture.count for picture in pictures])
    if not len(owners):
        return
    bits = np.unpackbits(np.concatenate([picture.descriptors for picture in pictures]), axis=1)
    votes: Counter[tuple[int, int]] = Counter()
    weights = 1 << np.arange(_KEY_BITS, dtype=np.int64)
    for table in range(_TABLES):
        chosen = np.random.default_rng(table).choice(256, _KEY_BITS, replace=False)
        keys = bits[:, chosen] @ weights
        order = np.argsort(keys, kind="stable")
        runs = np.split(owners[order], np.flatnonzero(np.diff(keys[order])) + 1)
        for run in runs:
            members = np.unique(run) if 1 < len(run) <= _COMMON else run[:0]
            votes.update((int(a), int(b)) for n, a in enumerate(members) for b in members[n + 1 :])
    yield from (pair for pair, count in sorted(votes.items()) if count >= _LEAST_VOTES)


def _cut_from(part: Features, whole: Features) -> float | None:
    """Share of `whole`'s area that `part` shows, None if it is not cut from it."""
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(part.descriptors, whole.descriptors)
    if len(matches) < _LEAST_INLIERS:
        return None
    ours = part.places[[match.queryIdx for match in matches]]
    theirs = whole.places[[match.trainIdx for match in matches]]
    cv2.setRNGSeed(0)  # the same answer every time
    fit, inliers = cv2.estimateAffinePartial2D(
        ours, theirs, method=cv2.RANSAC, ransacReprojThreshold=_OFF * max(whole.size)
    )
    if fit is None or inliers.sum() < max(_LEAST_INLIERS, _LEAST_SHARE * len(matches)):
        return None
    scale = float(np.hypot(fit[0, 0], fit[1, 0]))
    if fit[0, 0] <= 0 or abs(fit[1, 0]) > _TILT * scale:
        return None
    left, top = fit[:, 2] / whole.size
    width, height = scale * part.size[0] / whole.size[0], scale * part.size[1] / whole.size[1]
    if (
        min(left, top) < -_OUTSIDE
        or max(left + width, top + height) > 1 + _OUTSIDE
        or width * height > _WHOLE
    ):
        return None
    correlation, apart = _compared(part.thumb, whole.thumb, (float(left), float(top), width, height))
    if correlation < _LIKE:
        agree = inliers.ravel().astype(bool)
        off = np.linalg.norm(ours[agree] @ fit[:, :2].T + fit[:, 2] - theirs[agree], axis=1)
        exact = np.median(off) <= _EXACT_OFF * max(whole.size) and abs(fit[1, 0]) <= _EXACT_TILT * scale
        if not exact or correlation < _LIKE_PAGE or apart > _GREY_APART:
            return None
    return width * height


def _compared(
    part: NDArray[np.uint8], whole: NDArray[np.uint8], frame: tuple[float, float, float, float]
) -> tuple[float, float]:
    """A grey cut-out and its place in the whole: their correlation and root mean square difference, levels.

    Args:
        part: thumbnail of the cut-out, shape (48, 48).
        whole: of the picture it may be cut from, shape (48, 48).
        frame: left, top, width, height of the place, shares of the whole.
    """
    left, top, width, height = (_SIDE * share for share in frame)
    box = max(0.0, left), max(0.0, top), min(_SIDE, left + width), min(_SIDE, top + height)
    side = max(8, round(min(box[2] - box[0], box[3] - box[1])))
    cut = Image.fromarray(whole).resize((side, side), Image.Resampling.BILINEAR, box=box)
    own = Image.fromarray(part).resize((side, side), Image.Resampling.BOX)
    a, b = (np.asarray(image, np.float64) for image in (cut, own))
    apart = float(np.sqrt(((a - b) ** 2).mean()))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum() + 1e-9)), apart
