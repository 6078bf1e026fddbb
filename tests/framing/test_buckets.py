from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataprep.framing.buckets import BucketGrid, bucket_sizes, place, place_without_upscaling, stored_crop

# Printed by sd-scripts 48d368fa: 27 settings, the list of each, what becomes of some 300 sizes under each.
# settings: resolution w h, min, max, step, no_upscale, adjusted min max; pictures: setting, size, bucket,
# resized, crop l t r b, left and top of the pixel crop; NaN where it stops with an error.
GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "buckets.npz")


def grid_of(setting: np.ndarray) -> BucketGrid:
    width, height, smallest, largest, step = (int(value) for value in setting[:5])
    return BucketGrid((width, height), smallest, largest, step).adjusted()


@pytest.mark.parametrize("number", range(len(GOLDEN["settings"])))
def test_list_choice_size_and_crop_are_those_of_sd_scripts(number: int) -> None:
    setting = GOLDEN["settings"][number]
    grid, no_upscale = grid_of(setting), bool(setting[5])
    assert [grid.smallest, grid.largest] == setting[6:8].tolist()
    sizes = bucket_sizes(grid)
    expected = [tuple(row[1:].tolist()) for row in GOLDEN["predefined"] if row[0] == number]
    assert sizes == expected or (no_upscale and not expected)
    rows = GOLDEN["pictures"][GOLDEN["pictures"][:, 0] == number]
    for row in rows[np.isfinite(rows[:, 3])]:
        width, height = int(row[1]), int(row[2])
        placed = place_without_upscaling(width, height, grid) if no_upscale else place(width, height, sizes)
        assert [*placed.bucket, *placed.resized] == row[3:7].tolist()
        assert list(stored_crop(placed.bucket, width, height)) == row[7:11].tolist()
        if np.isfinite(row[11]):
            assert list(placed.left_top) == row[11:13].tolist()


def test_the_golden_numbers_are_all_there() -> None:
    assert len(GOLDEN["settings"]) == 27
    assert len(GOLDEN["pictures"]) == 7860


def test_a_resolution_outside_the_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="must lie between"):
        BucketGrid((512, 512), 576, 1024).adjusted()
