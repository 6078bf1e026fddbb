from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from PIL import Image, ImageDraw

from dataprep.stage import Context
from dataprep.stages.crop import Crop

Rows = Callable[[list[dict[str, Any]]], pa.Table]


def drawn(context: Context, row: dict[str, Any]) -> dict[str, Any]:
    """The row, its picture replaced by a figure at the right."""
    image = Image.new("RGB", (400, 200), "white")
    ImageDraw.Draw(image).rectangle((280, 40, 380, 180), fill="#202080")
    image.save(context.raw / row["path"])
    return row | {"width": 400, "height": 200}


def test_the_subject_and_its_middle_are_measured(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    (found,) = Crop().open(context)(as_table([drawn(context, placed_row("a.png"))])).to_pylist()
    assert found["error"] is None
    assert found["subject"]["left"] in range(265, 285)
    assert 0.75 < found["focus_x"] < 0.9


def test_saliency_only_leans_and_center_does_not_look(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    table = as_table([drawn(context, placed_row("a.png"))])
    (leaning,) = Crop(focus="saliency").open(context)(table).to_pylist()
    assert leaning["subject"] is None
    assert leaning["focus_x"] > 0.6
    (context.raw / "a.png").unlink()
    (centred,) = Crop(focus="center").open(context)(table).to_pylist()
    assert (centred["subject"], centred["focus_x"], centred["error"]) == (None, 0.5, None)


def test_a_picture_that_cannot_be_decoded_is_an_error_of_its_row(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    row = placed_row("a.png")
    (context.raw / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (found,) = Crop().open(context)(as_table([row])).to_pylist()
    assert found["error"].startswith("unreadable: ")
