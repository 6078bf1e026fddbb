from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.stages.mask import Mask


def table_of(row: dict[str, Any]) -> pa.Table:
    schema = pa.schema([("path", pa.string()), ("role", pa.string()), *Mask.needs])
    return pa.Table.from_pylist([row], schema=schema)


def half_open(context: Context, row: dict[str, Any]) -> dict[str, Any]:
    """The row, the left half of its picture transparent, and written as a picture of a folder."""
    alpha = np.zeros((64, 128), np.uint8)
    alpha[:, 64:] = 255
    image = Image.new("RGB", (128, 64), "green")
    image.putalpha(Image.fromarray(alpha))
    image.save(context.raw / row["path"])
    return row | {"image_file": "img/1_sks/a.png", "bucket_width": 64, "bucket_height": 32}


def masking(context: Context) -> Context:
    return replace(context, pixels=PixelCache(PixelPolicy(alpha="mask")))


def test_what_is_opaque_is_white_in_the_mask(
    context: Context, placed_row: Callable[..., dict[str, Any]]
) -> None:
    row = half_open(context, placed_row("a.png"))
    (found,) = Mask().open(masking(context))(table_of(row)).to_pylist()
    assert found["mask_file"] == "mask/1_sks/a.png"
    mask = np.asarray(Image.open(context.out / "mask/1_sks/a.png"))
    assert mask.shape == (32, 64)
    assert mask[:, :31].max() == 0
    assert mask[:, 33:].min() == 255


def test_an_opaque_picture_is_learned_whole(
    context: Context, placed_row: Callable[..., dict[str, Any]]
) -> None:
    row = placed_row("a.png") | {"image_file": "img/1_sks/a.png"}
    Mask().open(masking(context))(table_of(row))
    assert Image.open(context.out / "mask/1_sks/a.png").getextrema() == (255, 255)


def test_a_second_run_writes_nothing_and_another_policy_removes_only_our_masks(
    context: Context, placed_row: Callable[..., dict[str, Any]]
) -> None:
    table = table_of(half_open(context, placed_row("a.png")))
    Mask().open(masking(context))(table)
    ours, theirs = context.out / "mask/1_sks/a.png", context.out / "mask/1_sks/by_hand.png"
    Image.new("L", (8, 8)).save(theirs)
    written = ours.stat().st_mtime_ns
    Mask().open(masking(context))(table)
    assert ours.stat().st_mtime_ns == written
    assert Mask().open(context)(table).to_pylist() == [{"mask_file": None}]
    assert not ours.exists()
    assert theirs.exists()


def test_a_picture_that_is_gone_has_no_mask_and_stops_nothing(
    context: Context, placed_row: Callable[..., dict[str, Any]]
) -> None:
    row = half_open(context, placed_row("a.png"))
    (context.raw / "a.png").unlink()
    assert Mask().open(masking(context))(table_of(row)).to_pylist() == [{"mask_file": None}]
