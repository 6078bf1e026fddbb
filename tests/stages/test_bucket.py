from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.buckets import loss, mixes, ragged
from dataprep.errors import ConfigError
from dataprep.stage import Context
from dataprep.stages.bucket import Bucket

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("role", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        *Bucket.needs,
    ]
)


def rows_of(*sizes: tuple[int, int], role: str = "train", **cells: object) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{role}{i}",
            "role": role,
            "state": "active",
            "width": width,
            "height": height,
            "focus_x": 0.5,
            "focus_y": 0.5,
        }
        | cells
        for i, (width, height) in enumerate(sizes)
    ]


def bucketed(context: Context, rows: list[dict[str, Any]], **settings: Any) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    result = Bucket(**{"resolution": 256} | settings).open(context)(table)
    assert result.num_rows == len(rows)
    return result.to_pylist()


def test_the_box_has_the_shape_of_the_bucket_and_the_loss_is_what_it_leaves_out(context: Context) -> None:
    (row,) = bucketed(context, rows_of((600, 400)))
    box = row["box"]
    width, height = box["right"] - box["left"], box["bottom"] - box["top"]
    assert width * row["bucket_height"] == pytest.approx(height * row["bucket_width"], rel=0.01)
    assert row["crop_loss"] == pytest.approx(1 - width * height / 240_000)
    assert row["scale"] == pytest.approx(row["bucket_width"] / width)


def test_sides_are_multiples_of_the_step_within_the_area(context: Context) -> None:
    sizes = [(300 + 40 * i, 900 - 45 * i) for i in range(14)]
    for step in (8, 16, 32, 64):
        for row in bucketed(context, rows_of(*sizes), step=step):
            assert row["bucket_width"] % step == row["bucket_height"] % step == 0
            assert row["bucket_width"] * row["bucket_height"] <= 256 * 256


def test_a_picture_too_small_is_set_aside_and_told_what_helps(context: Context) -> None:
    small, fine = bucketed(context, rows_of((100, 100), (128, 128)))
    assert small["state"] == "quarantined"
    assert small["reason"].startswith(
        "bucket:too-small: 100x100 px would be enlarged 2.56 times to 256x256, "
    )
    assert small["reason"].endswith("find a larger copy, lower resolution, or raise bucket.max_upscale")
    assert small["bucket_width"] is None
    assert fine["state"] == "active"
    assert bucketed(context, rows_of((100, 100)), max_upscale=3)[0]["state"] == "active"


@pytest.mark.parametrize("plan", ["best", "kohya"])
@pytest.mark.parametrize(
    ("column", "said", "remedy"),
    [
        ("hand_box", "the box set by hand, 100x100 px of 2000x1500 px,", "set a larger box or take it back"),
        ("region", "the view, 100x100 px of 2000x1500 px,", "find a larger copy"),
    ],
)
def test_of_a_box_too_small_the_box_is_named_and_the_way_out(
    context: Context, plan: str, column: str, said: str, remedy: str
) -> None:
    cells = {column: {"left": 10, "top": 10, "right": 110, "bottom": 110}}
    (row,) = bucketed(context, rows_of((2000, 1500), **cells), resolution=512, plan=plan)
    assert row["reason"] == (
        f"bucket:too-small: {said} would be enlarged 5.12 times to 512x512, more than 2 times; {remedy}, "
        "lower resolution, or raise bucket.max_upscale"
    )
    (row,) = bucketed(context, rows_of((2000, 1500), **cells), resolution=512, plan=plan, max_upscale=5.13)
    assert (row["state"], row["bucket_width"], row["bucket_height"]) == ("active", 512, 512)


def test_no_plan_enlarges_more_than_is_allowed(context: Context) -> None:
    (row,) = bucketed(context, rows_of((362, 191)), resolution=512, plan="kohya")
    assert "enlarged 2.01 times to 640x384, more than 2 times" in row["reason"]
    rng = np.random.default_rng(3)
    sizes = [(int(width), int(height)) for width, height in rng.integers(200, 700, (60, 2))]
    for plan in ("best", "kohya"):
        rows = rows_of(*sizes[:30]) + rows_of(*sizes[30:], role="reg")
        scales = [
            row["scale"]
            for row in bucketed(context, rows, resolution=512, plan=plan)
            if row["state"] == "active"
        ]
        assert 30 < len(scales) < 60
        assert 1.5 < max(scales) < 2.01  # boxes are whole px


def test_a_subject_at_the_edge_stays_inside(context: Context) -> None:
    subject = {"left": 700, "top": 100, "right": 800, "bottom": 300}
    (row,) = bucketed(context, rows_of((800, 300), subject=subject), max_side=256, min_side=256)
    assert row["box"] == {"left": 500, "top": 0, "right": 800, "bottom": 300}


