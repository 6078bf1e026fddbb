from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest
from PIL import Image, ImageDraw

from benchmarks.corpus import corpus
from dataprep.errors import ConfigError
from dataprep.framing.boxes import Box
from dataprep.framing.subjects import (
    People,
    believed,
    head_around,
    head_of_figure,
    people_finder,
    scaled,
    union,
    upper_body,
)

STANDING = Box(300, 100, 700, 1500)


def test_without_the_detectors_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    with pytest.raises(ConfigError, match="opencv-python-headless<5"):
        people_finder()


@pytest.mark.parametrize("face", [60, 110, 200])
def test_a_face_as_in_a_photograph_is_found_where_it_is(
    portrait: Callable[..., Image.Image], face: int
) -> None:
    found = people_finder()(portrait((640, 480), (450, 180), face)).faces
    assert len(found) == 1
    assert abs((found[0].left + found[0].right) / 2 - 450) < 0.2 * face
    assert abs((found[0].top + found[0].bottom) / 2 - 180) < 0.3 * face
    assert 0.8 * face < found[0].width < 1.5 * face


@pytest.mark.parametrize("face", [45, 70, 130, 250])
@pytest.mark.parametrize("place", ["left", "right", "middle"])
def test_a_face_is_found_at_every_size_and_near_every_edge(
    portrait: Callable[..., Image.Image], face: int, place: str
) -> None:
    x = {"left": 0.7 * face, "right": 640 - 0.7 * face, "middle": 320}[place]
    y = {"left": 0.9 * face, "right": 480 - 0.7 * face, "middle": 240}[place]
    faces = people_finder()(portrait((640, 480), (x, y), face)).faces
    assert faces
    assert abs((faces[0].left + faces[0].right) / 2 - x) < 0.25 * face
    assert 0.8 * face < faces[0].width < 1.5 * face


def test_two_faces_of_different_sizes_are_both_found(portrait: Callable[..., Image.Image]) -> None:
    image = portrait((900, 420), (220, 180), 180)
    image.paste(portrait((300, 420), (150, 120), 60), (600, 0))
    large, small = people_finder()(image).faces
    assert abs((large.left + large.right) / 2 - 220) < 40
    assert abs((small.left + small.right) / 2 - 750) < 20


def test_a_standing_person_is_found() -> None:
    image = Image.new("RGB", (400, 400), "#b8bcc0")
    pen = ImageDraw.Draw(image)
    for box in ((178, 100, 208, 140), (160, 138, 226, 235), (164, 225, 190, 345), (196, 225, 222, 345)):
        pen.rounded_rectangle(box, 14, fill="#30323a")
    (body,) = people_finder()(image).bodies
    assert 110 < body.left < 170
    assert 215 < body.right < 275
    assert body.top < 125
    assert body.bottom > 320


@pytest.mark.slow
def test_pictures_without_people_have_none_at_any_size() -> None:
    find = people_finder()
    for size in ((1, 1), (64, 128), (65, 129), (20, 900), (300, 300)):
        assert find(Image.new("RGB", size, "grey")) == People()
    pages = [picture.image for picture in corpus(40, 5) if picture.kind == "page"][:5]
    assert len(pages) == 5
    assert [find(page) for page in pages] == [People()] * 5


def test_threads_change_nothing(portrait: Callable[..., Image.Image]) -> None:
    images = [portrait((300 + 10 * i, 300), (150, 120), 90) for i in range(6)]
    find = people_finder()
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(find, images)) == [find(image) for image in images]


def test_a_face_on_plain_ground_beside_what_stands_out_is_not_believed() -> None:
    on, beside = Box(320, 120, 420, 220), Box(800, 100, 900, 200)
    assert believed([on, beside], STANDING) == [on]
    assert believed([on, beside], None) == [on, beside]


def test_a_head_is_wider_and_taller_than_its_face_and_within_the_picture() -> None:
    face = Box(400, 30, 500, 130)
    assert head_around(face, 1000, 1600) == Box(350, 0, 550, 170)


def test_only_a_standing_figure_has_a_head_by_proportion() -> None:
    head = head_of_figure(STANDING, 1000, 1600)
    assert head == Box(290, 100, 710, 520)
    assert head_of_figure(Box(0, 0, 800, 400), 1000, 1600) is None


def test_an_upper_body_reaches_from_the_head_to_the_waist() -> None:
    head = Box(400, 100, 600, 400)
    body = upper_body(head, STANDING, 1000, 1600)
    assert body is not None
    assert (body.top, body.bottom) == (100, 870)
    assert body.left < head.left
    assert body.right > head.right


def test_a_portrait_has_no_upper_body_of_its_own() -> None:
    assert upper_body(Box(100, 50, 500, 550), None, 600, 800) is None


def test_boxes_are_joined_and_scaled() -> None:
    assert union([Box(1, 2, 3, 4), Box(0, 3, 2, 9)]) == Box(0, 2, 3, 9)
    assert scaled(Box(1, 2, 3, 4), (10.0, 100.0), 25, 350) == Box(10, 200, 25, 350)
