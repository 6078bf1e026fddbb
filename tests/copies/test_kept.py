from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.corpus import word_page
from benchmarks.dedup import measured
from dataprep.copies.duplicates import find_copies
from dataprep.copies.kept import MOST_COMPARED
from dataprep.copies.likeness import Thumbs

ONE_HASH = {name: "9f0b33c45a6de871" for name in ("phash", "trim_phash", "mirror_phash", "mirror_trim_phash")}


def patterned(number: int, thumb: str) -> dict[str, Any]:
    """A picture that has its hash in common with every other one."""
    row = dict.fromkeys(("hand_state", "raw_caption", "page", "edges", "fine"))
    sizes = {"width": 100, "height": 100, "bytes": 1000, "trim_share": 1.0}
    return row | ONE_HASH | sizes | {
        "path": f"{number:05d}.png",
        "format": "png",
        "thumb": thumb,
        "trim_thumb": thumb,
    }  # fmt: skip


@pytest.mark.parametrize("mirrored", [False, True])
def test_many_different_pictures_of_one_hash_are_not_all_compared_with_all(
    monkeypatch: pytest.MonkeyPatch, mirrored: bool
) -> None:
    rng = np.random.default_rng(0)
    texts = [base64.b64encode(rng.bytes(192)).decode() for _ in range(900)]
    rows = [patterned(i, text) for i, text in enumerate([*texts, *texts[::9]])]
    compared = []
    alike = Thumbs.alike

    def counted(self: Thumbs, i: int, others: Thumbs, at: Any, limits: Any) -> Any:
        compared.append(len(at))
        return alike(self, i, others, at, limits)

    monkeypatch.setattr(Thumbs, "alike", counted)
    copies = find_copies(rows, 8, mirrored=mirrored)
    assert {(copy.row, copy.of) for copy in copies} == {(900 + k, 9 * k) for k in range(100)}
    assert max(compared) == MOST_COMPARED
    views = 4 if mirrored else 2
    assert sum(compared) <= views * (MOST_COMPARED + 1) * len(rows)


def test_copies_of_one_picture_are_compared_with_the_kept_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    text = base64.b64encode(np.random.default_rng(1).bytes(192)).decode()
    rows = [patterned(i, text) for i in range(500)]
    compared = []
    alike = Thumbs.alike

    def counted(self: Thumbs, i: int, others: Thumbs, at: Any, limits: Any) -> Any:
        compared.append(len(at))
        return alike(self, i, others, at, limits)

    monkeypatch.setattr(Thumbs, "alike", counted)
    assert len(find_copies(rows, 8)) == 499
    assert sum(compared) <= 2 * len(rows)


def test_one_figure_in_other_clothes_on_one_plain_ground_is_another_picture() -> None:
    rng = np.random.default_rng(2)
    whole, first, second = (base64.b64encode(rng.bytes(192)).decode() for _ in range(3))
    ground = {"trim_share": 0.4}  # most of the thumb of the whole picture is ground
    rows = [
        patterned(i, whole) | ground | {"trim_thumb": inner} for i, inner in enumerate((first, second, first))
    ]
    assert [(copy.row, copy.of) for copy in find_copies(rows, 8)] == [(2, 0)]
    rows[1]["trim_share"] = 0.5  # framed otherwise, the two cannot be compared within
    assert [(copy.row, copy.of) for copy in find_copies(rows, 8)] == [(0, 1), (2, 1)]


@pytest.mark.parametrize("bordered", [False, True])
def test_mirrored_pages_and_bordered_ones_are_found_when_asked(bordered: bool) -> None:
    rng = np.random.default_rng(5)
    pages = [word_page(rng).reduce(2) for _ in range(8)]
    flipped = pages[3].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if bordered:
        canvas = Image.new("RGB", (flipped.width, flipped.height + 120), "black")
        canvas.paste(flipped, (0, 60))
        flipped = canvas
    rows = [measured(image, i) for i, image in enumerate([*pages, flipped])]
    assert find_copies(rows, 8) == []
    (copy,) = find_copies(rows, 8, mirrored=True)
    assert {copy.row, copy.of} == {3, 8}