def test_a_box_set_by_hand_wins_over_subject_and_focus(context: Context) -> None:
    hand = {"left": 10, "top": 10, "right": 210, "bottom": 210}
    subject = {"left": 700, "top": 100, "right": 800, "bottom": 300}
    (row,) = bucketed(context, rows_of((800, 300), hand_box=hand, subject=subject))
    assert row["box"] == hand
    assert (row["bucket_width"], row["bucket_height"]) == (256, 256)
    assert row["crop_loss"] == 0


def test_class_images_go_into_the_buckets_of_the_training_rows(context: Context) -> None:
    rows = rows_of((512, 512)) + rows_of((900, 300), (300, 900), role="reg")
    assert {(row["bucket_width"], row["bucket_height"]) for row in bucketed(context, rows)} == {(256, 256)}


def test_rows_that_are_not_active_are_left_alone(context: Context) -> None:
    rows = rows_of((512, 512), state="dropped", reason="dedup:duplicate: of x", width=None, height=None)
    (row,) = bucketed(context, rows)
    assert (row["state"], row["reason"], row["box"]) == ("dropped", "dedup:duplicate: of x", None)


def test_a_resolution_outside_the_sides_is_a_mistake_of_the_settings(context: Context) -> None:
    with pytest.raises(ConfigError, match="must lie between"):
        Bucket(resolution=256, min_side=320).open(context)


def test_buckets_hold_whole_batches(context: Context) -> None:
    sizes = [(300 + 11 * i, 820 - 13 * i) for i in range(40)]
    for batch_size in (2, 4, 5):
        rows = bucketed(context, rows_of(*sizes), batch_size=batch_size, whole_batch_cost=1)
        counts = Counter((row["bucket_width"], row["bucket_height"]) for row in rows)
        assert all(count % batch_size == 0 for count in counts.values())


def test_a_lone_panorama_is_not_squeezed_into_a_batch(context: Context) -> None:
    rows = bucketed(context, rows_of(*[(600, 600)] * 7, (1200, 300)), batch_size=2)
    assert (rows[-1]["bucket_width"], rows[-1]["bucket_height"]) == (512, 128)


def test_the_best_plan_cuts_no_more_than_kohyas(context: Context) -> None:
    sizes = [(300 + 17 * i, 820 - 13 * i) for i in range(30)]
    settings = {"resolution": 512, "max_upscale": 4}
    best, kohya = (bucketed(context, rows_of(*sizes), plan=plan, **settings) for plan in ("best", "kohya"))
    assert sum(row["crop_loss"] for row in best) < 0.8 * sum(row["crop_loss"] for row in kohya)
    for ours, theirs in zip(best, kohya, strict=True):
        assert ours["kohya_crop_loss"] == pytest.approx(theirs["crop_loss"])


@pytest.mark.parametrize("batch_size", [2, 4, 8, 16])
def test_the_best_plan_is_nowhere_worse_than_kohyas_in_all(context: Context, batch_size: int) -> None:
    for name, sizes in mixes().items():
        theirs, ours = (
            bucketed(context, rows_of(*sizes), resolution=512, plan=plan, batch_size=batch_size)
            for plan in ("kohya", "best")
        )
        fewer = ragged(ours, batch_size) < ragged(theirs, batch_size)
        same = [row["box"] for row in ours] == [row["box"] for row in theirs]
        assert fewer or same or loss(ours) < loss(theirs), name


def test_a_subject_that_cannot_be_kept_whole_is_recorded(context: Context) -> None:
    subject = {"left": 0, "top": 0, "right": 1000, "bottom": 100}
    (row,) = bucketed(context, rows_of((1000, 500), subject=subject), max_side=256, min_side=256)
    assert row["subject_cut"] == pytest.approx(0.5)
    (row,) = bucketed(context, rows_of((500, 500), subject=subject | {"right": 300}))
    assert row["subject_cut"] == 0


def test_a_subject_that_is_only_leaned_to_is_cut_and_that_is_recorded(context: Context) -> None:
    subject = {"left": 0, "top": 0, "right": 400, "bottom": 500}
    cells = {"subject": subject, "focus_x": 0.6}
    square = {"max_side": 256, "min_side": 256}
    (kept,) = bucketed(context, rows_of((1000, 500), **cells), **square)
    (leaned,) = bucketed(context, rows_of((1000, 500), subject_may_be_cut=True, **cells), **square)
    assert (kept["box"]["left"], kept["subject_cut"]) == (0, 0)
    assert leaned["box"]["left"] == 350
    assert leaned["subject_cut"] == pytest.approx(350 / 400)


def test_of_a_picture_without_a_known_subject_nothing_is_claimed(context: Context) -> None:
    (row,) = bucketed(context, rows_of((1000, 500)))
    assert row["subject_cut"] is None
