"""Precision and recall of the duplicate search on planted copies, beside imagehash in a double loop.

python -m benchmarks.dedup [ORIGINALS] [SEED]

The seed is none of those on which limits were chosen.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.corpus import ATTRIBUTES, EDITS, Planted, changed_pairs, corpus, word_page
from dataprep.copies.crops import features, find_crops
from dataprep.copies.duplicates import find_copies
from dataprep.stages.fingerprint import Fingerprint

Row = dict[str, Any]
Pairs = set[tuple[int, int]]
DISTANCES = (4, 6, 8, 10, 12)
KINDS = ("photo", "drawing", "page", "flat")
STRONG = ("photo", "drawing", "page")  # flat pictures have no hash to speak of
DEFAULT = 8
GAINS, RELIT = (0.8, 1.0, 1.15, 1.3), ("expression", "hair colour")


def measured(image: Image.Image, number: int) -> Row:
    """What scan and fingerprint would say about the picture."""
    return {
        "id": f"{number:08d}",
        "path": f"{number}.png",
        "width": image.width,
        "height": image.height,
        "bytes": image.width * image.height,
        "format": "jpeg",
        "hand_state": None,
        "raw_caption": None,
        **Fingerprint().measured(image),
    }


class Measured:
    """The corpus, and which pairs each way of looking finds."""

    def __init__(self, pictures: list[Planted]) -> None:
        self.kinds = [picture.kind for picture in pictures]
        self.edits = [picture.edit for picture in pictures]
        self.originals = [picture.original for picture in pictures]
        self.rows = [measured(picture.image, i) for i, picture in enumerate(pictures)]
        self.truth = pairs_of(self.originals)
        started = time.process_time()
        self.distances = looped(pictures)
        self.loop_s = time.process_time() - started

    def plain(self, distance: int) -> Pairs:
        """Pairs within the distance by plain pHash."""
        return {(int(i), int(j)) for i, j in np.argwhere(np.triu(self.distances <= distance, 1))}

    def ours(self, distance: int) -> Pairs:
        """Pairs that end in one group."""
        labels = list(range(len(self.rows)))
        for copy in find_copies(self.rows, distance):
            labels[copy.row] = copy.of
        return pairs_of(labels)

    def scores(self, found: Pairs, kinds: tuple[str, ...]) -> str:
        """Precision / recall by pairs whose first picture is of these kinds."""
        truth = {pair for pair in self.truth if self.kinds[pair[0]] in kinds}
        found = {pair for pair in found if self.kinds[pair[0]] in kinds}
        hits = len(found & truth)
        return f"{hits / max(1, len(found)):.3f} / {hits / max(1, len(truth)):.3f}"

    def merged_siblings(self, found: Pairs) -> int:
        """Wrong pairs one of which is a planted look-alike."""
        return sum("sibling" in (self.edits[i], self.edits[j]) for i, j in found - self.truth)

    def by_edit(self, found: Pairs, edit: str) -> str:
        """Share of the copies made so that are found with their original, of the strong kinds."""
        copies = [i for i, e in enumerate(self.edits) if e == edit and self.kinds[i] in STRONG]
        hits = sum((self.originals[i], i) in found for i in copies)
        return f"{hits / max(1, len(copies)):.3f}"


def looped(pictures: list[Planted]) -> NDArray[np.uint8]:
    """Distances of all pairs by the imagehash package, one by one, shape (N, N), upper half."""
    hashes = [imagehash.phash(picture.image) for picture in pictures]
    distances = np.full((len(hashes), len(hashes)), 64, np.uint8)
    for i, j in combinations(range(len(hashes)), 2):
        distances[i, j] = hashes[i] - hashes[j]
    return distances


def pairs_of(labels: list[int]) -> Pairs:
    """All pairs with the same label."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        members[label].append(i)
    return {pair for group in members.values() for pair in combinations(group, 2)}


