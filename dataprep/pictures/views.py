"""Views: boxes into the upright original, and the one resize that makes a trained picture of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from PIL import Image

from dataprep.framing.boxes import cut
from dataprep.framing.buckets import Placement, placed
from dataprep.pictures.pixels import Filter, PixelCache

# sd-scripts' own names, option resize_interpolation.
Interpolation = Literal["lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box"]
_BY_PILLOW: Final = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
_BY_OPENCV: Final = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "linear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}


def view(
    pixels: PixelCache, path: Path, key: str, box: Mapping[str, int], width: int, height: int
) -> Image.Image:
    """The box of a file's picture at a size, as `render` makes it. Large pictures are not held for it.

    Args:
        pixels: of the run.
        path: of the file.
        key: identity of its pixels.
        box: left, top, right, bottom in px of the picture.
        width: of the result, px.
        height: of the result, px.
    Raises:
        RowError: the file cannot be decoded.
        ValueError: as `render`.
    """
    large = pixels.large_view(path, key, box, width, height)
    if large is not None:
        return large
    return render(pixels.load(path, key), box, width, height, pixels.policy.filter)


def render(
    image: Image.Image, box: Mapping[str, int], width: int, height: int, how: Filter = "lanczos"
) -> Image.Image:
    """The box, cut and resized once, in encoded sRGB values (not linear light), as trainers resize and as the
    models have learned.

    Args:
        image: the upright picture, mode RGB.
        box: left, top, right, bottom in px of `image`.
        width: of the result, px.
        height: of the result, px.
        how: "lanczos": with its support widened when shrinking, so that nothing aliases, and nothing outside
            the box is read. "kohya": as sd-scripts does by default, averages over areas when shrinking; where
            the box is the one that it would cut, the pixels are its own. "nearest": for pixel art.
    Raises:
        ValueError: the box is empty or reaches outside the picture.
    """
    edges = (box["left"], box["top"], box["right"], box["bottom"])
    left, top, right, bottom = edges
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise ValueError(f"box {edges} does not lie in a picture of {image.width}x{image.height} px")
    if how == "kohya" and edges == cut(*image.size, (width, height), (0.5, 0.5), None).edges:
        return render_as_kohya(image, placed(*image.size, (width, height)))
    # resize(box=) would read beyond the box
    view = image if edges == (0, 0, *image.size) else image.crop(edges)
    if view.size == (width, height):
        return view
    if how == "lanczos":
        return view.resize((width, height), Image.Resampling.LANCZOS)
    return _resized(view, width, height, "nearest" if how == "nearest" else None)


def render_as_kohya(
    image: Image.Image, placement: Placement, interpolation: Interpolation | None = None
) -> Image.Image:
    """The pixels that sd-scripts itself would train on for a picture of any size.

    Args:
        image: as sd-scripts reads it, mode RGB, or RGBA where it trains with alpha masks.
        placement: what its bucketing makes of the size.
        interpolation: its option `resize_interpolation`; None as when that is not given.
    """
    if image.size != placement.resized:
        image = _resized(image, *placement.resized, interpolation)
    left, top = placement.left_top
    return image.crop((left, top, left + placement.bucket[0], top + placement.bucket[1]))


def _resized(image: Image.Image, width: int, height: int, interpolation: Interpolation | None) -> Image.Image:
    """Resized as sd-scripts does; by default area where neither side grows, Lanczos elsewhere.

    Area averages over exactly the source area of each pixel; Pillow's BOX rounds that area to whole pixels.
    """
    if interpolation is None:
        interpolation = "area" if image.width >= width and image.height >= height else "lanczos"
    if interpolation in _BY_PILLOW:
        return image.resize((width, height), _BY_PILLOW[interpolation])
    how = _BY_OPENCV[interpolation]
    return Image.fromarray(cv2.resize(np.asarray(image), (width, height), interpolation=how))
