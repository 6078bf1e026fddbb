"""Which pictures are copies of which, and which copy is the best: pure functions on manifest rows."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprep.hashing import numbers_of
from dataprep.likeness import (
    PAGE,
    PAGE_DISTANCE,
    PAGE_TRIMMED,
    TRIMMED,
    WHOLE,
    Limits,
    Thumbs,
    alike,
    is_marked,
)
from dataprep.neighbours import Forest, Hashes, hamming, join_near

Row = dict[str, Any]

_LOSSLESS = frozenset({"png", "bmp", "tiff", "ppm", "qoi", "gif"})
_WITNESSES = 16  # best copies of a group that the others are compared with for marks
_NONE = (65, -1)  # further than any distance, and no picture
_SAME_FRAMING = 0.02  # difference of the shares within the borders up to which two copies lie alike
_HASHES = ("phash", "trim_phash")


@dataclass(frozen=True)
class Copy:
    """A picture that is a copy of a kept one.

    Attributes:
        row: index of the copy.
        of: index of the kept picture.
        distance: Hamming distance of the hashes that agree, bits.
        why: why the other one is kept, for people.
    """

    row: int
    of: int
    distance: int
    why: str


# Reasons to keep one copy rather than another, the strongest first.
_REASONS = (
    "kept by hand",
    "larger",
    "without borders",
    "less compressed",
    "the larger file",
    "without a mark such as a watermark",
    "captioned",
    "of the shorter name",
    "the first by name",
)


def worth(row: Row, *, marked: bool = False) -> tuple[Any, ...]:
    """What a copy has going for it, in the order of _REASONS; the greatest tuple is kept.

    Args:
        row: of the copy.
        marked: whether there is something on it that its copies lack.
    """
    pixels = row["width"] * row["height"] * row["trim_share"]
    return (
        row["hand_state"] == "keep",
        round(4 * math.log2(max(1.0, pixels))),  # a fifth more pixels count; a few rows cut off do not
        row["trim_share"] > 0.98,
        row["format"] in _LOSSLESS,
        # Half as many bytes again a pixel count: small differences are the encoder's, not the picture's.
        round(2 * math.log2(max(1, row["bytes"]) / max(1.0, pixels))),
        not marked,
        row["raw_caption"] is not None,
        -len(row["path"]),  # "a.png" rather than "a (copy).png"
        tuple(-ord(letter) for letter in row["path"]),
    )


def find_copies(
    rows: list[Row], max_distance: int, *, mirrored: bool = False, lenient_pages: bool = False
) -> list[Copy]:
    """Copies among the rows, each verified against the picture that is kept for it, so that nothing chains.

    Args:
        rows: with the columns of fingerprint and scan, hash columns not null.
        max_distance: Hamming distance of copies, bits.
        mirrored: whether mirror images are copies too.
        lenient_pages: whether pages of text are judged like other pictures, though the next page of a book
            comes as near as a copy; else only those count that are all but equal.
    """
    if not rows:
        return []
    hashes = {name: numbers_of([row[name] for row in rows]) for name in _HASHES}
    mirror = numbers_of([row["mirror_phash"] for row in rows]) if mirrored else None
    groups = _groups(rows, hashes, mirror, max_distance)
    members = [i for group in groups for i in group]
    views = _views(rows, members, hashes, mirror)
    pages = np.zeros(len(members), np.bool_) if lenient_pages else _pages(views)
    copies: list[Copy] = []
    start = 0
    for group in groups:
        marked = _marked(group, rows, hashes["phash"], max_distance)
        value = {i: worth(rows[i], marked=i in marked) for i in group}
        kept = [_Kept(view, pages, max_distance) for view in views]
        place = {i: start + at for at, i in enumerate(group)}
        start += len(group)
        for i in sorted(group, key=lambda i: value[i], reverse=True):
            near = [] if rows[i]["hand_state"] == "keep" else [one.near(place[i]) for one in kept]
            distance, best = min(near, default=_NONE)
            if best == _NONE[1]:
                for one in kept:
                    one.add(place[i])
            else:
                of = members[best]
                copies.append(Copy(i, of, distance, _why(value[of], value[i])))
    return copies


@dataclass(frozen=True)
class _View:
    """One way to compare: hash and thumb of each picture, those of the kept one, how alike they must be."""

    hashes: Hashes
    thumbs: Thumbs
    kept_hashes: Hashes
    kept_thumbs: Thumbs
    limits: Limits
    page_limits: Limits


def _views(
    rows: list[Row], members: list[int], hashes: dict[str, Hashes], mirror: Hashes | None
) -> list[_View]:
    """Whole, without borders and, where asked for, mirrored: a pair has to agree in one."""
    some = [rows[i] for i in members]
    edges = [row["edges"] for row in some]
    texts = [row["thumb"] for row in some]
    whole, trimmed = Thumbs(texts, edges), Thumbs([row["trim_thumb"] for row in some])
    phash, trim = hashes["phash"][members], hashes["trim_phash"][members]
    views = [
        _View(phash, whole, phash, whole, WHOLE, PAGE),
        _View(trim, trimmed, trim, trimmed, TRIMMED, PAGE_TRIMMED),
    ]
    if mirror is not None:
        views.append(_View(phash, whole, mirror[members], Thumbs(texts, edges, mirror=True), WHOLE, PAGE))
    return views


def _pages(views: list[_View]) -> NDArray[np.bool_]:
    """Which pictures look like pages of text: light, in one tint, full of detail."""
    whole, trimmed = views[0].thumbs, views[1].thumbs
    pages: NDArray[np.bool_] = whole.full & trimmed.paper
    return pages


class _Kept:
    """The pictures kept so far of one group, in one view.

    Flat pictures, which may have one hash and thousands of colours, are looked up by colour; so the search is
    linear in them.
    """

    def __init__(self, view: _View, pages: NDArray[np.bool_], max_distance: int) -> None:
        self._view, self._pages = view, pages
        self._max_distance = max_distance
        self._by_colour: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        self._patterned = np.empty(8, np.int64)  # kept ones that are not flat; grows
        self._count = 0

    def add(self, i: int) -> None:
        """Keep picture i."""
        red, green, blue = self._view.kept_thumbs.cells[i].tolist()
        self._by_colour[red, green, blue].append(i)
        if not self._view.kept_thumbs.flat[i]:
            if self._count == len(self._patterned):
                self._patterned = np.concatenate([self._patterned, np.empty_like(self._patterned)])
            self._patterned[self._count] = i
            self._count += 1

    def near(self, i: int) -> tuple[int, int]:
        """Distance and number of the nearest kept picture that picture i is a copy of; _NONE if of none."""
        view, others = self._view, self._candidates(i)
        distances = hamming(view.kept_hashes[others], view.hashes[i])
        close = distances <= self._max_distance
        others, distances = others[close], distances[close]
        if not len(others):
            return _NONE
        found = view.thumbs.alike(i, view.kept_thumbs, others, view.limits)
        paged = self._pages[others] | self._pages[i]
        if paged.any():
            sure = view.thumbs.alike(i, view.kept_thumbs, others, view.page_limits)
            found &= ~paged | (sure & (distances <= PAGE_DISTANCE))
        return min(zip(distances[found].tolist(), others[found].tolist(), strict=True), default=_NONE)

    def _candidates(self, i: int) -> NDArray[np.int64]:
        """Kept pictures that can be alike: flat ones of a near colour, and others."""
        red, green, blue = self._view.thumbs.cells[i].tolist()
        near = [
            j
            for cell in product(*((side - 1, side, side + 1) for side in (red, green, blue)))
            for j in self._by_colour.get(cell, ())
        ]
        if self._view.thumbs.flat[i]:
            return np.array(near, np.int64)
        flat = [j for j in near if self._view.kept_thumbs.flat[j]]
        return np.concatenate([np.array(flat, np.int64), self._patterned[: self._count]])


def _marked(group: list[int], rows: list[Row], hashes: Hashes, max_distance: int) -> set[int]:
    """Those of a group that have a mark which a near copy of the same framing lacks."""
    witnesses = sorted(group, key=lambda i: worth(rows[i]), reverse=True)[:_WITNESSES]
    marked = set()
    for i in group:
        for j in witnesses:
            comparable = i != j and rows[i]["edges"] and rows[j]["edges"]
            if not comparable or hamming(hashes[i], hashes[j]) > max_distance:
                continue
            if abs(rows[i]["trim_share"] - rows[j]["trim_share"]) > _SAME_FRAMING:
                continue
            if is_marked(rows[i]["edges"], rows[j]["edges"]) and alike(rows[i]["thumb"], rows[j]["thumb"]):
                marked.add(i)
    return marked


def _groups(
    rows: list[Row], hashes: dict[str, Hashes], mirror: Hashes | None, max_distance: int
) -> list[list[int]]:
    """Rows linked by any chain of near hashes, only groups of two and more."""
    forest = Forest(len(rows))
    for values in hashes.values():
        join_near(forest, values, max_distance)
    if mirror is not None:
        n = len(rows)
        both = Forest(2 * n)  # each picture, and its mirror image, which is joined to it
        join_near(both, np.concatenate([hashes["phash"], mirror]), max_distance)
        both.join(np.arange(n), np.arange(n, 2 * n))
        forest.join(np.arange(n), both.labels()[:n])
    members: dict[int, list[int]] = defaultdict(list)
    for i, label in enumerate(forest.labels().tolist()):
        members[label].append(i)
    return [group for group in members.values() if len(group) > 1]


def _why(kept: tuple[Any, ...], dropped: tuple[Any, ...]) -> str:
    for reason, a, b in zip(_REASONS, kept, dropped, strict=True):
        if a != b:
            return reason
    return _REASONS[-1]
