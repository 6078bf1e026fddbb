"""Filled and outlined smooth shapes on a Pillow canvas, in the figure's own units.

Owns one decision: everything is drawn at twice the size and reduced once, so that lines are smooth without
slow anti-aliased primitives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

SUPERSAMPLE = 2
OUTLINE: Colour = (52, 40, 52)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour times `factor` (>= 0), each channel held within 0..255."""
    red, green, blue = (max(0, min(255, round(channel * factor))) for channel in colour)
    return red, green, blue


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """A mix: `share` 0 gives the first colour, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def smooth(points: Points, per_span: int = 6, closed: bool = True) -> NDArray[np.float64]:
    """A Catmull-Rom curve through the points, shape (spans * per_span, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    padded = (
        np.concatenate([knots[-1:], knots, knots[:2]])
        if closed
        else np.concatenate([knots[:1], knots, knots[-1:]])
    )
    t = np.linspace(0, 1, per_span, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    flat: NDArray[np.float64] = curve.reshape(-1, 2)
    return flat


def oval(x: float, y: float, radius_x: float, radius_y: float, sides: int = 28) -> NDArray[np.float64]:
    """An axis-aligned ellipse as a polygon, shape (sides, 2)."""
    angles = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)


def star(x: float, y: float, radius: float, turn: float = 0.0) -> NDArray[np.float64]:
    """A five-pointed star as a polygon, shape (10, 2); `turn` in radians."""
    angles = np.arange(10) * math.pi / 5 - math.pi / 2 + turn
    radii = np.where(np.arange(10) % 2 == 0, radius, radius * 0.48)
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


@dataclass(frozen=True)
class Pen:
    """Draws in figure units on a canvas: origin, pixels per unit and turn are fixed once.

    `flip` mirrors the figure left to right; `line_px` is the outline's width on the enlarged canvas.
    """

    canvas: ImageDraw.ImageDraw
    origin: tuple[float, float]
    unit_px: float
    turn: float = 0.0
    flip: bool = False
    line_px: int = 4
    outline: Colour = OUTLINE

    def place(self, points: Points | NDArray[np.float64]) -> list[tuple[float, float]]:
        """Figure units to canvas pixels."""
        xy = np.asarray(points, dtype=np.float64) * self.unit_px
        if self.flip:
            xy = xy * (-1, 1)
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        turned = xy @ np.array([[cos, sin], [-sin, cos]]) + self.origin
        return [(float(x), float(y)) for x, y in turned]

    def fill(self, points: Points | NDArray[np.float64], colour: Colour, line: bool = True) -> None:
        """A filled polygon, outlined unless `line` is false."""
        placed = self.place(points)
        self.canvas.polygon(placed, fill=colour)
        if line:
            self.canvas.line([*placed, placed[0], placed[1]], fill=self.outline, width=self.line_px)

    def blob(self, points: Points, colour: Colour, line: bool = True) -> None:
        """A filled smooth closed curve through the points."""
        self.fill(smooth(points), colour, line)

    def disc(
        self, x: float, y: float, radius_x: float, radius_y: float, colour: Colour, line: bool = True
    ) -> None:
        """A filled ellipse."""
        self.fill(oval(x, y, radius_x, radius_y), colour, line)

    def stroke(self, points: Points, colour: Colour, width: float) -> None:
        """A smooth open stroke with round ends; `width` in figure units."""
        curve = smooth(points, closed=False) if len(points) > 2 else np.asarray(points, dtype=np.float64)
        placed = self.place(np.concatenate([curve, np.asarray(points[-1:], dtype=np.float64)]))
        width_px = max(2, round(width * self.unit_px))
        self.canvas.line(placed, fill=colour, width=width_px, joint="curve")
        for x, y in (placed[0], placed[-1]):
            half = width_px / 2
            self.canvas.ellipse((x - half, y - half, x + half, y + half), fill=colour)

    def limb(self, points: Points, colour: Colour, width: float) -> None:
        """An outlined stroke: an arm, a leg, a sleeve."""
        self.stroke(points, self.outline, width + 2 * self.line_px / self.unit_px)
        self.stroke(points, colour, width)


def new_canvas(width: int, height: int) -> Image.Image:
    """An enlarged empty canvas for a picture of width x height px."""
    return Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE))
