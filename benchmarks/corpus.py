"""Pictures with planted copies and look-alikes, and the truth: what duplicate search is measured on.

Four kinds of picture (photo-like, drawn, text pages, nearly flat), edits of them that leave them the same
picture, and siblings that only look alike: another hair colour, another page of the same layout. Drawn
pictures that differ from another in one attribute only are planted apart (`changed_pairs`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from models.miniature.drawing import (
    BOY_OUTFITS,
    EYE_COLOURS,
    HAIR_COLOURS,
    MOUTHS,
    OUTFITS,
    POSES,
    Drawing,
    random_drawing,
    signature_drawing,
)
from models.miniature.world import render

Generator = np.random.Generator


@dataclass(frozen=True)
class Planted:
    """One picture of the corpus.

    Attributes:
        image: mode RGB.
        original: number of the picture it is a copy of, its own number if of none.
        kind: photo | drawing | page | flat.
        edit: what was done to it; "original" or "sibling" if nothing.
    """

    image: Image.Image
    original: int
    kind: str
    edit: str


def corpus(originals: int, seed: int) -> Iterator[Planted]:
    """Pictures in order: each original followed by its copies and, for every third, a look-alike sibling."""
    rng = np.random.default_rng(seed)
    number = 0
    for i in range(originals):
        kind = rng.choice(["photo", "drawing", "page", "flat"], p=[0.45, 0.4, 0.1, 0.05])
        image, sibling = MAKERS[str(kind)](rng)
        first = number
        yield Planted(image, first, str(kind), "original")
        number += 1
        if rng.random() < 0.45:
            for name in rng.choice(list(EDITS), size=int(rng.integers(1, 5)), replace=False):
                yield Planted(EDITS[str(name)](image, rng), first, str(kind), str(name))
                number += 1
        if i % 3 == 0:
            yield Planted(sibling, number, str(kind), "sibling")
            number += 1


def _sides(rng: Generator) -> tuple[int, int]:
    short = int(rng.integers(260, 620))
    long = int(short * rng.uniform(1.0, 1.8))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _clouds(rng: Generator, width: int, height: int, steepness: float) -> np.ndarray:
    """Noise whose spectrum falls as in photographs, 0 to 1, shape (H, W)."""
    fy = np.fft.fftfreq(height)[:, None] * height
    fx = np.fft.rfftfreq(width)[None, :] * width
    amplitude = 1 / np.maximum(np.hypot(fx, fy), 1.0) ** steepness
    phases = rng.uniform(0, 2 * np.pi, amplitude.shape)
    field = np.fft.irfft2(amplitude * np.exp(1j * phases), s=(height, width))
    low, high = np.quantile(field, [0.01, 0.99])
    spread: np.ndarray = np.clip((field - low) / (high - low), 0, 1)
    return spread


def _photo(rng: Generator) -> tuple[Image.Image, Image.Image]:
    """A scene of clouds and a few objects; the sibling is the same light and colours, another scene."""
    width, height = _sides(rng)
    steepness = rng.uniform(1.1, 1.7)
    dark, light = rng.uniform(0, 110, 3), rng.uniform(130, 255, 3)

    def scene() -> Image.Image:
        field = _clouds(rng, width, height, steepness)[..., None]
        tint = _clouds(rng, width, height, 1.6)[..., None] * rng.uniform(-40, 40, 3)
        image = Image.fromarray(np.clip(dark + field * (light - dark) + tint, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(0, 6))):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            rx, ry = rng.uniform(0.04, 0.3, 2) * min(width, height)
            fill = tuple(int(c) for c in rng.integers(0, 256, 3))
            (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(
                (x - rx, y - ry, x + rx, y + ry), fill=fill
            )
        return image

    return scene(), scene()


def _drawing(rng: Generator) -> tuple[Image.Image, Image.Image]:
    """A drawn character; the sibling has the same pose, framing and place and other colours."""
    width, height = _sides(rng)
    drawing = random_drawing(rng)
    return render(drawing, width, height), render(_other_colours(drawing, rng), width, height)


def _other_colours(drawing: Drawing, rng: Generator) -> Drawing:
    def other(options: tuple[str, ...], now: str) -> str:
        return str(rng.choice([option for option in options if option != now]))

    return replace(
        drawing,
        hair_colour=other(HAIR_COLOURS, drawing.hair_colour),
        eye_colour=other(EYE_COLOURS, drawing.eye_colour),
        outfit=other(OUTFITS, drawing.outfit),
    )


# What a picture can differ in from the next one of a set of expressions, poses or clothes.
ATTRIBUTES = {
    "expression": ("mouth", MOUTHS),
    "eyes": ("eyes", ("open", "closed eyes")),
    "pose": ("pose", (None, *POSES)),
    "hair colour": ("hair_colour", HAIR_COLOURS),
    "outfit": ("outfit", OUTFITS),
}
_SEEN_LEVELS, _SEEN_SHARE = 40, 0.001  # a change of fewer pixels than this share is hidden, by glasses say


@dataclass(frozen=True)
class Changed:
    """Two drawn pictures of one character that differ in one attribute.

    Attributes:
        attribute: of ATTRIBUTES.
        first: mode RGB.
        second: mode RGB, every third made smaller and recompressed.
    """

    attribute: str
    first: Image.Image
    second: Image.Image


def changed_pairs(characters: int, seed: int) -> Iterator[Changed]:
    """For each character a pair of every attribute whose change can be seen."""
    rng = np.random.default_rng(seed)
    made = 0
    for i in range(characters):
        drawing = signature_drawing(rng) if i % 2 else random_drawing(rng)
        width, height = _sides(rng)
        first = render(drawing, width, height)
        for name, (field, options) in ATTRIBUTES.items():
            if name == "outfit" and drawing.count == "1boy":
                options = BOY_OUTFITS
            others = [option for option in options if option != getattr(drawing, field)]
            value = others[int(rng.integers(len(others)))]
            changes: dict[str, Any] = {field: value}
            second = render(replace(drawing, **changes), width, height)
            apart = np.abs(np.asarray(first, np.int16) - np.asarray(second)).max(axis=2)
            if (apart > _SEEN_LEVELS).mean() < _SEEN_SHARE:
                continue
            made += 1
            yield Changed(name, first, second if made % 3 else _smaller(second, rng))


def _smaller(image: Image.Image, rng: Generator) -> Image.Image:
    return _encoded(_resized(image, rng), rng, "JPEG", 50, 90)


def _page(rng: Generator) -> tuple[Image.Image, Image.Image]:
    """A page of text; the sibling is the next page of the book."""
    width = int(rng.integers(300, 420))
    height = int(width * 1.41)
    margin, line = int(rng.integers(20, 40)), int(rng.integers(11, 16))
    ink = int(rng.integers(0, 60))

    def page() -> Image.Image:
        image = Image.new("RGB", (width, height), (252, 251, 248))
        draw = ImageDraw.Draw(image)
        y = margin
        while y < height - margin - line:
            if rng.random() < 0.12:
                y += line
                continue
            x = margin + (20 if rng.random() < 0.15 else 0)
            end = width - margin if rng.random() < 0.8 else rng.uniform(0.3, 0.9) * width
            while x < end:
                letters = "".join(chr(97 + int(c)) for c in rng.integers(0, 26, int(rng.integers(2, 9))))
                draw.text((x, y), letters, fill=(ink,) * 3)
                x += 6 * len(letters) + 5
            y += line
        return image

    return page(), page()


_WORDS = (
    "the of and to in that for was with his not but from they which one you were her she there would when "
    "who will more about than into them other time new some could these first only like over such great "
    "good world make year still see work men day get between both life being under three never know same last"
)


def word_page(rng: Generator) -> Image.Image:
    """A full page of a book, 620 x 877 px: English words in paragraphs, one layout for every page."""
    image = Image.new("RGB", (620, 877), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    y, words = 70, iter(rng.choice(_WORDS.split(), 2000))
    while y < 800:
        line = ""
        while draw.textlength(f"{line} xxxxxx", font=font) < 480:
            line = f"{line} {next(words)}"
        if rng.random() < 0.1:  # a paragraph ends
            line = line[: int(rng.integers(5, len(line)))]
        draw.text((70, y), line, fill="black", font=font)
        y += 22
    return image


def _flat(rng: Generator) -> tuple[Image.Image, Image.Image]:
    """A plain wall in soft light; the sibling is another wall."""
    width, height = _sides(rng)

    def wall() -> Image.Image:
        colour = rng.uniform(30, 225, 3)
        slope = np.linspace(-1, 1, width)[None, :, None] * rng.uniform(-6, 6)
        slope = slope + np.linspace(-1, 1, height)[:, None, None] * rng.uniform(-6, 6)
        return Image.fromarray(np.clip(colour + slope, 0, 255).astype(np.uint8))

    return wall(), wall()


MAKERS: dict[str, Callable[[Generator], tuple[Image.Image, Image.Image]]] = {
    "photo": _photo,
    "drawing": _drawing,
    "page": _page,
    "flat": _flat,
}


def _encoded(image: Image.Image, rng: Generator, form: str, low: int, high: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=int(rng.integers(low, high)))
    return Image.open(buffer).convert("RGB")


def _resized(image: Image.Image, rng: Generator) -> Image.Image:
    scale = rng.uniform(0.35, 0.9)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, rng: Generator, most: float = 0.06) -> Image.Image:
    """Up to `most` of each dimension is cut away, shared at random between the two sides."""
    cut_x, cut_y = rng.uniform(0.01, most, 2)
    left, top = rng.uniform(0, cut_x) * image.width, rng.uniform(0, cut_y) * image.height
    right, bottom = left + (1 - cut_x) * image.width, top + (1 - cut_y) * image.height
    return image.crop((round(left), round(top), round(right), round(bottom)))


def _watermarked(image: Image.Image, rng: Generator) -> Image.Image:
    mark = Image.new("L", (70, 14), 0)
    ImageDraw.Draw(mark).text((2, 1), "(c) example", fill=200)
    scale = image.width * rng.uniform(0.25, 0.5) / mark.width
    mark = mark.resize((round(mark.width * scale), round(mark.height * scale)), Image.Resampling.BICUBIC)
    at = (
        round(rng.uniform(0, image.width - mark.width)),
        round(rng.choice([0.05, 0.8]) * (image.height - mark.height)),
    )
    marked = image.copy()
    marked.paste((255, 255, 255), at, mark)
    return marked


def _bordered(image: Image.Image, rng: Generator) -> Image.Image:
    width, height = (round(side * rng.uniform(0.03, 0.2)) for side in image.size)
    colour = str(rng.choice(["black", "white"]))
    around = [(0, height, 0, height), (width, 0, width, 0), (width, height, width, height)][
        int(rng.integers(0, 3))
    ]
    return ImageOps.expand(image, around, colour)


EDITS: dict[str, Callable[[Image.Image, Generator], Image.Image]] = {
    "jpeg": lambda image, rng: _encoded(image, rng, "JPEG", 35, 90),
    "webp": lambda image, rng: _encoded(image, rng, "WEBP", 40, 90),
    "resize": _resized,
    "grey": lambda image, rng: image.convert("L").convert("RGB"),
    "brightness": lambda image, rng: ImageEnhance.Brightness(image).enhance(
        float(rng.choice([rng.uniform(0.7, 0.9), rng.uniform(1.1, 1.3)]))
    ),
    "contrast": lambda image, rng: ImageEnhance.Contrast(image).enhance(
        float(rng.choice([rng.uniform(0.7, 0.9), rng.uniform(1.1, 1.4)]))
    ),
    "crop": _cropped,
    "watermark": _watermarked,
    "border": _bordered,
    "combination": lambda image, rng: _encoded(
        _resized(_cropped(image, rng, 0.04), rng), rng, "JPEG", 50, 90
    ),
}
