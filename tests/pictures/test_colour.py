from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dataprep.pictures import colour as colour_module
from dataprep.pictures.colour import in_strips, opacity, to_srgb


def gradient() -> np.ndarray:
    return np.tile(np.arange(256, dtype=np.uint8), (8, 1))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = gradient().astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(to_srgb(image, "white"))[..., 1], gradient())


def test_float_and_32_bit_grey_are_scaled_to_their_white() -> None:
    unit = Image.fromarray(gradient().astype(np.float32) / 255)
    deep = Image.fromarray(gradient().astype(np.int32) * 257)
    for image in (unit, deep):
        assert np.array_equal(np.asarray(to_srgb(image, "white"))[..., 0], gradient())


def test_float_values_beyond_every_range_are_refused() -> None:
    with pytest.raises(ValueError, match="values up to"):
        to_srgb(Image.fromarray(np.full((4, 4), 1e9, np.float32)), "white")


@pytest.mark.parametrize(("peak", "shown"), [(250, 250), (256, None), (1000, None), (4095, None), (4112, 16)])
def test_float_levels_of_which_none_is_known_to_be_white_are_refused_not_shown_black(
    peak: int, shown: int | None
) -> None:
    image = Image.fromarray(np.full((4, 4), peak, np.float32))
    if shown is None:
        with pytest.raises(
            ValueError, match=f"values up to {peak}, where it is not known which one is white"
        ):
            to_srgb(image, "white")
    else:
        assert to_srgb(image, "white").getpixel((0, 0)) == (shown, shown, shown)


def test_lights_beyond_white_are_clipped_in_a_float_picture_scaled_to_1() -> None:
    ramp = np.linspace(0, 1.3, 64, dtype=np.float32)[None, :].repeat(4, axis=0)
    shown = np.asarray(to_srgb(Image.fromarray(ramp), "white"))[0, :, 0]
    assert shown.tolist() == np.clip(np.rint(ramp[0] * 255), 0, 255).astype(int).tolist()


def test_whole_numbers_in_a_float_picture_are_levels() -> None:
    levels = np.array([[0, 1, 3, 5]], np.float32)
    assert np.asarray(to_srgb(Image.fromarray(levels), "white"))[0, :, 0].tolist() == [0, 1, 3, 5]


def test_the_transparent_value_of_sixteen_bit_grey_is_resolved() -> None:
    deep = np.array([[1000, 1001, 40_000]], np.uint16)  # the first two are one level of 8 bits
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG", transparency=1000)
    with Image.open(buffer) as read:
        assert np.asarray(to_srgb(read, "white"))[0, :, 0].tolist() == [255, 4, 156]
        mask = opacity(read)
    assert mask is not None
    assert np.asarray(mask).tolist() == [[0, 255, 255]]


def test_the_transparent_colour_of_sixteen_bits_is_resolved() -> None:
    image = Image.new("RGB", (2, 1), (3, 7, 255))
    image.putpixel((1, 0), (9, 9, 9))
    image.info["transparency"] = (1000, 2000, 65535)  # as Pillow reads it beside pixels of 8 bits
    assert np.asarray(to_srgb(image, "white"))[0].tolist() == [[255] * 3, [9] * 3]


def test_not_a_number_becomes_black() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    assert np.asarray(to_srgb(Image.fromarray(values), "white"))[0, :, 0].tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize(("alpha", "shown"), [("white", 255), ("black", 0), ("colour", 77)])
def test_alpha_shows_what_the_policy_says(alpha: str, shown: int) -> None:
    image = Image.new("RGBA", (4, 4), (77, 77, 77, 0))
    assert to_srgb(image, alpha).getpixel((0, 0)) == (shown,) * 3  # type: ignore[arg-type]


