"""Where to cut: the largest box of a bucket's shape, placed around what must stay in the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """Edges in px of the upright original; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """px."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """px."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Square px."""
        return self.width * self.height

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, px."""
        return self.left, self.top, self.right, self.bottom

    def as_dict(self) -> dict[str, int]:
        """The manifest's BOX struct."""
        return {"left": self.left, "top": self.top, "right": self.right, "bottom": self.bottom}


def box_within(values: Mapping[str, int], width: int, height: int) -> Box | None:
    """A manifest box, cut to the picture; None if nothing is left of it."""
    left, right = max(0, values["left"]), min(width, values["right"])
    top, bottom = max(0, values["top"]), min(height, values["bottom"])
    return Box(left, top, right, bottom) if left < right and top < bottom else None


def overlap(first: Box, second: Box) -> int:
    """Area that two boxes share, square px."""
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    return max(0, width) * max(0, height)


def cut(
    width: int, height: int, bucket: tuple[int, int], focus: tuple[float, float], subject: Box | None
) -> Box:
    """The largest box of the bucket's shape in a picture, near the focus, with the subject inside if it fits.

    Args:
        width: of the picture, px.
        height: of the picture, px.
        bucket: (width, height), px; only its shape counts.
        focus: the point to bring near the middle, shares of width and height.
        subject: what must stay inside; where the box is shorter than it, the box lies within it,
            as near to the focus as it can.
    """
    box_width, box_height = fitted(width, height, bucket)
    left = _start(width, box_width, focus[0], None if subject is None else (subject.left, subject.right))
    top = _start(height, box_height, focus[1], None if subject is None else (subject.top, subject.bottom))
    return Box(left, top, left + box_width, top + box_height)


def fitted(width: int, height: int, bucket: tuple[int, int]) -> tuple[int, int]:
    """Sides of the largest box of the bucket's shape, rounded to whole px, at least 1."""
    if width * bucket[1] > height * bucket[0]:
        return min(width, max(1, round(height * bucket[0] / bucket[1]))), height
    return width, min(height, max(1, round(width * bucket[1] / bucket[0])))


def _start(side: int, length: int, focus: float, keep: tuple[int, int] | None) -> int:
    start = round(focus * side - length / 2)
    if keep is not None:
        # Any start between the two keeps the subject whole or, where it is the longer, the frame within it.
        low, high = sorted((keep[1] - length, keep[0]))
        start = min(max(start, low), high)
    return min(max(start, 0), side - length)


def around(hand: Box, width: int, height: int, bucket: tuple[int, int]) -> Box:
    """The least box of the bucket's shape that contains a box set by hand, as far as the picture reaches."""
    aspect = bucket[0] / bucket[1]
    box_width = max(hand.width, round(hand.height * aspect))
    box_height = max(hand.height, round(hand.width / aspect))
    if box_width > width or box_height > height:
        box_width, box_height = fitted(width, height, bucket)
    middle = ((hand.left + hand.right) / 2, (hand.top + hand.bottom) / 2)
    left = min(max(round(middle[0] - box_width / 2), 0), width - box_width)
    top = min(max(round(middle[1] - box_height / 2), 0), height - box_height)
    return Box(left, top, left + box_width, top + box_height)
