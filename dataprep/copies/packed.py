"""Grids that are stored as text in a column, whole and without borders, and unpacked as far as needed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def as_text(pack: Callable[[Image.Image], bytes], light: Image.Image, inner: Image.Image) -> str:
    """A picture's grid as text, and behind it that of the picture without its borders, where it has any.

    Args:
        pack: makes a grid of fixed length.
        light: the picture, mode L.
        inner: the same without uniform borders; `light` itself if it has none.
    """
    return base64.b64encode(pack(light) + (b"" if inner is light else pack(inner))).decode("ascii")


class PackedGrids:
    """The grids of N pictures.

    Args:
        texts: of each picture, what `as_text` gave; None or "" where it was not measured.
        trimmed: whether the pictures without their borders are meant.
        mirror: whether the mirrored pictures are meant.
    """

    SIZE: ClassVar[int]  # bytes of one grid

    def __init__(self, texts: Sequence[str | None], *, trimmed: bool = False, mirror: bool = False) -> None:
        cut = slice(-self.SIZE, None) if trimmed else slice(self.SIZE)
        self.known: NDArray[np.bool_] = np.array([bool(text) for text in texts], np.bool_)
        found = b"".join(base64.b64decode(text)[cut] for text in texts if text)
        self._packed = np.frombuffer(found, np.uint8).reshape(-1, self.SIZE)
        self._place = np.cumsum(self.known) - 1  # of each known picture, its row in _packed
        self._mirror = mirror
