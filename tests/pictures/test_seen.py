from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataprep.pictures.seen import seen
from dataprep.stage import Context

Make = Callable[..., dict[str, Any]]


def row_of(
    context: Context, width: int, height: int, box: tuple[int, int, int, int], bucket: tuple[int, int]
) -> Any:
    """A soft drawing with edges, as a JPEG, and its row."""
    across, down = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 9, height))
    planes = [np.sin(across) * 90 + 128, np.cos(down) * 90 + 128, (across > down) * 200.0]
    Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)).save(context.raw / "a.jpg", quality=95)
    sides = dict(zip(("left", "top", "right", "bottom"), box, strict=True))
    return {
        "id": "a", "path": "a.jpg", "role": "train", "pixels_key": "a", "width": width, "height": height,
        "box": sides, "bucket_width": bucket[0], "bucket_height": bucket[1],
    }  # fmt: skip


def psnr(one: Image.Image, other: Image.Image) -> float:
    error = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return float(10 * np.log10(255**2 / max(1e-9, (error**2).mean())))


@pytest.mark.parametrize("box", [(0, 0, 1600, 1200), (333, 101, 1533, 1001)])
def test_a_large_picture_is_seen_as_it_is_trained(context: Context, box: tuple[int, int, int, int]) -> None:
    row = row_of(context, 1600, 1200, box, (160, 120))
    assert seen(context, row).size == (160, 120)
    assert psnr(seen(context, row), context.view(row)) > 35


def test_a_model_that_shrinks_by_itself_gets_the_cut_or_of_a_large_picture_what_it_takes(
    context: Context,
) -> None:
    row = row_of(context, 1600, 1200, (400, 300, 1200, 900), (640, 480))
    assert seen(context, row, 320).size == (800, 600)
    assert seen(context, row, 128).size == (128, 96)
    half = context.image(row).crop((400, 300, 1200, 900)).resize((128, 96), Image.Resampling.BOX)
    assert psnr(seen(context, row, 128), half) > 35


def test_a_small_picture_is_the_trained_view_itself(context: Context) -> None:
    row = row_of(context, 320, 240, (0, 0, 320, 240), (640, 480))
    np.testing.assert_array_equal(np.asarray(seen(context, row)), np.asarray(context.view(row)))
    np.testing.assert_array_equal(np.asarray(seen(context, row, 640)), np.asarray(context.view(row)))


def test_the_same_reduction_is_decoded_once_for_all_that_look(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = row_of(context, 1600, 1200, (0, 0, 1600, 1200), (200, 152))
    seen(context, row, 190)
    (context.raw / "a.jpg").unlink()
    assert seen(context, row).size == (200, 152)
