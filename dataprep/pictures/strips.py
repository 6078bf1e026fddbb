"""Views of pictures that are too large to be held twice: cut from what was decoded, strip by strip."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from dataprep.framing.boxes import Box
from dataprep.pictures.colour import with_white
from dataprep.pictures.opened import SIDEWAYS, upright

_STRIP_PIXELS = 2 << 20


def view_in_strips(
    image: Image.Image,
    resolve: Callable[[Image.Image], Image.Image],
    orientation: int,
    box: Box,
    width: int,
    height: int,
) -> Image.Image:
    """The box, upright, resolved, cut and resized by Lanczos: first in width, then in height.

    The very pixels of resizing the whole in these two steps, whatever the strips. Pillow asked to do both at
    once goes over the columns first where that is less work, in tall boxes, and rounds otherwise in between.

    Args:
        image: decoded, any mode, as it lies in its file.
        resolve: what is done to its pixels, each by itself.
        orientation: EXIF, 1 to 8.
        box: px of the upright picture.
        width: of the result, px.
        height: of the result, px.
    """
    narrowed = Image.new("RGB", (width, box.height))
    rows = max(1, _STRIP_PIXELS // box.width)
    with with_white(image):
        for top in range(box.top, box.bottom, rows):
            strip_box = Box(box.left, top, box.right, min(top + rows, box.bottom))
            lying = image.crop(_lying(strip_box, orientation, image.size).edges)
            strip = upright(resolve(lying), orientation)
            if box.width != width:
                strip = strip.resize((width, strip.height), Image.Resampling.LANCZOS)
            narrowed.paste(strip, (0, top - box.top))
    return narrowed if height == box.height else narrowed.resize((width, height), Image.Resampling.LANCZOS)


def _lying(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    """Where a box of the upright picture lies in the file's, which has this size."""
    left, top, right, bottom = box.edges
    if orientation in SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
    if orientation in {2, 3, 7, 8}:
        left, right = size[0] - right, size[0] - left
    if orientation in {3, 4, 6, 7}:
        top, bottom = size[1] - bottom, size[1] - top
    return Box(left, top, right, bottom)
