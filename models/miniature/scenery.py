"""Backgrounds of the miniature world: plain colours, forest, beach, city, a room, by day and by night."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

from models.miniature.drawing import Drawing
from models.miniature.pen import Colour, blend, shade

PLAIN_COLOURS: dict[str, Colour] = {
    "white background": (250, 250, 250),
    "blue background": (120, 176, 238),
    "pink background": (250, 176, 200),
    "yellow background": (250, 224, 110),
}
NIGHT: Colour = (24, 28, 72)


def draw_scenery(
    canvas: ImageDraw.ImageDraw, drawing: Drawing, width: int, height: int, rng: np.random.Generator
) -> None:
    """Fill the canvas (width x height px) with the drawing's background."""
    if drawing.background in PLAIN_COLOURS:
        colour = shade(PLAIN_COLOURS[drawing.background], 1 + 0.04 * float(rng.uniform(-1, 0.5)))
        canvas.rectangle((0, 0, width, height), fill=colour)
        return
    dim = 0.62 if drawing.night else 0.0

    def tone(colour: Colour) -> Colour:
        return blend(colour, NIGHT, dim)

    PLACES[drawing.background](canvas, width, height, rng, tone)
    if drawing.night:
        draw_moon(canvas, width, height, rng)


Tone = Callable[[Colour], Colour]


def draw_sky(canvas: ImageDraw.ImageDraw, width: int, height: int, top: Colour, bottom: Colour) -> None:
    """A vertical gradient in bands."""
    bands = 24
    for band in range(bands):
        y = height * band // bands
        canvas.rectangle(
            (0, y, width, height * (band + 1) // bands), fill=blend(top, bottom, band / (bands - 1))
        )


def draw_moon(canvas: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> None:
    """A full moon in an upper corner and a few large stars."""
    unit = min(width, height)
    x = width * (0.14 if rng.random() < 0.5 else 0.86)
    y, radius = height * 0.14, unit * 0.1
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(252, 244, 196))
    for _ in range(9):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height * 0.4), unit * rng.uniform(0.008, 0.016)
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(240, 240, 220))


def draw_cloud(canvas: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: Colour) -> None:
    """A cloud of three puffs."""
    for dx, dy, radius in ((-0.8, 0.1, 0.55), (0, -0.15, 0.8), (0.8, 0.1, 0.6)):
        cx, cy, r = x + dx * size, y + dy * size, radius * size
        canvas.ellipse((cx - r, cy - r * 0.7, cx + r, cy + r * 0.7), fill=colour)


def draw_forest(
    canvas: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator, tone: Tone
) -> None:
    """Green wood: trunks, round crowns, grass."""
    unit = min(width, height)
    draw_sky(canvas, width, height, tone((150, 206, 160)), tone((206, 236, 190)))
    ground = height * rng.uniform(0.7, 0.78)
    canvas.rectangle((0, ground, width, height), fill=tone((96, 164, 80)))
    step = unit * 0.3
    for x in np.arange(rng.uniform(0, step), width + step, step):
        trunk = unit * rng.uniform(0.035, 0.055)
        canvas.rectangle((x - trunk, height * 0.2, x + trunk, ground), fill=tone((118, 84, 56)))
    for x in np.arange(rng.uniform(-step, 0), width + step, step * 0.75):
        radius = unit * rng.uniform(0.16, 0.22)
        y = height * rng.uniform(0.06, 0.3)
        green = shade((62, 138, 70), rng.uniform(0.85, 1.15))
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tone(green))


