"""The whole figure of the miniature world, from back to front; its head and face are drawn here.

Units: half a head's width; origin the head's centre; y downwards.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.miniature.clothes import draw_arms, draw_necklace, draw_outfit, draw_scarf
from models.miniature.drawing import Drawing
from models.miniature.hair import draw_ahoge, draw_back_hair, draw_front_hair, hair_colour
from models.miniature.headwear import draw_glasses, draw_headwear, draw_star
from models.miniature.pen import Colour, Pen, shade

SKINS: tuple[Colour, ...] = ((255, 228, 208), (250, 212, 186), (230, 184, 150), (186, 134, 100))
EYES: dict[str, Colour] = {
    "blue": (40, 110, 236),
    "green": (30, 168, 76),
    "red": (220, 36, 44),
    "brown": (140, 84, 40),
    "purple": (150, 66, 210),
    "yellow": (240, 190, 20),
}
LASH: Colour = (44, 32, 44)


def draw_figure(pen: Pen, drawing: Drawing, rng: np.random.Generator) -> None:
    """Draw the character with the pen's placement; `rng` gives the untagged variation."""
    skin = SKINS[drawing.skin]
    hair = hair_colour(drawing, rng)
    head = replace(pen, turn=-drawing.tilt if pen.flip else drawing.tilt)
    draw_back_hair(head, drawing, hair)
    draw_outfit(pen, drawing, skin)
    draw_arms(pen, drawing, skin)
    if "necklace" in drawing.accessories and not drawing.scarf:
        draw_necklace(pen)
    if drawing.scarf:
        draw_scarf(pen, drawing)
    draw_head(head, drawing, skin)
    draw_front_hair(head, drawing, hair, rng)
    draw_face_lines(head, drawing)
    if drawing.ahoge and "hat" not in drawing.accessories:
        draw_ahoge(head, hair)
    draw_headwear(head, drawing, hair)
    if drawing.star:
        draw_star(head)


def turned(drawing: Drawing) -> float:
    """How far the face's features move sideways: -1, 0 or 1."""
    return {"viewer": 0.0, "left": -1.0, "right": 1.0}[drawing.gaze]


def draw_head(pen: Pen, drawing: Drawing, skin: Colour) -> None:
    """The head's shape, ears and the face's filled parts."""
    for side in (-1, 1):
        pen.disc(side * 0.96, 0.2, 0.16, 0.22, skin)
    pen.blob(
        [
            (-0.95, 0),
            (-0.82, 0.55),
            (-0.4, 0.9),
            (0, 0.99),
            (0.4, 0.9),
            (0.82, 0.55),
            (0.95, 0),
            (0.6, -0.8),
            (-0.6, -0.8),
        ],
        skin,
    )
    shift = 0.14 * turned(drawing)
    if drawing.blush:
        for side in (-1, 1):
            pen.disc(shift + side * 0.6, 0.56, 0.21, 0.12, (250, 120, 130), line=False)
    draw_mouth(pen, drawing, shift)


def draw_mouth(pen: Pen, drawing: Drawing, x: float) -> None:
    """Smile, frown, open mouth, or a short flat line."""
    dark = (150, 50, 56)
    if drawing.mouth == "open mouth":
        pen.blob(
            [(x - 0.25, 0.52), (x, 0.56), (x + 0.25, 0.52), (x + 0.18, 0.76), (x, 0.86), (x - 0.18, 0.76)],
            (170, 40, 50),
        )
        pen.disc(x, 0.76, 0.11, 0.06, (250, 130, 130), line=False)
    elif drawing.mouth == "smile":
        pen.stroke(
            [(x - 0.27, 0.56), (x - 0.15, 0.68), (x, 0.72), (x + 0.15, 0.68), (x + 0.27, 0.56)], dark, 0.075
        )
    elif drawing.mouth == "frown":
        pen.stroke(
            [(x - 0.25, 0.76), (x - 0.13, 0.66), (x, 0.63), (x + 0.13, 0.66), (x + 0.25, 0.76)], dark, 0.075
        )
    else:
        pen.stroke([(x - 0.1, 0.68), (x + 0.1, 0.68)], dark, 0.065)


def draw_face_lines(pen: Pen, drawing: Drawing) -> None:
    """Eyes, brows and glasses: over the fringe, as in animation drawings."""
    shift = 0.14 * turned(drawing)
    for side in (-1, 1):
        x = shift + side * 0.43
        closed = drawing.eyes == "closed eyes" or (drawing.eyes == "one eye closed" and side == 1)
        if closed:
            draw_closed_eye(pen, x)
        else:
            draw_open_eye(pen, x, EYES[drawing.eye_colour], turned(drawing))
        draw_brow(pen, x, side, drawing)
    if "glasses" in drawing.accessories:
        draw_glasses(pen, shift)


def draw_open_eye(pen: Pen, x: float, colour: Colour, turn: float) -> None:
    """A large eye: white, iris, pupil, light, upper lash."""
    y, look = 0.14, 0.08 * turn
    pen.disc(x, y, 0.3, 0.35, (255, 255, 255), line=False)
    pen.disc(x + look, y + 0.02, 0.235, 0.32, shade(colour, 0.72), line=False)
    pen.disc(x + look, y + 0.05, 0.2, 0.27, colour, line=False)
    pen.disc(x + look, y + 0.0, 0.085, 0.14, LASH, line=False)
    pen.disc(x + look - 0.09, y - 0.13, 0.075, 0.085, (255, 255, 255), line=False)
    pen.stroke(
        [(x - 0.32, y - 0.1), (x - 0.2, y - 0.32), (x, y - 0.39), (x + 0.2, y - 0.32), (x + 0.32, y - 0.1)],
        LASH,
        0.09,
    )


def draw_closed_eye(pen: Pen, x: float) -> None:
    """A closed eye: one thick arc, open downwards."""
    pen.stroke([(x - 0.28, 0.28), (x - 0.15, 0.1), (x, 0.05), (x + 0.15, 0.1), (x + 0.28, 0.28)], LASH, 0.1)


def draw_brow(pen: Pen, x: float, side: int, drawing: Drawing) -> None:
    """A brow that follows the mouth: raised towards the middle over a frown; thick on a boy."""
    slope = 0.09 if drawing.mouth == "frown" else 0.03
    width = 0.11 if drawing.count == "1boy" else 0.055
    pen.stroke([(x - side * 0.2, -0.36 - slope), (x, -0.4), (x + side * 0.22, -0.36 + slope)], LASH, width)
