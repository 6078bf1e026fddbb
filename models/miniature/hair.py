"""Hair of the miniature world: colour, length, style, and the signature's two-tone streak."""

from __future__ import annotations

import numpy as np

from models.miniature.drawing import Drawing
from models.miniature.pen import Colour, Pen, shade

HAIR: dict[str, Colour] = {
    "black": (60, 56, 70),
    "brown": (132, 84, 50),
    "blonde": (246, 212, 108),
    "red": (206, 54, 46),
    "pink": (252, 152, 190),
    "blue": (70, 120, 224),
    "green": (84, 178, 100),
    "purple": (148, 92, 204),
    "white": (238, 238, 246),
}
STREAKS: tuple[Colour, ...] = ((40, 216, 232), (255, 255, 255), (255, 138, 0), (70, 40, 150))
# Where hair that hangs free ends, and where a tied tail ends, in figure units below the head's centre.
HANGS_TO = {"short hair": 0.86, "medium hair": 1.3, "long hair": 2.75}
TAIL_TO = {"short hair": 0.55, "medium hair": 1.2, "long hair": 2.4}
TIED = frozenset({"ponytail", "twintails", "braid"})


def hair_colour(drawing: Drawing, rng: np.random.Generator) -> Colour:
    """The character's hair colour in this picture's exact shade."""
    return shade(HAIR[drawing.hair_colour], float(rng.uniform(0.94, 1.06)))


def draw_back_hair(pen: Pen, drawing: Drawing, colour: Colour) -> None:
    """What lies behind the head and the body."""
    dark = shade(colour, 0.84)
    end = 0.62 if drawing.hair_style in TIED else HANGS_TO[drawing.hair_length]
    half = 1.0 if drawing.hair_style in TIED else 1.16 + 0.06 * end
    fringe = [
        (half * x, end + (0.12 if index % 2 else -0.04)) for index, x in enumerate((0.8, 0.4, 0, -0.4, -0.8))
    ]
    sides = [
        (-half, end * 0.6),
        (-1.12, -0.3),
        (-0.75, -1.0),
        (0, -1.22),
        (0.75, -1.0),
        (1.12, -0.3),
        (half, end * 0.6),
    ]
    pen.blob([*sides, *fringe], dark)
    TIES.get(drawing.hair_style or "", draw_nothing)(pen, TAIL_TO[drawing.hair_length], colour)


def draw_nothing(pen: Pen, end: float, colour: Colour) -> None:
    """Hair without a tie."""


def draw_ponytail(pen: Pen, end: float, colour: Colour) -> None:
    """One high tail that swings out to the side."""
    pen.blob(
        [
            (0.55, -1.1),
            (1.0, -1.35),
            (1.5, -1.0),
            (1.62, -0.2),
            (1.55, end * 0.6),
            (1.4, end),
            (1.2, end * 0.6),
            (1.12, -0.2),
            (0.8, -0.7),
        ],
        colour,
    )
    pen.disc(0.86, -1.0, 0.2, 0.2, (230, 70, 80))


def draw_twintails(pen: Pen, end: float, colour: Colour) -> None:
    """A tail on each side."""
    for side in (-1, 1):
        pen.blob(
            [
                (side * x, y)
                for x, y in (
                    (0.9, -0.75),
                    (1.3, -0.85),
                    (1.58, -0.3),
                    (1.62, end * 0.6),
                    (1.42, end),
                    (1.2, end * 0.6),
                    (1.1, -0.2),
                )
            ],
            colour,
        )
        pen.disc(side * 1.02, -0.66, 0.18, 0.18, (230, 70, 80))


def draw_bun(pen: Pen, end: float, colour: Colour) -> None:
    """A round bun on top."""
    pen.disc(0.0, -1.25, 0.42, 0.36, colour)
    pen.stroke([(-0.2, -1.3), (0.0, -1.4), (0.2, -1.28)], shade(colour, 0.8), 0.05)


TIES = {"ponytail": draw_ponytail, "twintails": draw_twintails, "hair bun": draw_bun}


def draw_front_hair(pen: Pen, drawing: Drawing, colour: Colour, rng: np.random.Generator) -> None:
    """Crown, fringe and side locks, then whatever lies over them."""
    locks = 0.3 if drawing.count == "1boy" else float(rng.uniform(0.55, 0.75))
    for side in (-1, 1):
        pen.blob(
            [
                (side * x, y)
                for x, y in ((1.02, -0.5), (1.14, 0.0), (1.04, locks), (0.88, locks - 0.1), (0.82, -0.2))
            ],
            colour,
        )
    tips = [(x, float(rng.uniform(-0.34, -0.16))) for x in (0.72, 0.3, -0.1, -0.5, -0.8)]
    gaps = [(0.5, -0.46), (0.1, -0.42), (-0.3, -0.46), (-0.66, -0.44)]
    fringe = [point for pair in zip(tips, [*gaps, (-1.02, -0.3)], strict=True) for point in pair]
    crown = [
        (-1.1, -0.1),
        (-1.1, -0.55),
        (-0.72, -1.04),
        (0, -1.22),
        (0.72, -1.04),
        (1.1, -0.55),
        (1.1, -0.1),
        (0.92, -0.36),
    ]
    pen.fill([*crown, *fringe], colour)
    pen.stroke([(-0.62, -0.82), (-0.2, -0.98), (0.25, -0.98)], shade(colour, 1.18), 0.12)
    if drawing.streak:
        draw_streak(pen, drawing, colour)
    if drawing.hair_style == "braid":
        draw_braid(pen, TAIL_TO[drawing.hair_length], colour)


def draw_streak(pen: Pen, drawing: Drawing, hair: Colour) -> None:
    """A wide lock in a contrasting colour, from the crown down over the side."""
    choices = STREAKS[drawing.streak_colour :] + STREAKS[: drawing.streak_colour]
    colour = next(c for c in choices if sum(abs(a - b) for a, b in zip(c, hair, strict=True)) > 190)
    end = {"short hair": 0.8, "medium hair": 1.1, "long hair": 1.75}[drawing.hair_length]
    pen.blob(
        [
            (0.22, -1.14),
            (0.62, -1.06),
            (1.06, -0.62),
            (1.2, 0.0),
            (1.24, end * 0.6),
            (1.08, end),
            (0.84, end * 0.6),
            (0.8, 0.0),
            (0.62, -0.46),
            (0.3, -0.5),
        ],
        colour,
    )


def draw_braid(pen: Pen, end: float, colour: Colour) -> None:
    """One braid over the shoulder: overlapping links, a tie at the end."""
    links = max(4, round((end - 0.35) / 0.3))
    for index in range(links):
        y = 0.5 + (end - 0.35) * index / links
        pen.disc(-0.92 + 0.1 * index / links, y, 0.22, 0.2, colour if index % 2 else shade(colour, 0.9))
    pen.disc(-0.82, end + 0.12, 0.14, 0.14, (230, 70, 80))


def draw_ahoge(pen: Pen, colour: Colour) -> None:
    """One thick lock that stands up from the crown."""
    pen.blob([(-0.1, -1.1), (0.02, -1.45), (0.42, -1.56), (0.2, -1.34), (0.16, -1.1)], colour)
