"""Which pictures are copies of which, and which copy is the best: pure functions on manifest rows."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataprep.copies.fine import Fines
from dataprep.copies.hashing import numbers_of
from dataprep.copies.kept import NONE, SAME_FRAMING, Hashed, Kept, pages_among, views_of
from dataprep.copies.likeness import alike, are_marked
from dataprep.copies.neighbours import Forest, Hashes, hamming, join_near
from dataprep.curate.hand_copies import head_start

Row = dict[str, Any]

_LOSSLESS = frozenset({"png", "bmp", "tiff", "ppm", "qoi", "gif"})
_WITNESSES = 16  # best copies of a group that the others are compared with for marks


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


def worth(row: Row, *, unmarked_share: float | None = None) -> tuple[Any, ...]:
    """What a copy has going for it, in the order of _REASONS; the greatest tuple is kept.

    Args:
        row: of the copy.
        unmarked_share: share within the borders of a copy that lacks a mark which is on this one: a watermark
            on a plain ground makes it no larger. None if there is no such copy.
    """
    marked = unmarked_share is not None
    share = row["trim_share"] if unmarked_share is None else min(row["trim_share"], unmarked_share)
    pixels = row["width"] * row["height"] * share
    return (
        row["hand_state"] == "keep",
        # A fifth more pixels count; a few rows cut off do not.
        round(4 * math.log2(max(1.0, pixels))) + head_start(row),
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
    rows: list[Row], max_distance: int, *, mirrored: bool = False, lenient: bool = False
) -> list[Copy]:
    """Copies among the rows, each verified against the picture that is kept for it, so that nothing chains.

    Args:
        rows: with the columns of fingerprint and scan, hash columns not null.
        max_distance: Hamming distance of copies, bits.
        mirrored: whether mirror images are copies too.
        lenient: whether pages of text count that are only perhaps the same page, and pictures that are alike
            at a glance but differ in some part.
    """
    if not rows:
        return []
    hashed = _hashed(rows, mirrored=mirrored)
    groups = _groups(len(rows), hashed, max_distance)
    members = [i for group in groups for i in group]
    views = views_of([rows[i] for i in members], hashed.of(members))
    pages = pages_among(views)
    copies: list[Copy] = []
    start = 0
    for group in groups:
        marked = _marked(group, rows, hashed.whole, max_distance)
        value = {i: worth(rows[i], unmarked_share=marked.get(i)) for i in group}
        kept = [Kept(view, pages, max_distance, lenient=lenient) for view in views]
        place = {i: start + at for at, i in enumerate(group)}
        start += len(group)
        for i in sorted(group, key=lambda i: value[i], reverse=True):
            near = [] if rows[i]["hand_state"] == "keep" else [one.near(place[i]) for one in kept]
            distance, best = min(near, default=NONE)
            if best == NONE[1]:
                for one in kept:
                    one.add(place[i])
            else:
                of = members[best]
                copies.append(Copy(i, of, distance, _why(value[of], value[i])))
    return copies


def _hashed(rows: list[Row], *, mirrored: bool) -> Hashed:
    whole, trimmed = (numbers_of([row[name] for row in rows]) for name in ("phash", "trim_phash"))
    if not mirrored:
        return Hashed(whole, trimmed)
    names = "mirror_phash", "mirror_trim_phash"
    mirror, mirror_trimmed = (numbers_of([row[name] for row in rows]) for name in names)
    return Hashed(whole, trimmed, (mirror, mirror_trimmed))


def _marked(group: list[int], rows: list[Row], hashes: Hashes, max_distance: int) -> dict[int, float]:
    """Those of a group with a mark which a near copy of the same framing lacks: that one's `trim_share`."""
    measured = np.array([i for i in group if rows[i]["edges"]], np.int64)
    witnesses = group
    if len(group) > _WITNESSES:
        witnesses = sorted(group, key=lambda i: worth(rows[i]), reverse=True)[:_WITNESSES]
    shares = np.array([rows[i]["trim_share"] for i in measured])
    edges = [rows[i]["edges"] for i in measured]
    marked: dict[int, float] = {}
    for j in witnesses:
        if not rows[j]["edges"]:
            continue
        near = hamming(hashes[measured], hashes[j]) <= max_distance
        # A mark on a plain ground is no border any more: there is more within those of the marked one.
        near &= shares - rows[j]["trim_share"] >= -SAME_FRAMING
        at = np.flatnonzero(near & (measured != j))
        found = at[are_marked([edges[k] for k in at], rows[j]["edges"])].tolist()
        thumb = rows[j]["thumb"]
        for k in (int(measured[n]) for n in found):
            if alike(rows[k]["thumb"], thumb) and _differ_by_mark(rows[k], rows[j]):
                marked[k] = min(marked.get(k, 1.0), rows[j]["trim_share"])
    return marked


def _differ_by_mark(one: Row, other: Row) -> bool:
    fines = Fines([one["fine"], other["fine"]])
    if not fines.known.all():
        return bool(abs(one["trim_share"] - other["trim_share"]) <= SAME_FRAMING)
    return fines.differ_by_mark(0, 1)


def _groups(n: int, hashed: Hashed, max_distance: int) -> list[list[int]]:
    """Pictures linked by any chain of near hashes, only groups of two and more."""
    forest = Forest(n)
    for i, values in enumerate((hashed.whole, hashed.trimmed)):
        join_near(forest, values, max_distance)
        if hashed.mirrored is not None:
            both = Forest(2 * n)  # each picture, and its mirror image, which is joined to it
            join_near(both, np.concatenate([values, hashed.mirrored[i]]), max_distance)
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
