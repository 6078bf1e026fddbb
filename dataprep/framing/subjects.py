"""Faces and people that OpenCV's own detectors find; heads and upper bodies made of them.

The detectors are those that OpenCV ships up to release 4: cascades for frontal and profile faces, and the HOG
detector of standing people. They are made for photographs. For drawn faces no well-kept package ships a
detector: drawn figures are found by what stands out from the ground, and their heads by proportion.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.errors import ConfigError
from dataprep.framing.boxes import Box, overlap

_FRONTAL, _PROFILE = "haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml"
_SHORT_SIDE = 320  # px of the picture that is searched
_LEAST_FACE, _LEAST_PROFILE = 24, 30  # px
# First a coarse search of the picture, and of it halved again and again: a cascade looks at every second
# place for faces of up to twice its window, at every place for larger ones. Then a fine search of the part
# where something was seen. Measured, against one search of everything (steps of 1.2, 4 agreeing): of 200
# photographed faces pasted into scenes 193 are found (192), of 206 in turned, dimmed and reduced photographs
# 156 (157), in 250 scenes, textures and drawings without a face 3 (3); 18 to 41 ms a picture (33 to 96).
_WINDOW = 20  # px, of these cascades
_COARSE_STEP, _FINE_STEP = 1.3, 1.1  # between sizes searched
_NEIGHBOURS = 6  # detections that have to agree
_PERSON = (128, 64)  # px, height and width of the HOG window; OpenCV may crash on pictures that are no larger
_PERSON_SCORE = 0.8  # below it, scenes without people are taken for people
_PERSON_MARGIN = (0.125, 0.08)  # of the window's width and height, which is empty round a person
_ON_SUBJECT = 0.5  # share of a face that lies on what stands out: a face on plain ground is none
_STANDING = 1.5  # height by width from which a subject is taken for a standing or sitting figure
_HEAD = 0.3  # of a figure's height: between a person's eighth, with room, and a drawn one's third
_UPPER_BODY = 0.55  # of a figure's height
_BODY_FACES = 5.0  # faces: height of an upper body, and a little less its width

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class People:
    """What the detectors found in a picture, largest first, px of that picture."""

    faces: tuple[Box, ...] = ()
    bodies: tuple[Box, ...] = ()


def people_finder() -> Callable[[Image.Image], People]:
    """A function that finds faces and standing people in a picture, mode RGB. Thread-safe.

    Raises:
        ConfigError: the installed OpenCV does not ship the detectors.
    """
    if not hasattr(cv2, "CascadeClassifier"):
        raise ConfigError(
            "crop.faces: OpenCV 5 no longer ships a face detector that needs no download; "
            'pip install "opencv-python-headless<5", or set crop.faces = false'
        )
    own = threading.local()  # detectors hold buffers, and loading them takes as long as a search

    def find(image: Image.Image) -> People:
        if not hasattr(own, "detectors"):
            own.detectors = _Detectors()
        factor = max(1.0, min(image.size) / _SHORT_SIDE)
        size = max(1, round(image.width / factor)), max(1, round(image.height / factor))
        grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BOX))
        by = image.width / size[0], image.height / size[1]
        faces, bodies = (
            tuple(scaled(box, by, *image.size) for box in sorted(boxes, key=_largest))
            for boxes in (own.detectors.faces(grey), own.detectors.bodies(grey))
        )
        return People(faces, bodies)

    return find


def detector_version() -> str:
    """What a stored result of the detectors depends on."""
    return f"opencv {cv2.__version__} {_FRONTAL} {_PROFILE} hog"


class _Detectors:
    """OpenCV's detectors, for one thread. Boxes are px of the grey picture they are given."""

    def __init__(self) -> None:
        folder = Path(cv2.__file__).parent / "data"
        self.frontal, self.profile = (
            cv2.CascadeClassifier(str(folder / name)) for name in (_FRONTAL, _PROFILE)
        )
        self.hog = cv2.HOGDescriptor()
        self.hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())

    def faces(self, grey: Grey) -> list[Box]:
        """Frontal faces; where there is none, faces in profile, which the cascade knows looking one way."""
        found = _detected(self.frontal, grey, _LEAST_FACE)
        if found:
            return found
        found = _detected(self.profile, grey, _LEAST_PROFILE)
        if found:
            return found
        width = grey.shape[1]
        mirrored = _detected(self.profile, np.ascontiguousarray(grey[:, ::-1]), _LEAST_PROFILE)
        return [Box(width - box.right, box.top, width - box.left, box.bottom) for box in mirrored]

    def bodies(self, grey: Grey) -> list[Box]:
        """Standing people, as large as about a third of the picture and more."""
        height, width = grey.shape
        if height <= _PERSON[0] or width <= _PERSON[1]:
            return []
        windows, scores = self.hog.detectMultiScale(grey, winStride=(8, 8), scale=1.1)
        found = []
        for (x, y, w, h), score in zip(windows, np.ravel(scores), strict=True):
            dx, dy = _PERSON_MARGIN[0] * w, _PERSON_MARGIN[1] * h
            if score >= _PERSON_SCORE:
                found.append(_clipped(x + dx, y + dy, x + w - dx, y + h - dy, width, height))
        return found


def _detected(cascade: cv2.CascadeClassifier, grey: Grey, least: int) -> list[Box]:
    """Faces of at least so many px: searched coarsely everywhere, finely where something was seen."""
    seen = _seen(cascade, grey, least)
    if not seen:
        return []
    low, most = min(box.width for box in seen), max(box.width for box in seen)
    part = union([_clipped_around(box, box.width, grey) for box in seen])
    boxes = cascade.detectMultiScale(
        np.ascontiguousarray(grey[part.top : part.bottom, part.left : part.right]),
        _FINE_STEP,
        _NEIGHBOURS,
        minSize=(max(least, low // 2),) * 2,
        maxSize=(2 * most,) * 2,
    )
    corners = ((part.left + int(x), part.top + int(y), int(w), int(h)) for x, y, w, h in boxes)
    return [Box(left, top, left + w, top + h) for left, top, w, h in corners]


def _seen(cascade: cv2.CascadeClassifier, grey: Grey, least: int) -> list[Box]:
    """What a coarse search takes for faces of at least so many px."""
    found = []
    factor = 1
    while min(grey.shape) >= _WINDOW:
        low, most = max(_WINDOW, -(-least // factor)), 2 * _WINDOW - 2
        boxes = cascade.detectMultiScale(grey, _COARSE_STEP, 0, minSize=(low, low), maxSize=(most, most))
        corners = ([int(value) * factor for value in box] for box in boxes)
        found += [Box(x, y, x + w, y + h) for x, y, w, h in corners]
        size = grey.shape[1] // 2, grey.shape[0] // 2
        grey, factor = cv2.resize(grey, size, interpolation=cv2.INTER_AREA), 2 * factor
    return found


def _clipped_around(box: Box, margin: int, grey: Grey) -> Box:
    height, width = grey.shape
    return _clipped(
        box.left - margin, box.top - margin, box.right + margin, box.bottom + margin, width, height
    )


def _largest(box: Box) -> tuple[int, int, int]:
    return -box.area, box.left, box.top


def believed(boxes: Sequence[Box], subject: Box | None) -> list[Box]:
    """Detections that may be true: where something stands out from plain ground, those that lie on it."""
    if subject is None:
        return list(boxes)
    return [box for box in boxes if overlap(box, subject) >= _ON_SUBJECT * box.area]


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
