from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dataprep.class_plan import bucket_of, samples_by_bucket, shares
from dataprep.classes import Order, class_folder, class_prompt, missing, orders, provide, read_made
from dataprep.export.kohya_reader import differences, read_folder
from dataprep.forecast import DRAWN, forecast
from dataprep.manifest import TAG
from dataprep.models import find
from dataprep.progress import Observer
from dataprep.run import Job, run
from dataprep.stage import Context
from dataprep.stages.reg import Reg
from models.miniature.world import render, signature_drawing

SCHEMA = pa.schema(
    [
        ("role", pa.string()),
        ("state", pa.string()),
        ("bucket_width", pa.int32()),
        ("bucket_height", pa.int32()),
        ("repeats", pa.int32()),
        ("caption", pa.string()),
        ("tags", pa.list_(TAG)),
    ]
)
SETTINGS = {"trigger": "sks", "class_word": "girl", "steps": 1, "guidance": 1.0}


class Stopped(Observer):
    """Interrupts the run after the first images."""

    def advance(self, rows: int) -> None:
        raise KeyboardInterrupt


def train(caption: str, size: tuple[int, int] = (64, 64), repeats: int = 2) -> dict[str, Any]:
    names = {"role": "train", "state": "active", "repeats": repeats, "caption": caption, "tags": []}
    return {**names, "bucket_width": size[0], "bucket_height": size[1]}


def ordered(rows: list[dict[str, Any]], **settings: Any) -> list[Order]:
    return orders(pa.Table.from_pylist(rows, schema=SCHEMA), Reg.model_validate(SETTINGS | settings))


@pytest.fixture
def drawing(context: Context) -> Context:
    """With the miniature base model; one thread, since two spin on work this small."""
    import torch

    torch.set_num_threads(1)
    return replace(context, models={"base": find("base", "miniature")})


def test_there_are_as_many_as_samples_in_an_epoch_in_the_same_buckets() -> None:
    found = ordered([train("sks girl, hat"), train("sks girl"), train("sks girl", (128, 64))])
    assert Counter((order.width, order.height) for order in found) == {(64, 64): 4, (128, 64): 2}
    assert {order.prompt for order in found} == {"girl"}
    assert len({order.seed for order in found}) == 6


def test_a_number_of_ones_own_keeps_the_proportion() -> None:
    rows = [train("sks girl", repeats=3), train("sks girl", (128, 64), repeats=1)]
    assert Counter(order.width for order in ordered(rows, class_images=8)) == {64: 6, 128: 2}


def test_dropped_pictures_and_class_images_order_nothing() -> None:
    rows = [train("a") | {"state": "dropped"}, train("b") | {"role": "reg"}]
    assert ordered(rows) == []


def test_a_larger_set_orders_only_more() -> None:
    few, more = ordered([train("sks girl")]), ordered([train("sks girl"), train("sks girl, hat")])
    assert set(few) < set(more)


@pytest.mark.parametrize(
    ("caption", "prompt"),
    [
        ("sks girl, red hat, smile", "girl, red hat, smile"),
        ("SKS, sks dress, smile", "girl, dress, smile"),
        ("sks girl, pink_hair, smile", "girl, smile"),
        ("asksome, smile", "girl, asksome, smile"),
        ("", "girl"),
    ],
)
def test_a_prompt_names_neither_the_trigger_nor_what_it_absorbs(caption: str, prompt: str) -> None:
    tag = dict.fromkeys(TAG_NAMES) | {"tag": "pink hair", "fate": "absorbed"}
    reg = Reg.model_validate(SETTINGS | {"prompts": "captions"})
    assert class_prompt(train(caption) | {"tags": [tag]}, reg) == prompt


TAG_NAMES = [TAG.field(i).name for i in range(TAG.num_fields)]