def test_half_transparency_blends() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert to_srgb(image, "white").getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("mode", ["LA", "PA", "La", "RGBa"])
def test_every_kind_of_transparency_is_resolved(mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (77, 77, 77, 0))
    if mode == "La":
        image = image.convert("LA").convert("La")
    elif mode == "PA":
        image = image.convert("RGB").quantize(4).convert("PA")
        image.putalpha(0)
    else:
        image = image.convert(mode)
    assert to_srgb(image, "white").getpixel((0, 0)) == (255, 255, 255)


def test_transparent_palette_entries_and_colour_keys_are_resolved() -> None:
    for mode, key in (("P", 3), ("L", 77), ("RGB", (77, 77, 77))):
        image = Image.new("L", (8, 4), 77).convert(mode)
        if mode == "P":
            image = Image.new("P", (8, 4), 3)
            image.putpalette([77] * 768)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", transparency=key)
        with Image.open(buffer) as read:
            assert to_srgb(read, "white").getpixel((0, 0)) == (255, 255, 255), mode


def test_cmyk_without_a_profile_is_converted_plainly() -> None:
    assert to_srgb(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "white").getpixel((0, 0)) == (0, 255, 255)


def test_cmyk_in_jpeg_is_inverted_without_adobes_mark_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (64, 64), (255, 0, 0, 0)).save(path, quality=95)
    data = path.read_bytes()
    at = data.index(b"\xff\xee")
    path.write_bytes(data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :])
    with Image.open(path) as image:
        assert "adobe" not in image.info
        red, green, blue = to_srgb(image, "white").getpixel((5, 5))  # type: ignore[misc]
    assert red < 8 < 247 < min(green, blue)


def test_inverted_cmyk_of_adobe_jpeg_is_the_right_way_round(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 0, 0, 20)).save(tmp_path / "a.jpg")  # Pillow writes it as Adobe does
    with Image.open(tmp_path / "a.jpg") as image:
        assert "adobe" in image.info
        assert to_srgb(image, "white").getpixel((5, 5)) == pytest.approx((235, 235, 235), abs=3)


def printer_profile() -> bytes:
    """A CMYK profile: a table of 16 inks in Lab, (L, a, b) = (55, -40, -50) for full cyan."""
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += b"".join(struct.pack(">i", value << 16) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table += bytes(range(256)) * 4
    for cyan, magenta, yellow, black in itertools.product((0, 1), repeat=4):
        light = 100 * (1 - black) * (1 - 0.45 * cyan) * (1 - 0.5 * magenta) * (1 - 0.1 * yellow)
        a = (70 * magenta - 40 * cyan - 5 * yellow) * (1 - black)
        b = (85 * yellow - 50 * cyan - 5 * magenta) * (1 - black)
        table += bytes([round(light * 2.55), *(int(np.clip(value + 128, 0, 255)) for value in (a, b))])
    table += bytes(range(256)) * 3
    white = struct.pack(">3i", 63190, 65536, 54061)
    described = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"t\0" + b"\0" * 78
    tags = {b"desc": described, b"cprt": b"text\0\0\0\0x\0", b"wtpt": b"XYZ \0\0\0\0" + white, b"A2B0": table}
    index, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        index += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = bytearray(128)
    head[:40] = (
        struct.pack(">I4xI", 128 + len(index) + len(body), 0x02100000) + b"prtrCMYKLab ".ljust(24) + b"acsp"
    )
    head[68:80] = white
    return bytes(head) + index + body


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_the_profile_of_a_printer_decides_what_its_inks_look_like(tmp_path: Path, suffix: str) -> None:
    inks = {"cyan": (255, 0, 0, 0), "paper": (0, 0, 0, 0), "black": (0, 0, 0, 255)}
    found = {}
    for name, ink in inks.items():
        path = tmp_path / f"{name}.{suffix}"
        Image.new("CMYK", (64, 64), ink).save(path, icc_profile=printer_profile())
        with Image.open(path) as image:
            found[name] = to_srgb(image, "white").getpixel((9, 9))
    # Lab (55, -40, -50) lies beyond what sRGB can show of red; unmanaged it would be (0, 255, 255).
    assert found["cyan"] == pytest.approx((0, 150, 216), abs=6)
    assert found["paper"] == pytest.approx((255, 255, 255), abs=2)
    assert found["black"] == pytest.approx((0, 0, 0), abs=2)


def test_lab_becomes_srgb() -> None:
    lab = Image.merge("LAB", [Image.new("L", (2, 2), value) for value in (137, 208, 195)])
    assert to_srgb(lab, "white").getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=12)


