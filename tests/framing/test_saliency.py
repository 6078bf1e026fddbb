from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dataprep.framing.saliency import find_focus


def figure(width: int, height: int, box: tuple[int, int, int, int], ground: str = "#d0e0f0") -> Image.Image:
    """A dark red figure on a plain ground."""
    image = Image.new("RGB", (width, height), ground)
    ImageDraw.Draw(image).ellipse(box, fill="#802010")
    return image


@pytest.mark.parametrize("box", [(20, 30, 120, 160), (250, 60, 350, 190), (150, 100, 260, 199)])
def test_the_subject_is_found_where_it_is(box: tuple[int, int, int, int]) -> None:
    found = find_focus(figure(400, 200, box), 400, 200).subject
    assert found is not None
    for side, expected in zip((found.left, found.top, found.right, found.bottom), box, strict=True):
        assert side == pytest.approx(expected, abs=20)


def test_the_result_is_in_px_of_the_original() -> None:
    box = (100, 40, 240, 160)
    small = find_focus(figure(400, 200, box), 400, 200).subject
    large = find_focus(figure(400, 200, box), 4000, 2000).subject
    assert small is not None
    assert large is not None
    assert large.left == pytest.approx(10 * small.left, abs=20)


def test_a_ground_of_several_colours_is_still_ground() -> None:
    image = Image.new("RGB", (300, 300), "#90c0ff")
    image.paste("#40a040", (0, 90, 300, 300))
    ImageDraw.Draw(image).rectangle((180, 60, 260, 299), fill="#d02080")
    found = find_focus(image, 300, 300).subject
    assert found is not None
    assert found.left == pytest.approx(180, abs=14)
    assert found.top == pytest.approx(60, abs=14)
    assert found.bottom >= 290


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_stands_out_there_is_no_subject(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (120, 200, 3), np.uint8)
    for image in (Image.new("RGB", (200, 120), "gray"), Image.fromarray(noise)):
        focus = find_focus(image, 200, 120)
        assert focus.subject is None
        assert (focus.x, focus.y) == pytest.approx((0.5, 0.5), abs=0.1)


def test_a_tall_subject_is_shown_from_its_top() -> None:
    focus = find_focus(figure(200, 600, (40, 100, 160, 590)), 200, 600)
    assert focus.y < 0.35


@pytest.mark.parametrize("size", [(8, 8), (1, 300), (300, 1), (97, 3)])
def test_the_strangest_shapes_have_a_focus(size: tuple[int, int]) -> None:
    focus = find_focus(Image.new("RGB", size, "red"), *size)
    assert 0 <= focus.x <= 1
    assert 0 <= focus.y <= 1


def gradient(width: int, height: int, *, across: bool) -> Image.Image:
    share = np.linspace(0, 1, width if across else height)[:, None]
    line = np.array([70, 110, 200]) + share * np.array([120, 90, -60])
    rows = np.broadcast_to(line[None] if across else line[:, None], (height, width, 3))
    return Image.fromarray(rows.astype(np.uint8))


@pytest.mark.parametrize("across", [False, True])
def test_a_gradient_is_ground(across: bool) -> None:
    assert find_focus(gradient(300, 200, across=across), 300, 200).subject is None


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_figure_cut_by_an_edge_is_found_on_a_gradient(across: bool, mirrored: bool) -> None:
    image = gradient(600, 350, across=across)
    ImageDraw.Draw(image).rectangle((-40, 60, 90, 330), fill="#902010")
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    found = find_focus(image, 600, 350).subject
    assert found is not None
    inner = (600 - found.left, 600 - found.right)[::-1] if mirrored else (found.left, found.right)
    assert inner == (pytest.approx(0, abs=10), pytest.approx(90, abs=25))
    assert found.top == pytest.approx(60, abs=30)
    assert found.bottom >= 325
