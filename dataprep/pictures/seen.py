"""What models that only look are shown: the trained view, from a decode no larger than they need.

The exported picture and its latents are cut from full pixels. Taggers see the same box of a JPEG that was
scaled while it was decoded (in its DCT), never to less than 1.5 times what they see: about 45 dB from the
full way, at a quarter of the time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from PIL import Image

from dataprep.manifest import BOX
from dataprep.stage import Context, Row

OVERSAMPLED: Final = 1.5  # px decoded per px seen; below that the last resize would lose what was there

# Columns that decide what is seen.
NEEDS: Final = (
    ("pixels_key", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("box", BOX),
    ("bucket_width", pa.int32()),
    ("bucket_height", pa.int32()),
)


def seen(context: Context, row: Row, long_side_px: int | None = None) -> Image.Image:
    """The row's view, RGB, for a model that looks at it.

    Args:
        context: of the run.
        row: with the columns of `NEEDS`.
        long_side_px: of what the model makes of it by itself. It is given the cut as it is, or, of a picture
            so large that it was decoded smaller, the view at this size. None: the view at bucket size.
    Raises:
        RowError: the file cannot be decoded.
    """
    width, height = _size(row, long_side_px)
    scale = _scale(row, width, height)
    factor = _reduction(row, scale)
    if scale < 1 or (factor == 1 and long_side_px is None):
        return context.view(row)
    cut = _cut(context, row, factor)
    if factor == 1:
        return cut
    import cv2

    return Image.fromarray(cv2.resize(np.asarray(cut), (width, height), interpolation=cv2.INTER_AREA))


def _cut(context: Context, row: Row, factor: int) -> Image.Image:
    """The row's box of the picture, decoded at 1/factor of its size."""
    if factor == 1:
        box, path, key = row["box"], context.file(row), row["pixels_key"]
        sides = box["right"] - box["left"], box["bottom"] - box["top"]
        if (part := context.pixels.large_view(path, key, box, *sides)) is not None:
            return part
        image = context.image(row)
    else:
        short_side = min(row["width"], row["height"]) // factor
        image = context.pixels.small(context.file(row), row["pixels_key"], short_side)
    edges = _edges(row, image)
    return image if edges == (0, 0, *image.size) else image.crop(edges)


def _size(row: Row, long_side_px: int | None) -> tuple[int, int]:
    width, height = int(row["bucket_width"]), int(row["bucket_height"])
    if long_side_px is None or max(width, height) <= long_side_px:
        return width, height
    share = long_side_px / max(width, height)
    return max(1, round(width * share)), max(1, round(height * share))


def _scale(row: Row, width: int, height: int) -> float:
    """Px of the box for each px of a result of this size."""
    box = row["box"]
    return float(min((box["right"] - box["left"]) / width, (box["bottom"] - box["top"]) / height))


def _reduction(row: Row, scale: float) -> int:
    """1, 2, 4 or 8: by how much the decode may shrink the picture and still hold enough of the view."""
    factor = 1
    while factor < 8 and row["width"] and row["height"] and scale / (2 * factor) >= OVERSAMPLED:
        factor *= 2
    return factor


def _edges(row: Row, image: Image.Image) -> tuple[int, int, int, int]:
    """The row's box in a picture that may be reduced: left, top, right, bottom, px."""
    box = row["box"]
    across, down = image.width / (row["width"] or image.width), image.height / (row["height"] or image.height)
    left, top = round(box["left"] * across), round(box["top"] * down)
    right, bottom = round(box["right"] * across), round(box["bottom"] * down)
    return left, top, min(max(left + 1, right), image.width), min(max(top + 1, bottom), image.height)