def print_tables(corpus_: Measured, seed: int) -> None:
    """By distance and kind, then by edit."""
    plain = {d: corpus_.plain(d) for d in DISTANCES}
    started = time.process_time()
    ours = {d: corpus_.ours(d) for d in DISTANCES}
    ours_s = (time.process_time() - started) / len(DISTANCES)
    strong = sum(corpus_.kinds[i] in STRONG for i, _ in corpus_.truth)
    print(f"{len(corpus_.rows)} pictures, {strong} true pairs of strong kinds, seed {seed}.")
    print(f"imagehash's loop took {corpus_.loop_s:.1f} s (hashes included), the search {ours_s:.2f} s.\n")
    print("| distance | kinds | imagehash loop, P / R | dedup, P / R | siblings merged |")
    print("|---|---|---|---|---|")
    for distance in DISTANCES:
        for name, kinds in (("all strong", STRONG), *((kind, (kind,)) for kind in KINDS)):
            merged = (
                f"{corpus_.merged_siblings(plain[distance])} -> {corpus_.merged_siblings(ours[distance])}"
            )
            scores = (corpus_.scores(found[distance], kinds) for found in (plain, ours))
            print(
                f"| {distance} | {name} | {' | '.join(scores)} | {merged if name == 'all strong' else ''} |"
            )
    print("\n| edit | " + " | ".join(f"loop, {d} | dedup, {d}" for d in (4, DEFAULT, 12)) + " |")
    print("|---" * 7 + "|")
    for edit in EDITS:
        cells = [corpus_.by_edit(found[d], edit) for d in (4, DEFAULT, 12) for found in (plain, ours)]
        print(f"| {edit} | {' | '.join(cells)} |")


def print_changed(seed: int, characters: int = 80) -> None:
    """Drawn pictures of one character that differ in one attribute: expression, eyes, pose and so on."""
    merged, reported, looped_, total = (Counter[str]() for _ in range(4))
    for pair in changed_pairs(characters, seed):
        rows = [measured(image, i) for i, image in enumerate((pair.first, pair.second))]
        total[pair.attribute] += 1
        merged[pair.attribute] += bool(find_copies(rows, DEFAULT))
        reported[pair.attribute] += bool(find_copies(rows, 10, lenient=True))
        looped_[pair.attribute] += imagehash.phash(pair.first) - imagehash.phash(pair.second) <= DEFAULT
    print("\nPictures of one character that differ in one attribute, distance 8:\n")
    print("| what differs | pairs | imagehash merges | dedup merges | dedup reports |")
    print("|---|---|---|---|---|")
    for name in (*ATTRIBUTES, "all"):
        cells = [each[name] if name != "all" else each.total() for each in (total, looped_, merged, reported)]
        print(f"| {name} | {cells[0]} | {cells[1]} | {cells[2]} | {cells[3] - cells[2]} |")


def print_relit(seed: int, characters: int = 120) -> None:
    """Changed pictures in another light than the first one; and the first one itself in it."""
    pairs = [pair for pair in changed_pairs(characters, seed) if pair.attribute in RELIT]
    print("\nThe second picture of such a pair made darker or brighter, distance 8: merged, of all\n")
    print("| what differs | " + " | ".join(f"light x {gain:g}" for gain in GAINS) + " |")
    print("|---" * (len(GAINS) + 1) + "|")
    for name in (*RELIT, "nothing"):
        own = [pair for pair in pairs if name in (pair.attribute, "nothing")]
        first = [measured(pair.first, 0) for pair in own]
        cells = []
        for gain in GAINS:
            others = (pair.first if name == "nothing" else pair.second for pair in own)
            relit = [measured(ImageEnhance.Brightness(other).enhance(gain), 1) for other in others]
            found = sum(bool(find_copies(list(rows), DEFAULT)) for rows in zip(first, relit, strict=True))
            cells.append(f"{found} of {len(own)}")
        print(f"| {name} | {' | '.join(cells)} |")


