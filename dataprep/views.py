"""Views: boxes into the upright original, and the one resize that makes a trained picture of one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from dataprep.buckets import Placement


def render(image: Image.Image, box: Mapping[str, int], width: int, height: int) -> Image.Image:
    """The box, cut and resized once.

    Lanczos with its support widened when shrinking, so that nothing aliases; in encoded sRGB values (not
    linear light), as trainers resize and as the models have learned. Nothing outside the box is read.

    Args:
        image: the upright picture, mode RGB.
        box: left, top, right, bottom in px of `image`.
        width: of the result, px.
        height: of the result, px.
    Raises:
        ValueError: the box is empty or reaches outside the picture.
    """
    edges = (box["left"], box["top"], box["right"], box["bottom"])
    left, top, right, bottom = edges
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise ValueError(f"box {edges} does not lie in a picture of {image.width}x{image.height} px")
    cut = (
        image if edges == (0, 0, *image.size) else image.crop(edges)
    )  # resize(box=) would read beyond the box
    return cut if cut.size == (width, height) else cut.resize((width, height), Image.Resampling.LANCZOS)


def render_as_kohya(image: Image.Image, placement: Placement) -> Image.Image:
    """The pixels that sd-scripts itself would train on for a picture of any size (its default filter).

    Args:
        image: as sd-scripts reads it, mode RGB.
        placement: what its bucketing makes of the size.
    """
    width, height = placement.resized
    if image.size != placement.resized:
        shrinks = image.width >= width and image.height >= height
        image = (
            _area(image, width, height)
            if shrinks
            else image.resize((width, height), Image.Resampling.LANCZOS)
        )
    left, top = placement.left_top
    return image.crop((left, top, left + placement.bucket[0], top + placement.bucket[1]))


def _area(image: Image.Image, width: int, height: int) -> Image.Image:
    """Averages over exactly the source area of each pixel; Pillow's BOX rounds that area to whole pixels."""
    import cv2

    return Image.fromarray(cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_AREA))
