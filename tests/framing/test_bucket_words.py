from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.buckets import SCHEMA, Sizes, mixes
from dataprep.framing.bucket_words import plan_in_words
from dataprep.stage import Context
from dataprep.stages.bucket import Bucket


def planned(context: Context, sizes: Sizes, **settings: Any) -> tuple[list[dict[str, Any]], str]:
    """Rows with their buckets, and the words."""
    cells = {"role": "train", "state": "active", "focus_x": 0.5, "focus_y": 0.5}
    rows = [{"id": str(i), "width": w, "height": h, **cells} for i, (w, h) in enumerate(sizes)]
    result = Bucket(**settings).open(context)(pa.Table.from_pylist(rows, schema=SCHEMA)).to_pylist()
    both = [row | made for row, made in zip(rows, result, strict=True) if made["state"] == "active"]
    return both, plan_in_words(both, settings | {"of_another_version": 1})


def test_what_more_is_cut_is_told_with_what_it_buys(context: Context) -> None:
    rows, words = planned(context, mixes()["film stills"], resolution=512, batch_size=4)
    ours, theirs = (np.mean([row[name] for row in rows]) for name in ("crop_loss", "kohya_crop_loss"))
    assert words == (
        f"Batches of 4: 3 buckets, 0 of them ending in a part of a batch, {ours:.1%} of the pixels cut away. "
        f"kohya's own list and choice: 2 buckets, 2 of them ending in a part of a batch, {theirs:.1%} of the "
        f"pixels cut away. So {ours - theirs:.1%} more is cut for fewer ragged buckets: 0 instead of 2 "
        "(bucket.whole_batch_cost says what they may cost)."
    )


def test_less_cut_is_told_as_such(context: Context) -> None:
    _, words = planned(context, mixes()["scraped"], resolution=512, batch_size=4)
    assert words.endswith("% less is cut, with fewer ragged buckets: 0 instead of 7.")


def test_a_plan_that_is_kohyas_is_called_so(context: Context) -> None:
    _, words = planned(context, [(512, 512), (512, 512)], resolution=512, batch_size=2)
    assert words.endswith("kohya's own list and choice is the same.")
    _, words = planned(context, mixes()["film stills"], resolution=512, plan="kohya")
    assert words.endswith("It is kohya's own list and choice, as bucket.plan asks.")


@pytest.mark.parametrize(("repeats", "told"), [(4, True), (8, True), (3, False), (None, False)])
def test_repeats_that_make_any_bucket_whole_are_pointed_out(
    context: Context, repeats: int | None, told: bool
) -> None:
    settings = {"resolution": 512, "batch_size": 4}
    rows, _ = planned(context, mixes()["film stills"], **settings)
    words = plan_in_words([row | {"repeats": repeats} for row in rows], settings)
    assert ("bucket.batch_size = 1" in words) == told


def test_without_pictures_in_buckets_nothing_is_said() -> None:
    assert plan_in_words([], {}) == ""
    assert plan_in_words([{"bucket_width": None}], {}) == ""