def test_bilevel_hsv_and_ycbcr_become_rgb() -> None:
    assert to_srgb(Image.new("1", (2, 2), 1), "white").getpixel((0, 0)) == (255, 255, 255)
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    for mode in ("HSV", "YCbCr"):
        assert to_srgb(red.convert(mode), "white").getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=2)


def test_an_srgb_profile_changes_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    image = Image.fromarray(noise)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(to_srgb(image, "white")), noise)


def test_a_lab_profile_is_applied_to_lab_and_not_to_rgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    lab = Image.merge("LAB", [Image.new("L", (2, 2), value) for value in (137, 208, 195)])
    lab.info["icc_profile"] = profile
    assert to_srgb(lab, "white").getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=12)
    rgb = Image.new("RGB", (2, 2), (9, 99, 199))
    rgb.info["icc_profile"] = profile
    assert to_srgb(rgb, "white").getpixel((0, 0)) == (9, 99, 199)


def test_a_broken_profile_is_as_good_as_none() -> None:
    image = Image.new("RGB", (2, 2), (9, 99, 199))
    image.info["icc_profile"] = b"no profile at all" * 20
    assert to_srgb(image, "white").getpixel((0, 0)) == (9, 99, 199)


def test_grey_takes_an_rgb_profile() -> None:
    image = Image.fromarray(gradient())
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(to_srgb(image, "white"))[..., 2], gradient())


def pictures_of_every_mode() -> dict[str, Image.Image]:
    """40x37 px; a strip alone would be taken for one of another white, and not all strips have alpha."""
    ramp = np.add.outer(np.arange(37), np.arange(40) * 3)
    grey = Image.fromarray(ramp.astype(np.uint8))
    alpha = Image.fromarray(np.where(np.arange(37)[:, None] < 20, 255, ramp).astype(np.uint8))
    colour = Image.merge("RGB", [grey, alpha, grey.point(lambda level: 255 - level)])
    deep, keyed = Image.fromarray((ramp * 300).astype(np.uint16)), colour.quantize(16)
    deep.info["transparency"] = 1500
    keyed.info["transparency"] = bytes(range(0, 160, 10))
    managed = colour.copy()
    managed.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    rgba = colour.copy()
    rgba.putalpha(alpha)
    return {
        "I;16": deep,
        "I": Image.fromarray((ramp * 9).astype(np.int32)),
        "F": Image.fromarray((ramp / 20).astype(np.float32)),
        "fractions": Image.fromarray(np.where(ramp < 9, ramp / 8, 7).astype(np.float32)),
        "P": keyed,
        "1": grey.convert("1"),
        "LA": Image.merge("LA", [grey, alpha]),
        "RGBA": rgba,
        "CMYK": colour.convert("CMYK"),
        "profile": managed,
        "RGB": colour,
    }


@pytest.mark.parametrize("name", pictures_of_every_mode())
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_a_picture_resolved_in_strips_is_the_whole_one(
    monkeypatch: pytest.MonkeyPatch, name: str, reduction: int
) -> None:
    image = pictures_of_every_mode()[name]

    def resolved() -> list[Image.Image]:
        functions = [
            lambda one: to_srgb(one, "white"),
            lambda one: opacity(one) or Image.new("L", one.size, 255),
        ]
        return [in_strips(image.copy(), function, reduction) for function in functions]

    whole = resolved()
    monkeypatch.setattr(colour_module, "_STRIP_PIXELS", 4 * 40 * 3)  # three rows
    strips = resolved()
    assert [np.asarray(one).tolist() for one in strips] == [np.asarray(one).tolist() for one in whole]
