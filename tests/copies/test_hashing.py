from __future__ import annotations

import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from dataprep.copies import hashing


def pictures() -> list[Image.Image]:
    """Noise, flat, gradients and soft pictures of many sizes."""
    random = np.random.default_rng(3)
    made = []
    for i in range(120):
        width, height = (int(n) for n in random.integers(8, 150, 2))
        if i % 4 == 0:
            array = random.integers(0, 256, (height, width, 3), np.uint8)
        elif i % 4 == 1:
            array = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
        elif i % 4 == 2:
            array = np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, 1, 3))
        else:
            array = random.integers(0, 256, (5, 6, 3), np.uint8)
        image = Image.fromarray(array)
        made.append(image.resize((width, height), Image.Resampling.BICUBIC) if i % 4 == 3 else image)
    return made


def test_phash_equals_imagehash_bit_for_bit() -> None:
    for image in pictures():
        assert hashing.phash(image) == str(imagehash.phash(image))


def test_a_stack_of_thumbnails_gives_the_hashes_of_each() -> None:
    greys = np.stack([hashing.grey_thumbnail(image) for image in pictures()[:12]])
    bits = hashing.phash_bits(greys)
    assert [hashing.hex_of(b) for b in bits] == [hashing.phash(image) for image in pictures()[:12]]


def test_numbers_keep_the_distance_of_the_hashes() -> None:
    a, b = (imagehash.phash(pictures()[i]) for i in (3, 7))
    numbers = hashing.numbers_of([str(a), str(b)])
    assert int(np.bitwise_count(numbers[0] ^ numbers[1])) == a - b


def framed(colour: str, margins: tuple[int, int, int, int]) -> Image.Image:
    """A soft picture of 120x90 px in a border of left, top, right, bottom px."""
    left, top, right, bottom = margins
    canvas = Image.new("RGB", (120 + left + right, 90 + top + bottom), colour)
    canvas.paste(pictures()[3].resize((120, 90), Image.Resampling.BICUBIC), (left, top))
    return canvas


@pytest.mark.parametrize("colour", ["black", "white", "#203040"])
def test_uniform_borders_are_trimmed(colour: str) -> None:
    assert hashing.trimmed(framed(colour, (10, 0, 14, 20))).size == pytest.approx((120, 90), abs=6)


@pytest.mark.parametrize(
    ("ground", "thing"), [((255, 255, 255), (255, 255, 90)), ((40, 90, 220), (150, 74, 30))]
)
def test_a_thing_of_the_grounds_grey_is_no_border(
    ground: tuple[int, int, int], thing: tuple[int, int, int]
) -> None:
    picture = Image.new("RGB", (200, 150), ground)
    picture.paste((10, 10, 10), (90, 30, 130, 120))
    picture.paste((200, 30, 30), (90, 60, 130, 90))
    alone = hashing.trimmed(picture).width
    fringed = picture.copy()  # as JPEG does to the colour of a border's last lines
    fringed.paste(thing, (88, 30, 90, 120))
    assert hashing.trimmed(fringed).width == alone
    picture.paste(thing, (20, 40, 60, 100))
    assert hashing.trimmed(picture).width == alone + 70


@pytest.mark.parametrize("border", ["pink", "black"])
def test_a_plain_ground_within_a_border_is_trimmed_too_in_a_reduced_copy(border: str) -> None:
    picture = Image.new("RGB", (300, 240), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((90, 40, 210, 200), fill="black")
    draw.rectangle((130, 80, 170, 190), fill="red")
    framed_copy = ImageOps.expand(picture, 24, border).resize((174, 144), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    framed_copy.save(file, "JPEG", quality=75)
    copy = hashing.trimmed(Image.open(file).convert("RGB"))
    alone = hashing.trimmed(picture)
    assert copy.size == pytest.approx((alone.width / 2, alone.height / 2), abs=3)


def test_without_borders_nothing_is_trimmed() -> None:
    image = framed("black", (0, 0, 0, 0))
    assert hashing.trimmed(image) is image


def test_a_small_figure_on_a_plain_ground_is_not_trimmed_to_the_figure() -> None:
    image = Image.new("RGB", (100, 100), "white")
    ImageDraw.Draw(image).ellipse((45, 45, 55, 55), fill="red")
    assert hashing.trimmed(image) is image


def test_a_flat_picture_is_left_whole_and_has_no_detail() -> None:
    image = Image.new("RGB", (50, 50), "white")
    assert hashing.trimmed(image) is image
    assert hashing.detail(hashing.grey_thumbnail(image)) == 0
    assert hashing.sharpness(image) == 0


def test_blur_lowers_sharpness() -> None:
    image = pictures()[0].resize((64, 64))
    assert hashing.sharpness(image) > 4 * hashing.sharpness(image.resize((16, 16)).resize((64, 64)))


def test_sharpness_of_the_thinnest_pictures_is_defined() -> None:
    assert hashing.sharpness(Image.new("RGB", (1, 9))) == 0


@pytest.mark.parametrize("kind", ["phash", "dhash", "whash"])
def test_every_hash_equals_that_of_imagehash(kind: hashing.Hash) -> None:
    for seed in range(4):
        coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8))
        image = coarse.resize((301, 200), Image.Resampling.BICUBIC)
        assert hashing.hex_of(hashing.bits_of(image, kind)) == str(getattr(imagehash, kind)(image))


def test_texture_is_that_of_the_laplacian_taken_whole() -> None:
    rng = np.random.default_rng(9)
    for size in ((65, 90), (300, 257), (11, 400)):
        values = np.asarray(Image.fromarray(rng.integers(0, 256, size, np.uint8)).reduce(1)).astype(np.int64)
        middle = 4 * values[1:-1, 1:-1]
        found = middle - values[:-2, 1:-1] - values[2:, 1:-1] - values[1:-1, :-2] - values[1:-1, 2:]
        texture = hashing.texture(Image.fromarray(values.astype(np.uint8)))
        assert texture.sharpness == pytest.approx(found.var(), rel=1e-6)
        cell = np.minimum(np.abs(found), 255)[: found.shape[0] // 8, : found.shape[1] // 8]
        assert texture.busy[0, 0] == pytest.approx(cell.mean())
        assert texture.busy.shape == (8, 8)


def test_pixels_are_the_same_with_and_without_a_copy() -> None:
    image = pictures()[0].convert("L")
    assert np.array_equal(hashing.pixels_of(image), np.asarray(image))
    wide = Image.new("L", (2**12, 2**10 + 1), 7)
    assert hashing.pixels_of(wide).shape == (2**10 + 1, 2**12)
