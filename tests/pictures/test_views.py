from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dataprep.framing.buckets import BucketGrid, Placement, bucket_sizes, place, place_without_upscaling
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.pictures.views import render, render_as_kohya
from dataprep.stage import Context
from dataprep.stages.bucket import Bucket

GOLDEN = Path(__file__).parent.parent / "golden" / "pixels"

SCHEMA = pa.schema(
    [*((name, pa.string()) for name in ("id", "role", "state", "reason")), *Bucket.needs]
)  # fmt: skip


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
    with np.load(GOLDEN / "expected.npz") as golden:
        expected = golden[f"{name}-{'upscale' if upscale else 'no_upscale'}-rgb-None"]
    assert np.array_equal(np.asarray(render_as_kohya(image, placement(image, upscale))), expected[..., :3])


GRID = BucketGrid((128, 128), 64, 512, 64)
CASES = json.loads((GOLDEN / "cases.json").read_text())


def placement(image: Image.Image, upscale: bool) -> Placement:
    return place(*image.size, bucket_sizes(GRID)) if upscale else place_without_upscaling(*image.size, GRID)


def sha256(image: Image.Image) -> str:
    return hashlib.sha256(np.asarray(image).tobytes()).hexdigest()


@pytest.mark.parametrize("case", CASES)
def test_every_interpolation_of_sd_scripts_gives_its_pixels(case: str) -> None:
    name, upscale, mode, interpolation = case.split("|")
    expected = CASES[case]
    image = Image.open(GOLDEN / name).convert(mode.upper())
    placed = placement(image, upscale == "upscale")
    assert [list(placed.bucket), list(placed.resized)] == [expected["bucket"], expected["resized"]]
    pixels = render_as_kohya(image, placed, None if interpolation == "None" else interpolation)  # type: ignore[arg-type]
    assert sha256(pixels) == expected["sha256"]


def test_all_the_reference_cases_are_there() -> None:
    assert len(CASES) == 52
    assert {case.split("|")[3] for case in CASES} == {
        "None",
        "lanczos",
        "bicubic",
        "bilinear",
        "nearest",
        "box",
    }


@pytest.mark.parametrize("name", ["exact", "land", "mixed_scale", "port", "rgba_wide", "small"])
def test_with_kohyas_plan_filter_and_centre_the_trained_picture_is_kohyas(
    context: Context, placed_row: Callable[..., dict[str, Any]], name: str
) -> None:
    with Image.open(GOLDEN / f"{name}.png") as image:
        size = image.size
    row = placed_row("a.png") | {"path": f"{name}.png", "width": size[0], "height": size[1]}
    row |= dict.fromkeys(Bucket.needs.names[2:]) | {"focus_x": 0.5, "focus_y": 0.5}
    shutil.copy(GOLDEN / f"{name}.png", context.raw)
    # What lies under the transparent parts is what sd-scripts would see.
    policy = PixelPolicy(alpha="colour", filter="kohya")
    context = replace(context, pixels=PixelCache(policy))
    names = ["id", "role", "state", "reason", *Bucket.needs.names]
    table = pa.Table.from_pylist([{key: row[key] for key in names}], schema=SCHEMA)
    stage = Bucket(resolution=128, min_side=64, max_side=512, plan="kohya", max_upscale=16)
    (found,) = stage.open(context)(table).to_pylist()
    assert sha256(context.view(row | found)) == CASES[f"{name}.png|upscale|rgb|None"]["sha256"]


def test_pixel_art_stays_crisp() -> None:
    image = noise(16, 16)
    enlarged = np.asarray(render(image, box(0, 0, 16, 16), 64, 64, "nearest"))
    assert np.array_equal(enlarged, np.asarray(image).repeat(4, axis=0).repeat(4, axis=1))


def test_kohyas_filter_reads_nothing_beyond_a_box_of_another_place() -> None:
    image = Image.new("RGB", (60, 60), "red")
    image.paste("blue", (0, 20, 40, 40))
    assert (np.asarray(render(image, box(0, 20, 40, 40), 16, 8, "kohya")) == (0, 0, 255)).all()
