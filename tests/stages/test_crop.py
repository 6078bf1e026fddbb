from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from benchmarks.corpus import corpus
from dataprep.errors import ConfigError
from dataprep.framing.boxes import Box, overlap
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
    assert leaning["subject"]["left"] in range(265, 285)
    assert leaning["subject_may_be_cut"]
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


def face_row(context: Context, row: dict[str, Any], portrait: Callable[..., Image.Image]) -> dict[str, Any]:
    """The row, its picture replaced by a face at the right of busy ground."""
    portrait((900, 400), (760, 150), 120).save(context.raw / row["path"])
    return row | {"width": 900, "height": 400}


def test_a_face_in_a_photograph_is_kept_whole_and_is_the_point_to_keep(
    context: Context,
    placed_row: Callable[..., dict[str, Any]],
    as_table: Rows,
    portrait: Callable[..., Image.Image],
) -> None:
    table = as_table([face_row(context, placed_row("a.png"), portrait)])
    (found,) = Crop().open(context)(table).to_pylist()
    assert found["error"] is None
    assert found["head"]["left"] < 710
    assert found["head"]["right"] > 810
    assert found["subject"]["left"] <= found["head"]["left"]
    assert found["subject"]["right"] >= found["head"]["right"]
    assert 0.78 < found["focus_x"] < 0.9
    (leaning,) = Crop(focus="saliency").open(context)(table).to_pylist()
    assert leaning["subject"] == found["subject"]
    assert leaning["focus_x"] == found["focus_x"]


def test_no_detector_runs_when_none_is_wanted(
    context: Context,
    placed_row: Callable[..., dict[str, Any]],
    as_table: Rows,
    portrait: Callable[..., Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")  # whatever asks for a detector now fails
    table = as_table([face_row(context, placed_row("a.png"), portrait)])
    for stage in (Crop(faces=False), Crop(focus="center")):
        (found,) = stage.open(context)(table).to_pylist()
        assert found["head"] is None
        assert found["error"] is None
    with pytest.raises(ConfigError):
        Crop().open(context)


def test_another_detector_makes_other_keys_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Crop(), Crop(faces=False), Crop(focus="center")
    before = [stage.key() for stage in stages]
    monkeypatch.setattr(cv2, "__version__", "0.0")
    assert [stage.key() == key for stage, key in zip(stages, before, strict=True)] == [False, True, True]


@pytest.mark.slow
def test_drawn_figures_are_cut_as_without_the_detectors(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Rows
) -> None:
    rows = []
    for i, planted in enumerate(p for p in corpus(30, 11) if p.kind == "drawing" and p.edit == "original"):
        planted.image.save(context.raw / f"{i}.png")
        size = {"width": planted.image.width, "height": planted.image.height}
        rows.append(placed_row(f"{i}.webp") | size | {"path": f"{i}.png", "pixels_key": str(i)})
    seen, plain = (Crop(faces=faces).open(context)(as_table(rows)).to_pylist() for faces in (True, False))
    assert len(rows) >= 8
    for a, b in zip(seen, plain, strict=True):
        if b["subject"] is not None:
            box, outline = (Box(**found["subject"]) for found in (a, b))
            assert overlap(box, outline) == outline.area  # nothing that stood out is given up
            assert box.area <= 1.1 * outline.area
