"""The miniature family's world: cartoon characters whose tags are known, because they were drawn from them.

Owns `render`: one drawing at any size and aspect, the same character whatever the frame's shape.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from models.miniature.drawing import (
    VOCABULARY,
    Drawing,
    random_drawing,
    signature_drawing,
    tags,
    with_random_signature,
)
from models.miniature.figure import draw_figure
from models.miniature.pen import SUPERSAMPLE, Pen, new_canvas
from models.miniature.scenery import draw_scenery

__all__ = [
    "VOCABULARY",
    "Drawing",
    "random_drawing",
    "render",
    "signature_drawing",
    "tags",
    "with_random_signature",
]

# Figure units (1 = half a head's width) from the head's centre, downwards positive.
TOP = -1.62
BOTTOM = {"portrait": 1.62, "upper body": 2.45, "full body": 3.72}
NARROWEST = 2.75


def render(drawing: Drawing, width: int, height: int) -> Image.Image:
    """Draw the picture, RGB, width x height px. Pure: equal drawings give equal pixels.

    Raises:
        ValueError: if a side is under 16 px.
    """
    if min(width, height) < 16:
        raise ValueError(f"render: {width}x{height} px is too small; both sides need 16 px or more")
    image = new_canvas(width, height)
    canvas = ImageDraw.Draw(image)
    rng = np.random.default_rng(drawing.seed)
    draw_scenery(canvas, drawing, image.width, image.height, rng)
    draw_figure(figure_pen(canvas, drawing, image.width, image.height), drawing, rng)
    return lit(image.reduce(SUPERSAMPLE), drawing)


def figure_pen(canvas: ImageDraw.ImageDraw, drawing: Drawing, width: int, height: int) -> Pen:
    """A pen whose origin is the head's centre: the framing's lower edge lies on the picture's lower edge."""
    bottom = BOTTOM[drawing.framing]
    unit_px = min(height / (bottom - TOP), width / NARROWEST) * drawing.zoom
    room_px = max(0.0, width / 2 - 1.35 * unit_px)
    x = width / 2 + drawing.shift * max(room_px * 0.8, 0.08 * unit_px)
    y = height - bottom * unit_px
    line_px = max(2, round(unit_px * 0.036 * drawing.line))
    return Pen(canvas, (x, y), unit_px, flip=drawing.flip, line_px=line_px)


def lit(image: Image.Image, drawing: Drawing) -> Image.Image:
    """The picture under the drawing's light: brightness, tint, and a soft fall-off across the frame."""
    rng = np.random.default_rng(drawing.seed + 1)
    across = np.linspace(-1, 1, image.width, dtype=np.float32)[None, :, None]
    down = np.linspace(-1, 1, image.height, dtype=np.float32)[:, None, None]
    slope_x, slope_y = rng.uniform(-0.05, 0.05, 2).astype(np.float32)
    tint = np.array([1 + 0.03 * drawing.warmth, 1.0, 1 - 0.03 * drawing.warmth], dtype=np.float32)
    gain = drawing.light * tint * (1 + slope_x * across + slope_y * down)
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.float32) * gain, 0, 255).astype(np.uint8))
