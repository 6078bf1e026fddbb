from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from benchmarks.corpus import MAKERS, word_page
from dataprep.copies.likeness import alike, thumb
from dataprep.pictures.pixels import PixelPolicy, load_rgb, load_small
from dataprep.stage import Context
from dataprep.stages.fingerprint import Fingerprint

Rows = Callable[[list[dict[str, Any]]], pa.Table]


def test_the_hash_of_a_small_picture_is_that_of_imagehash(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    row = placed_row("a.png", (150, 120))
    (found,) = Fingerprint().open(context)(as_table([row])).to_pylist()
    assert found["phash"] == found["trim_phash"] == str(imagehash.phash(Image.open(context.raw / "a.png")))
    assert found["error"] is None
    assert found["detail"] > 0


def test_large_jpegs_are_hashed_from_a_reduced_decode_within_two_bits(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    random = np.random.default_rng(5)
    rows = []
    for i in range(4):
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
        image = coarse.resize((1600, 1200), Image.Resampling.BICUBIC)
        rows.append(placed_row(f"{'x' * i}a.jpg"))
        image.save(context.raw / rows[-1]["path"])
    result = Fingerprint().open(context)(as_table(rows)).to_pylist()
    for row, found in zip(rows, result, strict=True):
        full = imagehash.phash(Image.open(context.raw / row["path"]))
        assert imagehash.hex_to_hash(found["phash"]) - full <= 2


@pytest.mark.parametrize(("kind", "most"), [("photo", 4), ("drawing", 4), ("page", 8), ("flat", 64)])
def test_the_reduced_decode_changes_few_bits_and_never_the_second_measure(
    tmp_path: Path, kind: str, most: int
) -> None:
    rng = np.random.default_rng(3)
    for i in range(3):
        image, _ = MAKERS[kind](rng)
        path = tmp_path / f"{i}.jpg"
        image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST).save(path, quality=90)
        full, small = load_rgb(path, PixelPolicy()), load_small(path, PixelPolicy(), 256)
        # The hash of one shade is noise, so flat pictures may differ in any number of bits.
        assert imagehash.phash(full) - imagehash.phash(small) <= most
        assert alike(thumb(full), thumb(small))


def test_borders_are_ignored_by_the_second_hash(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    plain, bordered = placed_row("a.png"), placed_row("bb.png")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8))
    image = image.resize((200, 160), Image.Resampling.BICUBIC)
    image.save(context.raw / "a.png")
    canvas = Image.new("RGB", (200, 260), "black")
    canvas.paste(image, (0, 50))
    canvas.save(context.raw / "bb.png")
    a, b = Fingerprint().open(context)(as_table([plain, bordered])).to_pylist()
    distances = {
        name: imagehash.hex_to_hash(a[name]) - imagehash.hex_to_hash(b[name])
        for name in ("phash", "trim_phash")
    }
    assert distances["trim_phash"] <= 4 < distances["phash"]


def test_a_damaged_picture_is_an_error_of_its_row_only(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    good, bad = placed_row("a.png"), placed_row("bb.png")
    (context.raw / "bb.png").write_bytes((context.raw / "bb.png").read_bytes()[:400])
    result = Fingerprint().open(replace(context))(as_table([good, bad])).to_pylist()
    assert result[0]["error"] is None
    assert result[1]["error"].startswith("decode: ")
    assert result[1]["phash"] is None


def test_only_pages_are_measured_as_pages_and_mirrored_hashes_are_those_of_mirrored_pictures(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    rng = np.random.default_rng(1)
    made = {"photo": MAKERS["photo"](rng)[0], "page": word_page(rng).reduce(2)}
    made["framed"] = ImageOps.expand(made["photo"], (0, 40, 0, 40), "black")
    rows = []
    for name, image in made.items():
        rows += [placed_row(f"{name}.png"), placed_row(f"{name} flipped.png")]
        image.save(context.raw / rows[-2]["path"])
        ImageOps.mirror(image).save(context.raw / rows[-1]["path"])
    found = Fingerprint().open(context)(as_table(rows)).to_pylist()
    assert [row["page"] is not None for row in found] == [False, False, True, True, False, False]
    for plain, flipped in zip(found[::2], found[1::2], strict=True):
        assert plain["mirror_phash"] == flipped["phash"]
        assert plain["mirror_trim_phash"] == flipped["trim_phash"]
    assert found[4]["mirror_trim_phash"] != found[4]["mirror_phash"]
