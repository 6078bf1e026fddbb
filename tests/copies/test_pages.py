from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from benchmarks.corpus import word_page
from dataprep.copies.pages import PERHAPS_SAME_PAGE, SAME_PAGE, Pages, page


def book(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(11)
    return [word_page(rng).reduce(2).convert("L") for _ in range(count)]


def measured(images: list[Image.Image]) -> Pages:
    return Pages([page(image, image) for image in images])


BOOK = book(12)


@pytest.mark.parametrize(
    "edit",
    [
        lambda image: image.resize((150, 212), Image.Resampling.BICUBIC),
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: ImageEnhance.Contrast(image).enhance(0.7),
        lambda image: image.quantize(4).convert("L"),
    ],
)
def test_a_copy_is_the_same_page_and_no_other_is(edit: object) -> None:
    assert callable(edit)
    pages, copies = measured(BOOK), measured([edit(image) for image in BOOK])
    for i in range(len(BOOK)):
        found = copies.same(i, pages, np.arange(len(BOOK)))
        assert np.flatnonzero(found).tolist() == [i]


def test_a_cut_off_margin_is_forgiven_without_borders() -> None:
    cut = [image.crop((9, 12, image.width - 4, image.height - 7)) for image in BOOK]
    texts = [page(image, ImageOps.crop(image, 25)) for image in BOOK]
    others = [page(image, image.crop((16, 13, image.width - 21, image.height - 18))) for image in cut]
    pages, copies = Pages(texts, trimmed=True), Pages(others, trimmed=True)
    assert [bool(copies.same(i, pages, np.array([i]))[0]) for i in range(len(BOOK))] == [True] * len(BOOK)


def test_a_watermark_is_forgiven_and_another_half_of_a_page_is_not() -> None:
    first, second = BOOK[:2]
    marked, mixed = first.copy(), first.copy()
    ImageDraw.Draw(marked).rectangle((60, 380, 140, 400), fill=128)
    mixed.paste(second.crop((0, 0, 310, 210)), (0, 0))
    pages = measured([first, marked, mixed])
    assert pages.same(0, pages, np.array([1, 2])).tolist() == [True, False]
    assert pages.same(0, pages, np.array([1, 2]), PERHAPS_SAME_PAGE).tolist() == [True, True]


def test_blank_parts_do_not_count() -> None:
    half, other = (Image.new("L", image.size, 255) for image in BOOK[:2])
    half.paste(BOOK[0].crop((0, 0, 310, 200)))
    other.paste(BOOK[1].crop((0, 0, 310, 200)))
    pages = measured([half, half.resize((200, 283)), other, Image.new("L", (310, 438), 255)])
    assert pages.same(0, pages, np.arange(4)).tolist() == [True, True, False, False]


def test_the_mirrored_page_needs_no_picture() -> None:
    flipped = measured([ImageOps.mirror(image) for image in BOOK])
    mirrored = Pages([page(image, image) for image in BOOK], mirror=True)
    assert all(flipped.same(i, mirrored, np.array([i]), SAME_PAGE)[0] for i in range(len(BOOK)))


def test_what_is_no_page_takes_no_room_and_has_no_sketch() -> None:
    pages = Pages([None, page(BOOK[0], BOOK[0]), ""])
    assert pages.known.tolist() == [False, True, False]
    assert (pages.sketches != 0).tolist() == [False, True, False]


def test_sketches_of_copies_have_most_in_common() -> None:
    both = measured([*BOOK, *(ImageEnhance.Brightness(image).enhance(0.8) for image in BOOK)])
    apart = np.bitwise_count(both.sketches[:, None] ^ both.sketches[None, :12])
    assert (apart[12:].argmin(axis=1) == np.arange(12)).all()
