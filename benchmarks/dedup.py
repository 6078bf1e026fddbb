"""Precision and recall of the duplicate search on planted copies, beside plain pHash; run by hand.

python -m benchmarks.dedup [ORIGINALS] [SEED]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.corpus import EDITS, Planted, corpus
from dataprep import hashing
from dataprep.duplicates import find_copies
from dataprep.likeness import thumb

Row = dict[str, Any]


def measured(planted: Planted, number: int) -> Row:
    """What scan and fingerprint would say about the picture."""
    image = planted.image
    inner = hashing.trimmed(image)
    grey = hashing.grey_thumbnail(image)
    return {
        "id": f"{number:08d}",
        "path": f"{number}.png",
        "width": image.width,
        "height": image.height,
        "bytes": image.width * image.height,
        "format": "jpeg",
        "hand_state": None,
        "raw_caption": None,
        "phash": hashing.phash(image),
        "trim_phash": hashing.phash(inner),
        "mirror_phash": hashing.hex_of(hashing.phash_bits(grey[:, ::-1])),
        "thumb": thumb(image),
        "trim_thumb": thumb(inner),
        "trim_share": inner.width * inner.height / (image.width * image.height),
    }


def pairs_of(labels: list[int]) -> set[tuple[int, int]]:
    """All pairs with the same label."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        members[label].append(i)
    return {pair for group in members.values() for pair in combinations(group, 2)}


def scores(found: set[tuple[int, int]], truth: set[tuple[int, int]]) -> str:
    """Precision / recall by pairs."""
    hits = len(found & truth)
    return f"{hits / max(1, len(found)):.3f} / {hits / max(1, len(truth)):.3f}"


def main(originals: int = 1200, seed: int = 41) -> None:
    """Print one table: by distance, then recall by edit at distance 8."""
    pictures, rows = [], []
    for number, planted in enumerate(corpus(originals, seed)):
        rows.append(measured(planted, number))
        pictures.append((planted.original, planted.kind, planted.edit))
    strong = [i for i, (_, kind, _) in enumerate(pictures) if kind != "flat"]
    truth = pairs_of([original for original, _, _ in pictures])
    truth = {pair for pair in truth if pictures[pair[0]][1] != "flat"}
    hashes = hashing.numbers_of([row["phash"] for row in rows])
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    print(f"{len(rows)} pictures, {len(truth)} true pairs (flat pictures apart)")
    print("distance | plain pHash P / R | dedup P / R | siblings merged")
    for distance in (4, 6, 8, 10, 12):
        plain = {(int(i), int(j)) for i, j in np.argwhere(np.triu(distances <= distance, 1))}
        plain = {pair for pair in plain if pictures[pair[0]][1] != "flat"}
        labels = list(range(len(rows)))
        for copy in find_copies(rows, distance):
            labels[copy.row] = copy.of
        found = {pair for pair in pairs_of(labels) if pictures[pair[0]][1] != "flat"}
        merged = sum("sibling" in (pictures[i][2], pictures[j][2]) for i, j in found - truth)
        print(f"{distance:8d} | {scores(plain, truth)} | {scores(found, truth)} | {merged}")
        if distance == 8:
            by_edit = _recall_by_edit(pictures, labels, strong)
    print("\n".join(by_edit))


def _recall_by_edit(pictures: list[tuple[int, str, str]], labels: list[int], strong: list[int]) -> list[str]:
    lines = ["edit | copies | found with their original at distance 8"]
    for edit in EDITS:
        copies = [i for i in strong if pictures[i][2] == edit]
        found = sum(labels[i] == labels[pictures[i][0]] for i in copies)
        lines.append(f"{edit} | {len(copies)} | {found / max(1, len(copies)):.3f}")
    return lines


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]))