def test_images_are_drawn_once_and_say_how(drawing: Context) -> None:
    wanted = ordered([train("sks girl"), train("sks girl", (128, 64))])
    assert provide(wanted, drawing, Observer())
    folder = class_folder(drawing.out)
    files = sorted(folder.iterdir())
    assert len(files) == 4
    made = [read_made(path) for path in files]
    assert {record["seed"] for record in made if record} == {order.seed for order in wanted}
    assert made[0] is not None
    assert (made[0]["prompt"], made[0]["sampler"], made[0]["steps"]) == ("girl", "ddim", 1)
    assert made[0]["model_sha256"] == drawing.models["base"].sha256
    with Image.open(files[0]) as image:
        assert image.size in ((64, 64), (128, 64))
    assert missing(wanted, drawing) == []
    assert not provide(wanted, drawing, Stopped())  # nothing to draw: the observer hears of nothing


def test_an_interrupted_run_goes_on_with_the_next_image(drawing: Context) -> None:
    wanted = ordered([train("sks girl", repeats=6)])
    with pytest.raises(KeyboardInterrupt):
        provide(wanted, drawing, Stopped())
    assert len(missing(wanted, drawing)) == 2
    provide(wanted, drawing, Observer())
    assert missing(wanted, drawing) == []


def test_images_that_are_no_longer_wanted_leave_the_folder_and_are_kept(drawing: Context) -> None:
    wanted = ordered([train("sks girl")])
    provide(wanted, drawing, Observer())
    assert provide(wanted[:1], drawing, Observer())
    assert len(list(class_folder(drawing.out).iterdir())) == 1
    assert missing(wanted, drawing) == []


@pytest.mark.parametrize("text", [None, "no json", "[1]", '{"seed": "many"}'])
def test_a_picture_that_says_nothing_of_ours_was_not_drawn_here(tmp_path: Path, text: str | None) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    if text is not None:
        notes.add_itxt("dataprep", text)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=notes)
    assert read_made(tmp_path / "a.png") is None


def test_a_file_that_is_no_picture_was_not_drawn_here(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    assert read_made(tmp_path / "a.png") is None


class Started(Observer):
    """Remembers which parts of a run began."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def start(self, name: str, rows: int) -> None:
        self.parts.append(name)


@pytest.mark.slow
def test_a_whole_run_draws_class_images_in_the_training_sets_proportion_and_once(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    rng = np.random.default_rng(5)
    for i in range(9):
        size = (320, 512) if i % 3 == 0 else (400, 400)
        render(signature_drawing(rng), *size).save(tmp_path / "raw" / f"{i}.png")
    flags = {"trigger": "sks", "class_word": "girl", "models": "miniature", "reg": "generate"}
    few = ("reg.class_images=6", "reg.steps=1", "reg.guidance=1", "reg.repeats=2")
    job = Job(tmp_path / "raw", tmp_path / "out", flags=flags, overrides=few)
    before = {step.stage: step for step in forecast(job)}
    assert before[DRAWN].to_compute is None
    assert not (tmp_path / "out").exists()

    outcome = run(job, Observer(), threads=1)
    rows = [row for row in outcome.table.to_pylist() if row["state"] == "active"]
    drawn = [row for row in rows if row["role"] == "reg"]
    wanted = samples_by_bucket([row for row in rows if row["role"] == "train"])
    assert len(wanted) == 2
    assert Counter(map(bucket_of, drawn)) == Counter(shares(wanted, 6))
    for row in drawn:
        assert (row["generated"]["prompt"], row["generated"]["steps"], row["crop_loss"]) == ("girl", 1, 0)
        assert row["caption"].startswith("girl")
        assert "sks" not in row["caption"]
    assert all(row["generated"] is None for row in rows if row["role"] == "train")
    assert differences(read_folder(job.out), outcome.table) == []
    seed = drawn[0]["generated"]["seed"]
    assert f"1 steps of ddim, seed {seed}" in (job.out / "report.html").read_text("utf-8")

    after = {step.stage: step for step in forecast(job)}
    assert (after[DRAWN].rows, after[DRAWN].to_compute) == (6, 0)
    observer = Started()
    again = run(job, observer, threads=1)
    assert "class images" not in observer.parts
    assert again.table.equals(outcome.table)
    more = Job(job.raw, job.out, flags=flags, overrides=("reg.class_images=7", *few[1:]))
    assert {step.stage: step for step in forecast(more)}[DRAWN].to_compute == 1
