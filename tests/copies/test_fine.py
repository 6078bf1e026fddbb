from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from benchmarks.corpus import changed_pairs
from benchmarks.dedup import measured
from dataprep.copies.duplicates import find_copies
from dataprep.copies.fine import CHANGED, SAME, SAME_CUT, UNLIKE, Fines, fine
from models.miniature.drawing import Drawing, signature_drawing
from models.miniature.world import render

FIRST, ONE = np.array([1]), np.array([False])


def drawn(seed: int = 3, **changes: object) -> Image.Image:
    drawing: Drawing = signature_drawing(np.random.default_rng(seed))
    return render(replace(drawing, background="forest", **changes), 320, 440)  # type: ignore[arg-type]


def seen(first: Image.Image, second: Image.Image, *, shifted: bool = False) -> int:
    texts = [fine(light, light) for light in (first.convert("L"), second.convert("L"))]
    return int(Fines(texts[:1]).compare(0, Fines(texts), FIRST, np.array([shifted]))[0])


def signed(image: Image.Image, at: tuple[float, float], fill: str = "white") -> Image.Image:
    """With a line of small letters at a place, shares of the sides."""
    marked = image.copy()
    place = round(at[0] * image.width), round(at[1] * image.height)
    ImageDraw.Draw(marked).text(place, "(c) someone, somewhere", fill=fill)
    return marked


def test_edits_of_the_whole_leave_a_picture_the_same() -> None:
    image = drawn(mouth="smile")
    for edited in (
        image,
        image.resize((160, 220), Image.Resampling.BICUBIC),
        image.convert("L").convert("RGB"),
        ImageEnhance.Brightness(image).enhance(1.3),
        ImageEnhance.Brightness(image).enhance(0.7),
        ImageEnhance.Contrast(image).enhance(1.4),
    ):
        assert seen(image, edited) == seen(edited, image) == SAME


@pytest.mark.parametrize("change", [{"mouth": "open mouth"}, {"mouth": "frown"}, {"eyes": "closed eyes"}])
def test_another_expression_is_a_change(change: dict[str, str]) -> None:
    image = drawn(mouth="smile", eyes="open")
    assert seen(image, drawn(**{"mouth": "smile", "eyes": "open", **change})) == CHANGED


def test_a_few_rows_cut_off_leave_it_the_same_but_not_with_another_expression() -> None:
    image, other = drawn(4, mouth="smile", eyes="open"), drawn(4, mouth="smile", eyes="closed eyes")
    box = (9, 12, 316, 436)
    assert seen(image, image.crop(box)) == SAME_CUT
    assert seen(image, other.crop(box)) == UNLIKE


def test_another_picture_is_unlike_or_changed() -> None:
    assert seen(drawn(3), drawn(8)) in (UNLIKE, CHANGED)


def test_a_line_of_letters_at_the_edge_is_a_mark_and_one_across_the_middle_is_not() -> None:
    image = drawn(mouth="smile")
    for light in (
        signed(image, (0.1, 0.85)),
        signed(image, (0.4, 0.05)),
        signed(image, (0.1, 0.05), "black"),
    ):
        texts = [fine(one.convert("L"), one.convert("L")) for one in (image, light)]
        assert Fines(texts).differ_by_mark(0, 1)
        assert seen(image, light) == SAME
    middle = signed(image, (0.1, 0.5))
    assert not Fines([fine(one.convert("L"), one.convert("L")) for one in (image, middle)]).differ_by_mark(
        0, 1
    )


def test_a_mirrored_picture_is_the_same_in_the_mirror() -> None:
    lights = [one.convert("L") for one in (drawn(), ImageOps.mirror(drawn()))]
    texts = [fine(light, light) for light in lights]
    assert Fines(texts[:1]).compare(0, Fines(texts, mirror=True), FIRST, ONE)[0] == SAME


def test_what_was_not_measured_is_not_known_and_what_has_borders_is_measured_twice() -> None:
    light = drawn().convert("L")
    inner = light.crop((20, 20, 300, 400))
    texts = [None, fine(light, inner), "", fine(inner, inner)]
    whole, trimmed = Fines(texts), Fines(texts, trimmed=True)
    assert whole.known.tolist() == [False, True, False, True]
    assert trimmed.compare(1, trimmed, np.array([3]), ONE)[0] == SAME
    assert whole.compare(1, whole, np.array([3]), ONE)[0] != SAME
    assert len(texts[3] or "") < 2400  # characters a row


def test_pictures_that_differ_in_one_attribute_are_reported_and_kept() -> None:
    merged, reported, pairs = 0, 0, 0
    for pair in changed_pairs(8, seed=5):
        rows = [measured(image, i) for i, image in enumerate((pair.first, pair.second))]
        pairs += 1
        merged += bool(find_copies(rows, 8))
        reported += bool(find_copies(rows, 10, lenient=True))
    assert pairs >= 30
    assert merged == 0
    assert reported >= pairs // 3


def test_a_copy_is_found_among_many_expressions_of_one_hash() -> None:
    sheet = [
        drawn(mouth=mouth, eyes=eyes)
        for mouth in ("smile", "frown", "open mouth")
        for eyes in ("open", "closed eyes", "one eye closed")
    ]
    copy = sheet[4].resize((200, 275), Image.Resampling.BICUBIC)
    rows = [measured(image, i) for i, image in enumerate([*sheet, copy])]
    assert [(found.row, found.of) for found in find_copies(rows, 8)] == [(9, 4)]


def test_a_watermark_on_a_plain_ground_makes_a_copy_no_larger() -> None:
    image = ImageOps.expand(drawn(mouth="smile"), (0, 0, 0, 90), "white")
    marked = signed(image, (0.3, 0.93), "grey")
    rows = [measured(one, i) for i, one in enumerate((marked, image))]
    assert rows[0]["trim_share"] > rows[1]["trim_share"] + 0.05
    (copy,) = find_copies(rows, 8)
    assert (copy.row, copy.of, copy.why) == (0, 1, "without a mark such as a watermark")


def test_brightened_copies_that_lost_colour_are_found() -> None:
    image = drawn(mouth="smile")
    rows = [measured(one, i) for i, one in enumerate((image, ImageEnhance.Brightness(image).enhance(1.3)))]
    assert len(find_copies(rows, 8)) == 1
