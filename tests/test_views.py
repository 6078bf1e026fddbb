from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprep.buckets import BucketGrid, bucket_sizes, place, place_without_upscaling
from dataprep.views import render, render_as_kohya

GOLDEN = Path(__file__).parent / "golden" / "pixels"


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def box(left: int, top: int, right: int, bottom: int) -> dict[str, int]:
    return {"left": left, "top": top, "right": right, "bottom": bottom}


def test_a_box_of_the_right_size_is_cut_without_resampling() -> None:
    image = noise(40, 30)
    cut = render(image, box(4, 5, 20, 21), 16, 16)
    assert np.array_equal(np.asarray(cut), np.asarray(image)[5:21, 4:20])


def test_nothing_outside_the_box_shows() -> None:
    image = Image.new("RGB", (60, 60), "red")
    image.paste("blue", (20, 20, 40, 40))
    cut = np.asarray(render(image, box(20, 20, 40, 40), 8, 8))
    assert (cut == (0, 0, 255)).all()


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: has to become grey
    cut = np.asarray(render(Image.fromarray(stripes), box(0, 0, 240, 240), 64, 64)).astype(int)
    assert np.abs(cut[:, 4:-4] - 127).max() <= 6


@pytest.mark.parametrize("edges", [(0, 0, 61, 60), (-1, 0, 60, 60), (30, 0, 30, 60), (0, 40, 60, 20)])
def test_a_box_that_is_empty_or_outside_is_refused(edges: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie in a picture of 60x60"):
        render(noise(60, 60), box(*edges), 8, 8)


@pytest.mark.parametrize(
    ("name", "upscale"), [("land", True), ("land", False), ("small", True), ("mixed_scale", True)]
)
def test_kohya_pixels_are_those_of_sd_scripts(name: str, upscale: bool) -> None:
    image = Image.open(GOLDEN / f"{name}.png").convert("RGB")
    grid = BucketGrid((128, 128), 64, 512, 64)
    placed = place(*image.size, bucket_sizes(grid)) if upscale else place_without_upscaling(*image.size, grid)
    with np.load(GOLDEN / "expected.npz") as golden:
        expected = golden[f"{name}-{'upscale' if upscale else 'no_upscale'}-rgb-None"]
    assert np.array_equal(np.asarray(render_as_kohya(image, placed)), expected[..., :3])
