"""Training pictures of the miniature family: rendered once by all cores, kept as arrays on disk.

Owns what is drawn for whom: plain characters, characters with signature features for the judge alone, and
pictures strewn with shapes for the VAE.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.miniature.drawing import Drawing
from models.miniature.world import random_drawing, render, with_random_signature

Pixels = NDArray[np.uint8]


def drawings(count: int, seed: int) -> list[Drawing]:
    """Random characters without signature, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [random_drawing(rng) for _ in range(count)]


def signed_drawings(count: int, seed: int) -> list[Drawing]:
    """Random characters with independent signature features, for the judge."""
    rng = np.random.default_rng(seed)
    return [with_random_signature(random_drawing(rng), rng) for _ in range(count)]


def pixels(drawing: Drawing, width: int, height: int) -> Pixels:
    """The rendered picture, uint8 (H, W, 3)."""
    return np.asarray(render(drawing, width, height))


def strewn_pixels(drawing: Drawing, width: int, height: int) -> Pixels:
    """The picture, half of the time with shapes of any colour on it, so that the VAE learns colours and edges
    rather than this world's few objects."""
    picture = np.asarray(render(drawing, width, height))
    rng = np.random.default_rng(drawing.seed + 2)
    return strewn(picture, rng) if rng.random() < 0.5 else picture


def strewn(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture, uint8 (H, W, 3), with one to four shapes of any colour on it."""
    image = Image.fromarray(picture)
    for _ in range(int(rng.integers(1, 5))):
        strew(image, rng)
    return np.asarray(image)


def strew(image: Image.Image, rng: np.random.Generator) -> None:
    """Draw one random ellipse, polygon or striped band onto the picture."""
    canvas = ImageDraw.Draw(image)
    first, second = (tuple(int(c) for c in rng.integers(0, 256, 3)) for _ in range(2))
    x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
    size = rng.uniform(10, 44)
    kind = int(rng.integers(0, 3))
    if kind == 0:
        canvas.ellipse(
            (x - size, y - size * 0.7, x + size, y + size * 0.7), fill=first, outline=second, width=3
        )
    elif kind == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 6))
        corners = [(x + size * float(np.cos(a)), y + size * float(np.sin(a))) for a in angles]
        canvas.polygon(corners, fill=first, outline=second)
    else:
        width = rng.uniform(9, 20)
        for index in range(5):
            left = x + index * width
            canvas.rectangle((left, y, left + width, y + size), fill=(first, second)[index % 2])


def _draw(task: tuple[Callable[[Drawing, int, int], Pixels], Drawing, int, int]) -> Pixels:
    draw, drawing, width, height = task
    return draw(drawing, width, height)


def rendered(
    cache: Path,
    truths: list[Drawing],
    width: int,
    height: int,
    draw: Callable[[Drawing, int, int], Pixels] = pixels,
) -> Pixels:
    """All pictures, uint8 (N, H, W, 3), memory-mapped from `cache`, drawn first if it is missing."""
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(".part.npy")
        stack = np.lib.format.open_memmap(
            part, mode="w+", dtype=np.uint8, shape=(len(truths), height, width, 3)
        )
        with ProcessPoolExecutor() as pool:
            tasks = ((draw, drawing, width, height) for drawing in truths)
            for index, picture in enumerate(pool.map(_draw, tasks, chunksize=32)):
                stack[index] = picture
        stack.flush()
        part.replace(cache)
    loaded: Pixels = np.load(cache, mmap_mode="r")
    return loaded


def jpeg(picture: Pixels, quality: int) -> Pixels:
    """The picture after one JPEG encoding, uint8 (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))