def draw_beach(
    canvas: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator, tone: Tone
) -> None:
    """Sky with a cloud, sea, sand, by day a sun."""
    unit = min(width, height)
    draw_sky(canvas, width, height, tone((104, 188, 246)), tone((190, 230, 252)))
    draw_cloud(canvas, width * rng.uniform(0.1, 0.9), height * 0.2, unit * 0.13, tone((252, 252, 252)))
    sea, sand = height * rng.uniform(0.42, 0.5), height * rng.uniform(0.66, 0.74)
    canvas.rectangle((0, sea, width, sand), fill=tone((36, 128, 196)))
    for y in (sea + (sand - sea) * 0.3, sea + (sand - sea) * 0.65):
        canvas.line((0, y, width, y), fill=tone((110, 180, 226)), width=max(2, unit // 70))
    canvas.rectangle((0, sand, width, height), fill=tone((244, 218, 158)))
    canvas.line((0, sand, width, sand), fill=tone((250, 250, 250)), width=max(2, unit // 45))


def draw_city(
    canvas: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator, tone: Tone
) -> None:
    """Buildings with lit windows, a street."""
    unit = min(width, height)
    draw_sky(canvas, width, height, tone((160, 198, 232)), tone((224, 232, 240)))
    street = height * rng.uniform(0.76, 0.82)
    x = -unit * rng.uniform(0, 0.15)
    pane, gap = unit * 0.05, unit * 0.085
    while x < width:
        house = unit * rng.uniform(0.24, 0.34)
        roof = height * rng.uniform(0.06, 0.34)
        wall = ((150, 158, 176), (178, 150, 140), (128, 142, 166))[int(rng.integers(0, 3))]
        canvas.rectangle((x, roof, x + house, street), fill=tone(wall))
        for wx in np.arange(x + pane * 0.7, x + house - pane, gap):
            for wy in np.arange(roof + pane * 0.7, street - pane, gap * 1.15):
                canvas.rectangle((wx, wy, wx + pane, wy + pane), fill=(252, 232, 150))
        x += house + unit * 0.02
    canvas.rectangle((0, street, width, height), fill=tone((112, 112, 124)))


def draw_room(
    canvas: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator, tone: Tone
) -> None:
    """A wall with a window and a shelf, a wooden floor."""
    unit = min(width, height)
    wall = ((238, 222, 198), (226, 214, 226), (222, 228, 208))[int(rng.integers(0, 3))]
    canvas.rectangle((0, 0, width, height), fill=tone(wall))
    floor = height * rng.uniform(0.76, 0.82)
    canvas.rectangle((0, floor, width, height), fill=tone((168, 118, 76)))
    canvas.rectangle((0, floor, width, floor + unit * 0.03), fill=tone((120, 80, 52)))
    left_window = rng.random() < 0.5
    window_x = width * (0.18 if left_window else 0.82)
    shelf_x = width * (0.84 if left_window else 0.16)
    draw_window(canvas, window_x, height * 0.28, unit * 0.19)
    for y in (0.2, 0.45):
        draw_shelf(canvas, shelf_x, height * y, unit * 0.17, rng)


def draw_window(canvas: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
    """A framed window with a cross."""
    canvas.rectangle((x - size, y - size * 1.2, x + size, y + size * 1.2), fill=(122, 84, 56))
    edge = size * 0.14
    canvas.rectangle(
        (x - size + edge, y - size * 1.2 + edge, x + size - edge, y + size * 1.2 - edge), fill=(168, 216, 246)
    )
    canvas.rectangle((x - edge / 2, y - size * 1.2, x + edge / 2, y + size * 1.2), fill=(122, 84, 56))
    canvas.rectangle((x - size, y - edge / 2, x + size, y + edge / 2), fill=(122, 84, 56))


def draw_shelf(
    canvas: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: np.random.Generator
) -> None:
    """A board with four thick books."""
    books = ((190, 70, 70), (70, 120, 180), (220, 180, 80), (90, 150, 100))
    start = int(rng.integers(0, 4))
    for index in range(4):
        left = x - size + index * size * 0.48
        top = y - size * rng.uniform(0.55, 0.75)
        canvas.rectangle((left, top, left + size * 0.42, y), fill=books[(start + index) % 4])
    canvas.rectangle((x - size * 1.1, y, x + size * 1.1, y + size * 0.16), fill=(140, 96, 62))


PLACES: dict[
    str, Callable[[ImageDraw.ImageDraw, int, int, np.random.Generator, Callable[[Colour], Colour]], None]
] = {"forest": draw_forest, "beach": draw_beach, "city": draw_city, "indoors": draw_room}
