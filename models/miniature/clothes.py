"""Clothes and limbs of the miniature world, and the signature's striped scarf."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.miniature.drawing import Drawing
from models.miniature.pen import Colour, Pen, shade

WHITE: Colour = (248, 248, 250)
NAVY: Colour = (44, 56, 110)
SCARVES: tuple[tuple[Colour, Colour], ...] = (
    ((255, 128, 20), (36, 44, 120)),
    ((226, 44, 52), (252, 250, 244)),
    ((40, 150, 90), (250, 230, 170)),
    ((120, 60, 180), (255, 224, 60)),
)


@dataclass(frozen=True)
class Outfit:
    """Colours and cut: `sleeve` is the covered share of the arm, `hem` where a dress or skirt ends."""

    top: Colour
    bottom: Colour
    sleeve: float
    hem: float
    detail: Callable[[Pen], None]


def draw_outfit(pen: Pen, drawing: Drawing, skin: Colour) -> None:
    """Legs, shoes, neck, trunk and the outfit over them."""
    outfit = OUTFIT[drawing.outfit]
    boy = drawing.count == "1boy" and drawing.outfit != "purple kimono"
    for side in (-1, 1):
        pen.limb([(side * 0.27, 2.2), (side * 0.28, 3.4)], (70, 76, 100) if boy else skin, 0.27)
        pen.disc(side * 0.33, 3.5, 0.26, 0.16, (96, 62, 50))
    pen.fill([(-0.2, 0.7), (0.2, 0.7), (0.24, 1.3), (-0.24, 1.3)], shade(skin, 0.9))
    if drawing.outfit == "black hoodie":
        pen.blob([(-0.75, 1.3), (-0.5, 1.0), (0.5, 1.0), (0.75, 1.3), (0, 1.5)], shade(outfit.top, 0.8))
    flare = 0.6 if boy else 0.62 + 0.32 * (outfit.hem - 2.1)
    hem = 2.5 if boy else outfit.hem
    pen.fill(
        [(-0.46, 1.9), (0.46, 1.9), (flare, hem), (0, hem + 0.05), (-flare, hem)],
        (70, 76, 100) if boy else outfit.bottom,
    )
    pen.blob(
        [
            (-0.3, 1.12),
            (0.3, 1.12),
            (0.64, 1.3),
            (0.6, 1.7),
            (0.54, 2.15),
            (-0.54, 2.15),
            (-0.6, 1.7),
            (-0.64, 1.3),
        ],
        outfit.top,
    )
    outfit.detail(pen)


def draw_arms(pen: Pen, drawing: Drawing, skin: Colour) -> None:
    """Both arms in the drawing's pose, sleeves as the outfit has them."""
    outfit = OUTFIT[drawing.outfit]
    for side, pose in zip((-1, 1), ARMS[drawing.pose], strict=True):
        shoulder, elbow, hand = ((side * x, y) for x, y in pose)
        pen.limb([shoulder, elbow, hand], skin, 0.22)
        pen.disc(*hand, 0.2, 0.2, skin)
        covered = [shoulder, elbow]
        if outfit.sleeve > 0.5:
            share = outfit.sleeve
            covered.append((elbow[0] + (hand[0] - elbow[0]) * share, elbow[1] + (hand[1] - elbow[1]) * share))
        else:
            covered[1] = ((shoulder[0] + elbow[0]) / 2, (shoulder[1] + elbow[1]) / 2)
        pen.limb(covered, outfit.top, 0.4 if drawing.outfit == "purple kimono" else 0.3)


Joints = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
DOWN: Joints = ((0.56, 1.42), (0.8, 1.9), (0.8, 2.35))
UP: Joints = ((0.56, 1.42), (1.15, 1.1), (1.36, 0.2))
WAVE: Joints = ((0.56, 1.42), (1.12, 1.5), (1.3, 0.75))
HIP: Joints = ((0.56, 1.42), (1.2, 1.75), (0.66, 2.15))
ARMS: dict[str | None, tuple[Joints, Joints]] = {
    None: (DOWN, DOWN),
    "arms up": (UP, UP),
    "waving": (DOWN, WAVE),
    "hand on own hip": (DOWN, HIP),
}


def detail_shirt(pen: Pen) -> None:
    """A collar and a row of buttons."""
    for side in (-1, 1):
        pen.fill([(0, 1.36), (side * 0.36, 1.14), (side * 0.34, 1.46)], (236, 238, 246))
    for y in (1.58, 1.84):
        pen.disc(0, y, 0.06, 0.06, (130, 134, 150), line=False)


def detail_red_dress(pen: Pen) -> None:
    """A white collar and a belt."""
    pen.blob([(-0.34, 1.14), (0.34, 1.14), (0.28, 1.34), (0, 1.42), (-0.28, 1.34)], WHITE)
    pen.fill([(-0.52, 1.88), (0.52, 1.88), (0.54, 2.08), (-0.54, 2.08)], (120, 20, 30))


