"""Which pictures are copies of which, and which copy is the best: pure functions on manifest rows."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dataprep.hashing import numbers_of
from dataprep.likeness import TRIMMED, WHOLE, alike, is_marked
from dataprep.likeness import mirrored as mirror_thumb
from dataprep.neighbours import Forest, Hashes, hamming, join_near

Row = dict[str, Any]

_LOSSLESS = frozenset({"png", "bmp", "tiff", "ppm", "qoi", "gif"})
_WITNESSES = 16  # best copies of a group that the others are compared with for marks
_SAME_FRAMING = 0.02  # difference of the shares within the borders up to which two copies lie alike
# The hash and the thumb that belong together, and how alike thumbs have to be: a pair has to pass one line.
_VIEWS = (("phash", "thumb", WHOLE), ("trim_phash", "trim_thumb", TRIMMED))


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


def find_copies(rows: list[Row], max_distance: int, *, mirrored: bool = False) -> list[Copy]:
    """Copies among the rows, each verified against the picture that is kept for it, so that nothing chains.

    Args:
        rows: with the columns of fingerprint and scan, hash columns not null.
        max_distance: Hamming distance of copies, bits.
        mirrored: whether mirror images are copies too.
    """
    if not rows:
        return []
    hashes = {name: numbers_of([row[name] for row in rows]) for name, _, _ in _VIEWS}
    mirror = numbers_of([row["mirror_phash"] for row in rows]) if mirrored else None
    copies: list[Copy] = []
    for group in _groups(rows, hashes, mirror, max_distance):
        kept: list[int] = []
        marked = _marked(group, rows, hashes["phash"], max_distance)
        value = {i: worth(rows[i], marked=i in marked) for i in group}
        for i in sorted(group, key=lambda i: value[i], reverse=True):
            found = None
            if rows[i]["hand_state"] != "keep":
                found = _nearest(i, kept, rows, hashes, mirror, max_distance)
            if found is None:
                kept.append(i)
            else:
                copies.append(replace(found, why=_why(value[found.of], value[i])))
    return copies


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


def _nearest(
    i: int,
    kept: list[int],
    rows: list[Row],
    hashes: dict[str, Hashes],
    mirror: Hashes | None,
    max_distance: int,
) -> Copy | None:
    """The nearest kept picture that row i is a copy of."""
    if not kept:
        return None
    others = np.array(kept)
    candidates: list[tuple[int, int]] = []
    for name, picture, limits in _VIEWS:
        distances = hamming(hashes[name][others], hashes[name][i])
        candidates += [
            (int(distances[at]), kept[at])
            for at in np.flatnonzero(distances <= max_distance)
            if alike(rows[i][picture], rows[kept[at]][picture], limits)
        ]
    if mirror is not None:
        distances = hamming(mirror[others], hashes["phash"][i])
        candidates += [
            (int(distances[at]), kept[at])
            for at in np.flatnonzero(distances <= max_distance)
            if alike(rows[i]["thumb"], mirror_thumb(rows[kept[at]]["thumb"]))
        ]
    if not candidates:
        return None
    distance, best = min(candidates)
    return Copy(i, best, distance, "")


def _why(kept: tuple[Any, ...], dropped: tuple[Any, ...]) -> str:
    for reason, a, b in zip(_REASONS, kept, dropped, strict=True):
        if a != b:
            return reason
    return _REASONS[-1]
