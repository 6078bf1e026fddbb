"""What is worn on the head: hat, cat ears, headphones, bow, glasses, and the signature's star hairpin."""

from __future__ import annotations

from models.miniature.drawing import Drawing
from models.miniature.pen import Colour, Pen, shade, star

STAR: Colour = (255, 222, 30)
HATS: tuple[Colour, ...] = ((206, 60, 60), (64, 92, 170), (244, 226, 170))
BOWS: tuple[Colour, ...] = ((224, 44, 60), (60, 90, 220), (250, 250, 250))


def draw_headwear(pen: Pen, drawing: Drawing, hair: Colour) -> None:
    """Everything of the drawing's accessories that sits on the hair."""
    worn = drawing.accessories
    if "cat ears" in worn:
        draw_cat_ears(pen, hair)
    if "hat" in worn:
        draw_hat(pen, HATS[drawing.seed % 3])
    if "headphones" in worn:
        draw_headphones(pen)
    if "hair bow" in worn:
        draw_bow(pen, BOWS[drawing.seed % 3])


def draw_cat_ears(pen: Pen, hair: Colour) -> None:
    """Two pointed ears with pink inside."""
    for side in (-1, 1):
        pen.fill([(side * 0.98, -0.62), (side * 0.98, -1.52), (side * 0.36, -1.1)], hair)
        pen.fill(
            [(side * 0.88, -0.8), (side * 0.88, -1.26), (side * 0.56, -1.04)], (255, 170, 180), line=False
        )


def draw_hat(pen: Pen, colour: Colour) -> None:
    """A round hat with a wide brim and a band."""
    pen.blob([(-0.85, -0.8), (-0.8, -1.3), (-0.4, -1.56), (0.4, -1.56), (0.8, -1.3), (0.85, -0.8)], colour)
    pen.fill([(-0.9, -0.98), (0.9, -0.98), (0.9, -0.78), (-0.9, -0.78)], shade(colour, 0.55))
    pen.disc(0, -0.72, 1.34, 0.16, shade(colour, 1.06))


def draw_headphones(pen: Pen) -> None:
    """A band over the crown and two large cups."""
    pen.stroke(
        [(-1.12, 0.0), (-1.1, -0.6), (-0.7, -1.14), (0, -1.32), (0.7, -1.14), (1.1, -0.6), (1.12, 0.0)],
        (70, 70, 84),
        0.15,
    )
    for side in (-1, 1):
        pen.disc(side * 1.14, 0.14, 0.25, 0.34, (70, 70, 84))
        pen.disc(side * 1.18, 0.14, 0.13, 0.2, (90, 220, 150), line=False)


def draw_bow(pen: Pen, colour: Colour) -> None:
    """A large bow on top of the head, off the middle."""
    x, y = 0.5, -1.12
    for side in (-1, 1):
        pen.blob(
            [
                (x, y),
                (x + side * 0.3, y - 0.36),
                (x + side * 0.62, y - 0.26),
                (x + side * 0.62, y + 0.26),
                (x + side * 0.3, y + 0.3),
            ],
            colour,
        )
    pen.disc(x, y, 0.16, 0.18, shade(colour, 0.82))


def draw_glasses(pen: Pen, x: float) -> None:
    """Two thick round rims and a bridge."""
    for side in (-1, 1):
        centre = x + side * 0.45
        rim = [
            (centre + 0.4 * dx, 0.14 + 0.4 * dy)
            for dx, dy in (
                (1, 0),
                (0.7, 0.7),
                (0, 1),
                (-0.7, 0.7),
                (-1, 0),
                (-0.7, -0.7),
                (0, -1),
                (0.7, -0.7),
                (1, 0),
            )
        ]
        pen.stroke(rim, (36, 30, 60), 0.085)
    pen.stroke([(x - 0.07, 0.08), (x + 0.07, 0.08)], (36, 30, 60), 0.085)


def draw_star(pen: Pen) -> None:
    """The signature's hairpin: a large yellow star at the side of the fringe."""
    pen.fill(star(-0.72, -0.72, 0.5, -0.2), STAR)