def detail_yellow_dress(pen: Pen) -> None:
    """A brown belt and two large dots."""
    pen.fill([(-0.52, 1.88), (0.52, 1.88), (0.54, 2.08), (-0.54, 2.08)], (150, 96, 40))
    for x in (-0.26, 0.26):
        pen.disc(x, 1.58, 0.12, 0.12, WHITE, line=False)


def detail_jacket(pen: Pen) -> None:
    """Open over a white shirt, with lapels."""
    pen.fill([(-0.16, 1.14), (0.16, 1.14), (0.2, 2.12), (-0.2, 2.12)], WHITE)
    for side in (-1, 1):
        pen.fill([(side * 0.16, 1.12), (side * 0.48, 1.24), (side * 0.2, 1.72)], (30, 66, 170))


def detail_sweater(pen: Pen) -> None:
    """A thick turtleneck and two knitted bands."""
    pen.blob([(-0.34, 1.06), (0.34, 1.06), (0.36, 1.28), (0, 1.34), (-0.36, 1.28)], (36, 122, 70))
    for y in (1.6, 1.86):
        pen.stroke([(-0.5, y), (0.5, y)], (130, 206, 150), 0.09)


def detail_hoodie(pen: Pen) -> None:
    """Drawstrings and a pocket."""
    for side in (-1, 1):
        pen.stroke([(side * 0.16, 1.28), (side * 0.18, 1.62)], WHITE, 0.07)
    pen.fill([(-0.32, 1.78), (0.32, 1.78), (0.42, 2.1), (-0.42, 2.1)], (84, 84, 98))


def detail_serafuku(pen: Pen) -> None:
    """A sailor collar and a red neckerchief."""
    for side in (-1, 1):
        pen.fill([(side * 0.1, 1.12), (side * 0.56, 1.2), (side * 0.5, 1.5), (0, 1.66)], NAVY)
        pen.blob([(0, 1.62), (side * 0.34, 1.5), (side * 0.36, 1.78)], (226, 40, 52))
    pen.disc(0, 1.62, 0.1, 0.1, (180, 24, 40))


def detail_kimono(pen: Pen) -> None:
    """Crossed white trim and a broad orange sash."""
    pen.stroke([(0.34, 1.14), (0.0, 1.5), (-0.24, 1.74)], WHITE, 0.12)
    pen.stroke([(-0.34, 1.14), (0.0, 1.5)], WHITE, 0.12)
    pen.fill([(-0.58, 1.72), (0.58, 1.72), (0.56, 2.1), (-0.56, 2.1)], (244, 150, 50))


OUTFIT: dict[str, Outfit] = {
    "white shirt": Outfit(WHITE, (58, 62, 84), 0.7, 2.62, detail_shirt),
    "red dress": Outfit((216, 36, 48), (216, 36, 48), 0.0, 3.0, detail_red_dress),
    "yellow dress": Outfit((252, 208, 50), (252, 208, 50), 0.0, 3.0, detail_yellow_dress),
    "blue jacket": Outfit((48, 96, 214), (230, 226, 214), 0.75, 2.62, detail_jacket),
    "green sweater": Outfit((62, 160, 96), (120, 84, 60), 0.75, 2.62, detail_sweater),
    "black hoodie": Outfit((52, 52, 62), (110, 114, 128), 0.8, 2.62, detail_hoodie),
    "serafuku": Outfit(WHITE, NAVY, 0.0, 2.72, detail_serafuku),
    "purple kimono": Outfit((128, 74, 178), (128, 74, 178), 0.7, 3.3, detail_kimono),
}


def draw_necklace(pen: Pen) -> None:
    """A chain with a large round pendant."""
    pen.stroke([(-0.36, 1.1), (-0.2, 1.38), (0, 1.48), (0.2, 1.38), (0.36, 1.1)], (214, 164, 30), 0.08)
    pen.disc(0, 1.56, 0.15, 0.15, (60, 210, 220))


def draw_scarf(pen: Pen, drawing: Drawing) -> None:
    """The signature's scarf: a thick striped roll around the neck, one end hanging down."""
    first, second = SCARVES[drawing.scarf_colour]
    for index in range(5):
        top = 1.3 + 0.21 * index
        pen.fill(
            [(0.18, top), (0.66, top), (0.68, top + 0.22), (0.2, top + 0.22)], (first, second)[index % 2]
        )
    pen.blob(
        [(-0.78, 1.12), (-0.4, 0.94), (0.4, 0.94), (0.78, 1.12), (0.68, 1.42), (0, 1.56), (-0.68, 1.42)],
        first,
    )
    for x in (-0.52, 0.0, 0.52):
        pen.fill([(x - 0.13, 1.0), (x + 0.13, 1.0), (x + 0.11, 1.46), (x - 0.11, 1.46)], second, line=False)
