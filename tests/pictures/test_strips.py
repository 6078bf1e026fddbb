from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprep.framing.boxes import Box
from dataprep.pictures import pixels, strips
from dataprep.pictures.pixels import PixelCache, PixelPolicy, load_rgb, load_view
from dataprep.pictures.views import render, view

BOX = Box(13, 7, 120, 83)


@pytest.fixture(autouse=True)
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is large, and a strip has few rows."""
    monkeypatch.setattr(pixels, "LARGE_PX", 100)
    monkeypatch.setattr(strips, "_STRIP_PIXELS", 700)


def noise(mode: str, size: tuple[int, int] = (140, 90)) -> Image.Image:
    rng = np.random.default_rng(0)
    if mode == "F":
        return Image.fromarray(rng.random((size[1], size[0]), np.float32))
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (size[1], size[0]), np.uint16))
    grey = [
        Image.fromarray(rng.integers(0, 256, (size[1], size[0]), np.uint8))
        for _ in range(4 if mode == "CMYK" else len(mode))
    ]
    return Image.merge(mode, grey) if len(grey) > 1 else grey[0]


def check(path: Path, policy: PixelPolicy, box: Box, width: int, height: int) -> None:
    found = load_view(path, policy, box, width, height)
    assert found is not None
    narrowed = render(load_rgb(path, policy), box.as_dict(), width, box.height)
    expected = render(narrowed, Box(0, 0, width, box.height).as_dict(), width, height)
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("size", [(32, 24), (107, 76), (107, 30), (40, 76), (200, 150)])
def test_a_view_in_strips_is_that_of_the_whole_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    noise("RGB").save(tmp_path / "a.png")
    check(tmp_path / "a.png", PixelPolicy(), BOX, *size)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_view_in_strips_is_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    size = (140, 90) if orientation < 5 else (90, 140)
    noise("RGB", size).save(tmp_path / f"a.{suffix}", exif=exif)
    check(tmp_path / f"a.{suffix}", PixelPolicy(), BOX, 32, 24)


TALL = [((80, 133), (32, 24)), ((100, 400), (32, 24)), ((100, 300), (64, 128)), ((60, 1000), (90, 100))]


@pytest.mark.parametrize(("size", "to"), TALL)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tall_boxes_are_narrowed_first_too(
    tmp_path: Path, orientation: int, size: tuple[int, int], to: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    noise("RGB", size if orientation < 5 else size[::-1]).save(tmp_path / "a.png", exif=exif)
    check(tmp_path / "a.png", PixelPolicy(), Box(0, 0, *size), *to)
    check(tmp_path / "a.png", PixelPolicy(), Box(3, 5, size[0] - 2, size[1] - 1), *to)


@pytest.mark.parametrize(("size", "to"), TALL)
def test_a_large_view_is_the_same_whether_its_picture_is_held_or_not(
    tmp_path: Path, size: tuple[int, int], to: tuple[int, int]
) -> None:
    noise("RGB", size).save(tmp_path / "a.png")
    cache, box = PixelCache(PixelPolicy()), Box(0, 0, *size).as_dict()
    before = view(cache, tmp_path / "a.png", "key", box, *to)
    cache.load(tmp_path / "a.png", "key")
    assert np.array_equal(view(cache, tmp_path / "a.png", "key", box, *to), before)


def test_views_of_other_pictures_are_resized_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "LARGE_PX", 100 * 400)
    noise("RGB", (100, 400)).save(tmp_path / "a.png")
    found = view(PixelCache(PixelPolicy()), tmp_path / "a.png", "key", Box(0, 0, 100, 400).as_dict(), 32, 24)
    at_once = noise("RGB", (100, 400)).resize((32, 24), Image.Resampling.LANCZOS)
    assert np.array_equal(found, at_once)


@pytest.mark.parametrize("alpha", ["white", "black", "colour", "mask"])
@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("F", "tif"), ("I;16", "png"), ("CMYK", "jpg")]
)
def test_any_depth_and_transparency_is_resolved_in_strips(
    tmp_path: Path, mode: str, suffix: str, alpha: pixels.Alpha
) -> None:
    noise(mode).save(tmp_path / f"a.{suffix}")
    check(tmp_path / f"a.{suffix}", PixelPolicy(alpha=alpha), BOX, 32, 24)


def test_a_box_outside_the_picture_is_refused(tmp_path: Path) -> None:
    noise("RGB").save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="does not lie in a picture of 140x90 px"):
        load_view(tmp_path / "a.png", PixelPolicy(), Box(0, 0, 141, 90), 64, 64)


def test_large_pictures_are_not_held_and_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise("RGB").save(tmp_path / "a.png")
    box = BOX.as_dict()
    cache = PixelCache(PixelPolicy())
    large = view(cache, tmp_path / "a.png", "key", box, 32, 24)
    assert not cache._held
    monkeypatch.setattr(pixels, "LARGE_PX", 140 * 90)
    assert np.array_equal(view(cache, tmp_path / "a.png", "key", box, 32, 24), large)
    assert list(cache._held) == ["key"]
