from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from dataprep.copies.hashing import texture
from dataprep.copies.likeness import TRIMMED, WHOLE, Thumbs, alike, are_marked, edges, thumb


def soft(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("seed", range(6))
def test_edits_leave_a_picture_alike(seed: int) -> None:
    image = soft(seed)
    for edited in (
        image.resize((40, 33)),
        image.convert("L").convert("RGB"),
        ImageEnhance.Brightness(image).enhance(0.75),
        ImageEnhance.Contrast(image).enhance(1.3),
        image.crop((2, 2, 94, 77)),
    ):
        assert alike(thumb(image), thumb(edited))


@pytest.mark.parametrize("seed", range(6))
def test_other_pictures_and_other_colours_are_not_alike(seed: int) -> None:
    image = soft(seed)
    red, green, blue = image.split()
    assert not alike(thumb(image), thumb(soft(seed + 100)))
    assert not alike(thumb(image), thumb(Image.merge("RGB", (blue, red, green))))


def test_plain_walls_are_alike_only_in_the_same_colour() -> None:
    wall = thumb(Image.new("RGB", (50, 50), (120, 90, 60)))
    assert alike(wall, thumb(Image.new("RGB", (80, 40), (123, 92, 58))))
    assert not alike(wall, thumb(Image.new("RGB", (50, 50), (60, 90, 120))))
    assert not alike(wall, thumb(Image.new("RGB", (50, 50), (180, 150, 120))))


def test_the_thumb_of_the_mirrored_picture_needs_no_picture() -> None:
    image = soft(1)
    flipped = Thumbs([thumb(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))])
    assert np.array_equal(Thumbs([thumb(image)], mirror=True).values, flipped.values)


def test_one_picture_against_many_is_each_pair_by_itself() -> None:
    pictures = [soft(seed) for seed in range(5)]
    pictures += [ImageEnhance.Brightness(picture).enhance(0.8) for picture in pictures]
    pictures += [picture.convert("L").convert("RGB") for picture in pictures[:5]]
    pictures += [Image.new("RGB", (9, 9), colour) for colour in ("red", (250, 4, 3), "blue", "grey")]
    texts = [thumb(picture) for picture in pictures]
    thumbs = Thumbs(texts)
    for i, text in enumerate(texts):
        found = thumbs.alike(i, thumbs, np.arange(len(texts)), WHOLE)
        assert found.tolist() == [alike(text, other) for other in texts]


def test_trimmed_pictures_have_to_be_more_alike_than_whole_ones() -> None:
    image = soft(2)
    mixed = thumb(Image.blend(image, soft(52), 0.3))
    assert alike(thumb(image), mixed, WHOLE)
    assert not alike(thumb(image), mixed, TRIMMED)
    assert alike(thumb(image), thumb(image.resize((48, 40))), TRIMMED)


def test_a_mark_is_told_from_a_copy_that_is_sharper_all_over() -> None:
    image = soft(3).resize((256, 256), Image.Resampling.BICUBIC)
    marked = image.copy()
    for x in range(20, 100, 6):
        marked.paste((255, 255, 255), (x, 210, x + 3, 230))
    noise = np.random.default_rng(0).integers(-6, 7, (256, 256, 3))
    sharper = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    plain, *others = (edges(texture(one.convert("L"))) for one in (image, marked, sharper, image))
    assert are_marked(others, plain).tolist() == [True, False, False]
    assert are_marked([], plain).tolist() == []


def test_a_part_in_another_colour_is_told_from_a_copy_in_other_light() -> None:
    image = soft(4)
    dyed = image.copy()
    dyed.paste((30, 60, 220), (24, 20, 60, 60))
    copies = [ImageEnhance.Brightness(image).enhance(0.8), ImageEnhance.Contrast(image).enhance(1.2)]
    copies += [image.resize((48, 40)), image.convert("L").convert("RGB")]
    thumbs = Thumbs([thumb(one) for one in (image, dyed, *copies)])
    assert thumbs.recoloured(0, thumbs, np.arange(6)).tolist() == [False, True, False, False, False, False]
