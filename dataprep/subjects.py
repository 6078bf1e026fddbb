"""Heads and upper bodies: from a face that a detector found, else from the proportions of a standing figure.

The detector is OpenCV's own frontal and profile cascades, which its releases before 5 ship. They are made for
photographs: of drawn faces they find few, so a drawn figure's head is estimated from its outline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from dataprep.boxes import Box
from dataprep.errors import ConfigError

Faces = Callable[[Image.Image], list[Box]]

_CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml")
_LEAST_FACE = 0.08  # of the short side
_NEIGHBOURS = 4  # detections that have to agree: fewer find faces in foliage
_STANDING = 1.5  # height by width from which a subject is taken for a standing or sitting figure
_HEAD = 0.3  # of a figure's height: between a person's eighth, with room, and a drawn one's third
_UPPER_BODY = 0.55  # of a figure's height
_BODY_FACES = 5.0  # faces: height of an upper body, and a little less its width


def face_finder() -> Faces:
    """A function that finds the faces in a picture, largest first, boxes in px of that picture.

    Raises:
        ConfigError: the installed OpenCV does not ship the cascades.
    """
    classifier: Any = getattr(cv2, "CascadeClassifier", None)
    if classifier is None:
        raise ConfigError(
            "crop.faces: OpenCV 5 no longer ships a face detector that needs no download; "
            'pip install "opencv-python-headless<5", or set crop.faces = false'
        )

    folder = Path(cv2.__file__).parent / "data"

    def find(image: Image.Image) -> list[Box]:
        grey = np.asarray(image.convert("L"))
        least = max(20, round(_LEAST_FACE * min(grey.shape)))
        found: list[Box] = []
        for name in _CASCADES:  # a classifier holds buffers, so every call has its own
            cascade = classifier(str(folder / name))
            boxes = cascade.detectMultiScale(grey, 1.1, _NEIGHBOURS, minSize=(least, least))
            found += [Box(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h in boxes]
        return sorted(found, key=lambda box: (-box.area, box.left, box.top))

    return find


def head_around(face: Box, width: int, height: int) -> Box:
    """The head with its hair that a face belongs to, within a picture of this size, px."""
    middle = (face.left + face.right) / 2
    left, right = middle - face.width, middle + face.width
    return _clipped(left, face.top - 0.7 * face.height, right, face.bottom + 0.4 * face.height, width, height)


def head_of_figure(subject: Box, width: int, height: int) -> Box | None:
    """The head of a standing figure by proportion; None if the subject is not so tall."""
    if subject.height < _STANDING * subject.width:
        return None
    side = _HEAD * subject.height
    middle = (subject.left + subject.right) / 2
    return _clipped(middle - side / 2, subject.top, middle + side / 2, subject.top + side, width, height)


def upper_body(head: Box, subject: Box | None, width: int, height: int) -> Box | None:
    """Head, shoulders and chest; None if that would be most of the picture anyway.

    Args:
        head: of the person, px.
        subject: the whole person where it is known.
        width: of the picture, px.
        height: of the picture, px.
    """
    tall = subject is not None and subject.height >= _STANDING * subject.width
    reach = _UPPER_BODY * subject.height if subject is not None and tall else _BODY_FACES * head.height / 2.1
    middle = (head.left + head.right) / 2
    half = max(head.width, 0.4 * reach)
    box = _clipped(middle - half, head.top, middle + half, head.top + reach, width, height)
    return box if box.height < 0.8 * height else None


def union(boxes: Sequence[Box]) -> Box:
    """The least box that contains all of at least one."""
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


def scaled(box: Box, by: tuple[float, float], width: int, height: int) -> Box:
    """A box of a reduced picture in px of the original."""
    return _clipped(box.left * by[0], box.top * by[1], box.right * by[0], box.bottom * by[1], width, height)


def _clipped(left: float, top: float, right: float, bottom: float, width: int, height: int) -> Box:
    x, y = min(max(0, round(left)), width - 1), min(max(0, round(top)), height - 1)
    return Box(x, y, max(x + 1, min(width, round(right))), max(y + 1, min(height, round(bottom))))
