from __future__ import annotations

import cv2
import pytest
from PIL import Image

from dataprep.boxes import Box
from dataprep.errors import ConfigError
from dataprep.subjects import face_finder, head_around, head_of_figure, scaled, union, upper_body

STANDING = Box(300, 100, 700, 1500)
HAS_CASCADES = hasattr(cv2, "CascadeClassifier")


@pytest.mark.skipif(HAS_CASCADES, reason="this OpenCV ships a face detector")
def test_without_a_face_detector_the_user_is_told_what_to_install() -> None:
    with pytest.raises(ConfigError, match="opencv-python-headless<5"):
        face_finder()


@pytest.mark.skipif(not HAS_CASCADES, reason="this OpenCV ships no face detector")
def test_a_picture_without_faces_has_none() -> None:
    assert face_finder()(Image.new("RGB", (200, 200), "grey")) == []


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