def print_crops(pictures: list[Planted], seed: int) -> None:
    """Cut-outs of 15 to 75 % of the area, in any shape, among all originals and look-alikes."""
    rng = np.random.default_rng(seed)
    images: list[Image.Image] = []
    truth: dict[int, int] = {}
    kinds: dict[int, str] = {}
    for picture in (p for p in pictures if p.edit in ("original", "sibling")):
        images.append(picture.image)
        if picture.edit == "original" and picture.kind != "flat" and rng.random() < 0.5:
            truth[len(images)], kinds[len(images)] = len(images) - 1, picture.kind
            images.append(cut_out(picture.image, rng))
    cuts = find_crops([features(image) for image in images])
    right = [cut.row for cut in cuts if truth.get(cut.row) == cut.of]
    print(f"\ndedup.crops on {len(images)} pictures: {len(cuts)} found, {len(right)} of them right.")
    for kind in STRONG:
        of_kind = [row for row in truth if kinds[row] == kind]
        found = sum(row in right for row in of_kind)
        print(f"- {kind}: {found} of {len(of_kind)} cut-outs")


def cut_out(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Any part of 40 to 85 % of each side, half of them made smaller."""
    width, height = (round(side * rng.uniform(0.4, 0.85)) for side in image.size)
    left, top = round(rng.uniform(0, image.width - width)), round(rng.uniform(0, image.height - height))
    part = image.crop((left, top, left + width, top + height))
    return part.resize((round(0.7 * width), round(0.7 * height))) if rng.random() < 0.5 else part


def print_mirrored(pictures: list[Planted], seed: int) -> None:
    """Mirrored copies, also edited, with the setting `mirrored` on, among all originals and look-alikes."""
    rng = np.random.default_rng(seed)
    alone = [p for p in pictures if p.edit in ("original", "sibling") and p.kind != "flat"]
    print("\nWith dedup.mirrored, distance 8:\n")
    print("| mirrored copies | " + " | ".join(STRONG) + " | wrong |")
    print("|---" * (len(STRONG) + 2) + "|")
    for name in ("", "jpeg", "resize", "brightness", "crop", "border"):
        rows, of = [measured(p.image, i) for i, p in enumerate(alone)], list(range(len(alone)))
        for i in [i for i, p in enumerate(alone) if p.edit == "original"]:
            copy = ImageOps.mirror(alone[i].image)
            rows.append(measured(EDITS[name](copy, rng) if name else copy, len(rows)))
            of.append(i)
        copies = find_copies(rows, DEFAULT, mirrored=True)
        right = {max(copy.row, copy.of) for copy in copies if of[copy.row] == of[copy.of]}
        made = range(len(alone), len(rows))
        cells = [_share([i in right for i in made if alone[of[i]].kind == kind]) for kind in STRONG]
        print(f"| {name or 'nothing else'} | {' | '.join(cells)} | {len(copies) - len(right)} |")


def print_word_pages(seed: int, count: int = 120) -> None:
    """Pages of one book: how many are taken for copies of another, and which copies are found."""
    rng = np.random.default_rng(seed)
    pages = [word_page(rng).reduce(2) for _ in range(count)]
    rows = [measured(page, i) for i, page in enumerate(pages)]
    dropped, reported = len(find_copies(rows, DEFAULT)), len(find_copies(rows, 10, lenient=True))
    print(f"\n{count} different pages of words in one layout: {dropped} dropped, {reported} reported.\n")
    print("| copies of them | found | wrong |")
    print("|---|---|---|")
    for edit, made in EDITS.items():
        both = rows + [measured(made(page, rng), count + i) for i, page in enumerate(pages)]
        copies = find_copies(both, DEFAULT)
        right = sum(copy.row % count == copy.of % count for copy in copies)
        print(f"| {edit} | {right / count:.3f} | {len(copies) - right} |")


def _share(hits: list[bool]) -> str:
    return f"{sum(hits) / max(1, len(hits)):.3f}"


def main(originals: int = 1200, seed: int = 20_261) -> None:
    """Print the tables."""
    pictures = list(corpus(originals, seed))
    print_tables(Measured(pictures), seed)
    print_changed(seed)
    print_relit(seed)
    print_crops(pictures[: len(pictures) // 4], seed)
    print_mirrored(pictures[: len(pictures) // 2], seed)
    print_word_pages(seed)


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]))
