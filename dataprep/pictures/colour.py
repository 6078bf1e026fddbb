"""Any decoded picture to sRGB, 8 bit, RGB. This file decides how depth, profile, palette and alpha are read.

Without a profile, RGB and grey are taken as sRGB and CMYK is converted without colour management, as browsers
do. CMYK in JPEG is taken as inverted, with Adobe's mark or without, as by browsers and Pillow, not libvips.
Alpha is composited in the encoded values, also as browsers do.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

Alpha = Literal["white", "black", "colour", "mask"]
_BACKGROUND = {"white": (255, 255, 255), "black": (0, 0, 0), "mask": (255, 255, 255)}
# Mode a picture must be in before a profile of this colour space is applied to it.
_PROFILE_MODE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_BRIGHTEST = 8.0  # times white: the light that a float picture may have and still be one scaled to 1
_DARKEST = 4096.0  # greatest value under which a float picture counted to 65535 would be all but black
_WHITE = "dataprep white"  # in a picture's info: what its white level was found to be
_STRIP_PIXELS = 8 << 20  # up to which a picture is resolved at once
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


def to_srgb(image: Image.Image, alpha: Alpha) -> Image.Image:
    """The picture as 8-bit sRGB in mode RGB, transparency resolved.

    Args:
        image: decoded, any mode Pillow knows.
        alpha: what shows through: "white" (for "mask" too), "black", or "colour" for the hidden colours.
    Raises:
        ValueError: a float picture has values outside every known range.
    """
    icc = image.info.get("icc_profile")
    image, mask = _split_alpha(_eight_bits(image))
    rgb = _managed(image, icc) if icc else None
    if rgb is None:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
    if mask is None or alpha == "colour":
        return rgb
    canvas = Image.new("RGB", rgb.size, _BACKGROUND[alpha])
    canvas.paste(rgb, mask=mask)
    return canvas


def with_alpha(image: Image.Image) -> Image.Image:
    """A decoded picture of any mode in its own colours, 8 bits, mode RGBA. Raises ValueError."""
    return _rgba(_eight_bits(image))


def opacity(image: Image.Image) -> Image.Image | None:
    """The alpha of a decoded picture, mode L; None where nothing is transparent."""
    return _split_alpha(_eight_bits(image))[1]


def in_strips(
    image: Image.Image, resolve: Callable[[Image.Image], Image.Image], reduction: int = 1
) -> Image.Image:
    """A large picture resolved and made smaller strip by strip, so that only strips of it exist twice.

    Args:
        image: decoded, any mode.
        resolve: what is done to its pixels, each by itself.
        reduction: factor of making it smaller, as of Image.reduce.
    Returns:
        What the whole picture, resolved and reduced at once, would be.
    """
    width, height = image.size
    if width * height <= _STRIP_PIXELS or (
        reduction == 1 and image.mode == "RGB" and not image.info.get("icc_profile")
    ):
        whole = resolve(image)
        return whole.reduce(reduction) if reduction > 1 else whole
    rows = reduction * max(1, _STRIP_PIXELS // 4 // (width * reduction))
    result: Image.Image | None = None
    with with_white(image):
        for top in range(0, height, rows):
            strip = resolve(image.crop((0, top, width, min(top + rows, height))))
            strip = strip.reduce(reduction) if reduction > 1 else strip
            if result is None:
                result = Image.new(strip.mode, (strip.width, -(-height // reduction)))
            result.paste(strip, (0, top // reduction))
    return resolve(image) if result is None else result


@contextmanager
def with_white(image: Image.Image) -> Iterator[None]:
    """Let all parts that are cut from a deep picture know what is white in the whole. Raises ValueError."""
    if _is_deep(image):
        image.info[_WHITE] = _white_of(image)
    try:
        yield
    finally:
        image.info.pop(_WHITE, None)


def _is_deep(image: Image.Image) -> bool:
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or float scaled to 8 bits, one value transparent if so said; others as is."""
    if not _is_deep(image):
        return image
    values = np.asarray(image)
    levels = values.astype(np.float32)
    white = image.info.get(_WHITE) or _white_of(image)
    scaled = np.nan_to_num(levels, nan=0.0, posinf=white, neginf=0.0) * np.float32(255.0 / white)
    grey = Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    grey.info = dict(image.info)
    key = grey.info.pop("transparency", None)  # of the deep values: said of the scaled ones it hides others
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _white_of(image: Image.Image) -> float:
    """The value that means white in a deep picture, found strip by strip. Raises ValueError."""
    if image.mode.startswith("I;16"):
        return 65535.0
    peak, fractions = 0.0, False
    rows = max(1, _STRIP_PIXELS // 4 // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        values = values.astype(np.float32)
        values = values[np.isfinite(values)]
        peak = max(peak, float(values.max(initial=0.0)))
        fractions = fractions or bool((values != np.rint(values)).any())
    return _white_level(peak, image.mode, fractions=fractions)


def _white_level(peak: float, mode: str, *, fractions: bool) -> float:
    """The value that means white. 32-bit and float files do not say, so the least usual one that fits.

    Float pictures scaled to 1 may have lights beyond white: fractions up to 8 are taken as such, and clipped.
    Whole numbers over 1 count levels, of 255 or 65535; between the two no guess is made at what white is.

    Args:
        peak: greatest finite value of the picture.
        mode: Pillow's name of what they are.
        fractions: whether some values are no whole numbers.
    Raises:
        ValueError: a float picture has values outside every known range.
    """
    if mode == "F" and 1.0 < peak <= _BRIGHTEST and fractions:
        return 1.0
    if mode == "F" and 255.0 < peak < _DARKEST:
        raise ValueError(
            f"float picture with values up to {peak:g}, where it is not known which one is white; "
            "save it with 8 or 16 bits"
        )
    levels = (65535.0, 4294967295.0) if mode == "I" else (1.0, 255.0, 65535.0)
    for level in levels:
        if peak <= level:
            return level
    raise ValueError(f"float picture with values up to {peak:g}")


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Opaque picture and its 8-bit alpha, None where nothing is transparent."""
    if not image.has_transparency_data:
        return image, None
    rgba = _rgba(image)
    alpha = rgba.getchannel("A")
    mask = None if alpha.getextrema() == (255, 255) else alpha
    grey = image.mode in {"LA", "La", "L", "1"}
    return rgba.convert("RGB").convert("L") if grey else rgba.convert("RGB"), mask


def _rgba(image: Image.Image) -> Image.Image:
    """A picture of 8 bits with its transparency as alpha."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:  # of 16 bits, and Pillow reads 8
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _managed(image: Image.Image, icc: bytes) -> Image.Image | None:
    """The picture through its profile; None if the profile is broken or is not one for such a picture."""
    if image.mode == "P":
        image = image.convert("RGB")
    transform = _transform(icc, "L" if image.mode in GREY_MODES else image.mode)
    if transform is None:
        return None
    wanted, apply = transform
    if image.mode != wanted:
        image = image.convert(wanted)
    if apply is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    return apply.apply(image)


@lru_cache(maxsize=64)
def _transform(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None] | None:
    """(mode to be in, transform to sRGB or None where it would change nothing); None: not usable."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        wanted = _PROFILE_MODE.get(space)
        if wanted is None or (mode != wanted and not (mode == "L" and wanted == "RGB")):
            return None
        transform = ImageCms.buildTransform(
            profile,
            _srgb(),
            wanted,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None  # a damaged profile: taken as if there were none
    return wanted, None if _changes_nothing(transform, wanted) else transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether the profile is sRGB in all but name: no sample of the cube moves by more than one level."""
    if mode not in {"RGB", "L"}:
        return False
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    if mode == "L":
        grid = np.arange(256, dtype=np.uint8)[None, :]  # (1, 256)
        expected = np.repeat(grid[..., None], 3, axis=2)
    else:
        grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(17, 289, 3)
        expected = grid
    found = np.asarray(transform.apply(Image.fromarray(grid)))
    return int(np.abs(found.astype(np.int16) - expected).max()) <= 1


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
