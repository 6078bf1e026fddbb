from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from dataprep.errors import RowError
from dataprep.pictures import formats
from dataprep.pictures.pixels import PixelPolicy, load_rgb, probe


def refused(path: Path) -> RowError:
    with pytest.raises(RowError) as caught:
        probe(path)
    return caught.value


@pytest.mark.parametrize("channels", [3, 4])
def test_deep_colour_in_jpeg_2000_is_refused_rather_than_shown_wrong(tmp_path: Path, channels: int) -> None:
    white = np.full((64, 64, channels), 65535, np.uint16)
    cv2.imwrite(str(tmp_path / "a.jp2"), white)
    error = refused(tmp_path / "a.jp2")
    assert error.code == "unsupported"
    assert "16 bits" in error.detail
    with pytest.raises(RowError, match="unsupported"):
        load_rgb(tmp_path / "a.jp2", PixelPolicy())


@pytest.mark.parametrize("deep", [np.full((64, 64), 65535, np.uint16), np.full((64, 64, 3), 255, np.uint8)])
def test_other_jpeg_2000_is_read(tmp_path: Path, deep: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.jp2"), deep)
    assert load_rgb(tmp_path / "a.jp2", PixelPolicy()).getpixel((5, 5)) == (255, 255, 255)


def test_a_sound_tiff_of_float_colour_is_named_as_such(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), np.full((64, 64, 3), 0.5, np.float32))
    error = refused(tmp_path / "a.tif")
    assert error.code == "unsupported"
    assert "3 samples a pixel, float numbers of 32 bits" in error.detail


def test_the_head_of_a_tiff_alone_is_damaged_not_unsupported(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0")
    assert refused(tmp_path / "a.tif").code == "unreadable"


def icon(path: Path, side: int) -> None:
    """One entry that says 64 px, whatever the picture in it is."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, "PNG")
    entry = struct.pack("<BBBBHHII", 64, 64, 0, 0, 1, 32, len(buffer.getvalue()), 22)
    path.write_bytes(struct.pack("<HHH", 0, 1, 1) + entry + buffer.getvalue())


def test_an_icon_that_hides_a_large_picture_is_not_decoded(tmp_path: Path) -> None:
    icon(tmp_path / "a.ico", 1025)
    assert refused(tmp_path / "a.ico").code == "too-large"
    icon(tmp_path / "b.ico", 64)
    assert probe(tmp_path / "b.ico").width == 64
    for sizes in ([(16, 16), (256, 256)], [(48, 48)]):
        Image.new("RGBA", (256, 256), "red").save(tmp_path / "c.ico", sizes=sizes, bitmap_format="bmp")
        assert probe(tmp_path / "c.ico").width == sizes[-1][0]


@pytest.mark.parametrize("late", [False, True])
def test_a_png_with_long_packed_texts_is_read(tmp_path: Path, late: bool) -> None:
    path = tmp_path / "a.png"
    png_with_text(path, 3 << 20, late=late)
    assert probe(path).width == 80
    assert load_rgb(path, PixelPolicy()).size == (80, 80)


def test_a_png_with_a_long_profile_is_read(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (80, 80), "red").save(tmp_path / "a.png", icc_profile=profile + b"\0" * (2 << 20))
    assert load_rgb(tmp_path / "a.png", PixelPolicy()).getpixel((9, 9)) == (255, 0, 0)


def test_texts_that_would_fill_memory_are_named_as_the_reason(tmp_path: Path) -> None:
    png_with_text(tmp_path / "a.png", 17 << 20)
    error = refused(tmp_path / "a.png")
    assert error.code == "too-large"
    assert "over 16 MiB unpacked" in error.detail
    png_with_text(tmp_path / "b.png", *[15 << 20] * 3)
    assert "together over 32" in refused(tmp_path / "b.png").detail


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", [b"tEXt", b"prVt"])
def test_a_long_chunk_that_is_not_packed_is_refused_before_it_is_read(
    tmp_path: Path, late: bool, kind: bytes
) -> None:
    path = tmp_path / "a.png"
    about = PngImagePlugin.PngInfo()
    about.add(kind, b"workflow\0" + bytes(17 << 20), after_idat=late)
    Image.new("RGB", (80, 80), "red").save(path, pnginfo=about)
    tracemalloc.start()
    error = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.code == "too-large"
    assert peak < 2 << 20


def png_with_text(path: Path, *lengths: int, late: bool = False) -> None:
    """A picture with a packed text of each length, bytes, before or behind its pixels."""
    about = PngImagePlugin.PngInfo()
    for i, length in enumerate(lengths):
        about.add(b"zTXt", f"workflow{i}".encode() + b"\0\0" + zlib.compress(b"x" * length), after_idat=late)
    Image.new("RGB", (80, 80), "red").save(path, pnginfo=about)


def test_a_png_of_many_profiles_is_refused(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (80, 80), "red").save(tmp_path / "a.png", icc_profile=profile)
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"iCCP") - 4
    chunk = data[at : at + 12 + int.from_bytes(data[at : at + 4])]
    assert probe(tmp_path / "a.png").width == 80
    (tmp_path / "a.png").write_bytes(data[:at] + chunk + data[at:])
    assert "more than one profile" in refused(tmp_path / "a.png").detail


def of_scans(path: Path, more: int) -> None:
    """A progressive JPEG whose last scan comes that many times more."""
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), "red").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    path.write_bytes(data[:-2] + data[data.rfind(b"\xff\xda") : -2] * more + data[-2:])


@pytest.mark.parametrize("window", [5, 1 << 20])
def test_a_jpeg_that_draws_itself_over_and_over_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(formats, "_WINDOW", window)
    of_scans(tmp_path / "few.jpg", 80)
    assert load_rgb(tmp_path / "few.jpg", PixelPolicy()).size == (80, 80)
    of_scans(tmp_path / "many.jpg", 100)
    assert refused(tmp_path / "many.jpg").code == "too-large"
    plain = (tmp_path / "few.jpg").read_bytes() + b"\xff\xda\0\2" * 200  # a film behind a picture, say
    (tmp_path / "plain.jpg").write_bytes(plain)
    assert probe(tmp_path / "plain.jpg").width == 80


@pytest.mark.parametrize("brand", [b"heic", b"hevx", b"hevm", b"miaf", b"mif1"])
def test_every_brand_of_heif_names_the_package_it_needs(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(4) + b"mif1heic" + bytes(64))
    assert "pillow-heif" in refused(tmp_path / "a.heic").detail
