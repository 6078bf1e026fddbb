"""Aspect buckets as kohya's sd-scripts computes them: the list, the choice, the resize, the stored crop.

Pure functions on sizes; every pair is (width, height) in px. Reproduced so that what it will do with a
picture is known beforehand, tested against numbers that sd-scripts itself printed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class BucketGrid:
    """Which buckets there may be.

    Attributes:
        resolution: width and height of the training area; a bucket's area is at most their product, px.
        smallest: least side, px.
        largest: greatest side, px.
        step: every side is a multiple of it, px.
    """

    resolution: Size
    smallest: int
    largest: int
    step: int = 64

    def adjusted(self) -> BucketGrid:
        """The grid with `smallest` rounded down and `largest` rounded up to multiples of `step`.

        Raises:
            ValueError: the resolution does not lie between the two.
        """
        smallest = self.smallest - self.smallest % self.step
        largest = -(-self.largest // self.step) * self.step
        if min(self.resolution) < smallest or max(self.resolution) > largest:
            raise ValueError(
                f"resolution {self.resolution} must lie between the least and the greatest bucket side, "
                f"{smallest} and {largest} px"
            )
        return BucketGrid(self.resolution, smallest, largest, self.step)

    @property
    def area(self) -> int:
        """Greatest area of a bucket, square px."""
        return self.resolution[0] * self.resolution[1]


@dataclass(frozen=True)
class Placement:
    """What sd-scripts makes of a picture: resized to `resized`, then `bucket` is cut from the middle."""

    bucket: Size
    resized: Size

    @property
    def left_top(self) -> tuple[int, int]:
        """Where the bucket begins in the resized picture, px."""
        return (
            max(0, (self.resized[0] - self.bucket[0]) // 2),
            max(0, (self.resized[1] - self.bucket[1]) // 2),
        )


def bucket_sizes(grid: BucketGrid) -> list[Size]:
    """The predefined list, ascending. The square is in it even where it is under the least side."""
    square = int(math.sqrt(grid.area) // grid.step) * grid.step
    sizes = {(square, square)}
    for width in range(grid.smallest, grid.largest + 1, grid.step):
        height = min(grid.largest, int((grid.area // width) // grid.step) * grid.step)
        if height >= grid.smallest:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def place(width: int, height: int, sizes: list[Size]) -> Placement:
    """The bucket of the nearest aspect ratio (the first, on a tie), upscaling where needed.

    Source: sd-scripts, library/train_util.py, BucketManager.select_bucket.
    """
    aspect = width / height
    if (width, height) in sizes:
        bucket = (width, height)
    else:
        bucket = min(sizes, key=lambda size: abs(size[0] / size[1] - aspect))
    return placed(width, height, bucket)


def placed(width: int, height: int, bucket: Size) -> Placement:
    """What sd-scripts makes of a picture of this size that is to go into this bucket."""
    fit_height = width / height > bucket[0] / bucket[1]
    scale = bucket[1] / height if fit_height else bucket[0] / width
    return Placement(bucket, (int(width * scale + 0.5), int(height * scale + 0.5)))


def place_without_upscaling(width: int, height: int, grid: BucketGrid) -> Placement:
    """The bucket under `bucket_no_upscale`: the picture's own size, reduced to the area where it is larger.

    The least and greatest side do not apply. A side under `step` gives a bucket side of 0.
    """
    resized = (width, height) if width * height <= grid.area else _reduced(width / height, grid)
    return Placement((resized[0] - resized[0] % grid.step, resized[1] - resized[1] % grid.step), resized)


def _reduced(aspect: float, grid: BucketGrid) -> Size:
    """Size of at most the grid's area, one side a multiple of the step: the one bending the aspect less."""

    def floored(side: float) -> int:
        rounded = int(side + 0.5)
        return rounded - rounded % grid.step

    width = math.sqrt(grid.area * aspect)
    by_width = floored(width)
    by_width_height = floored(by_width / aspect)
    by_height = floored(grid.area / width)
    by_height_width = floored(by_height * aspect)
    width_error = abs(by_width / by_width_height - aspect)
    height_error = abs(by_height_width / by_height - aspect)
    if width_error < height_error:
        return by_width, int(by_width / aspect + 0.5)
    return int(by_height * aspect + 0.5), by_height


def stored_crop(bucket: Size, width: int, height: int) -> tuple[float, float, float, float]:
    """The `crop_ltrb` that sd-scripts stores in its latents files, for a picture of this original size.

    It is not the crop of the pixels: it is the letterbox of the whole picture in the bucket, and has to be
    written this way to be read back.
    """
    bucket_aspect = bucket[0] / bucket[1]
    aspect = width / height
    if bucket_aspect > aspect:
        fit_width, fit_height = bucket[1] * aspect, float(bucket[1])
    else:
        fit_width, fit_height = float(bucket[0]), bucket[0] / aspect
    left, top = (bucket[0] - fit_width) // 2, (bucket[1] - fit_height) // 2
    return left, top, left + fit_width, top + fit_height
