"""report.html: complete, self-contained, and safe to open whatever the files are called."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprep.progress import Observer
from dataprep.report import _training_log, write_report
from dataprep.run import Job, run

NASTY = "a<script>alert(1)<&>.png" if os.name != "nt" else "a&b;.png"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder prepared as far as needs no model: three pictures, a copy of one, and a text file."""
    home = tmp_path_factory.mktemp("report")
    (home / "raw").mkdir()
    rng = np.random.default_rng(5)
    for name in (NASTY, "b.png", "c.png"):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((300, 400), Image.Resampling.BICUBIC).save(home / "raw" / name)
    with Image.open(home / "raw" / "b.png") as picture:
        picture.resize((150, 200)).save(home / "raw" / "b small.png")
    (home / "raw" / "notes.jpg").write_text("not a picture", encoding="utf-8")
    (home / "raw" / "c.txt").write_text("red hair", encoding="utf-8")
    (home / "raw" / "c.caption").write_text("blue hair", encoding="utf-8")
    (home / "raw" / "dataprep.toml").write_text("[dedup]\nmax_distance = 4\n", encoding="utf-8")
    flags = {"trigger": "sks", "models": "miniature"}
    run(Job(home / "raw", home / "out", flags=flags, until="bucket"), Observer(), threads=1)
    return home / "out"


def page_of(prepared: Path) -> str:
    return write_report(prepared).read_text(encoding="utf-8")


def test_every_file_of_raw_stands_in_it(prepared: Path) -> None:
    page = page_of(prepared)
    assert "a&lt;script&gt;alert(1)&lt;&amp;&gt;.png" in page or "a&amp;b;.png" in page
    for name in ("b.png", "b small.png", "c.png", "notes.jpg", "c.txt", "dataprep.toml"):
        assert f"<td>{name}</td>" in page


def test_a_caption_that_is_not_used_is_accounted_for_as_such(prepared: Path) -> None:
    page = page_of(prepared)
    assert "a caption, read with c.png" in page
    assert "a caption that is not used: c.png has its caption from c.txt" in page


def test_the_bucket_plan_stands_in_it_beside_kohyas(prepared: Path) -> None:
    plan = page_of(prepared).split("<h2>Aspect buckets</h2>")[1].split("</p>")[0]
    assert "of the pixels cut away" in plan
    assert "kohya" in plan


def test_a_file_name_cannot_put_markup_into_it(prepared: Path) -> None:
    assert "<script" not in page_of(prepared)


def test_it_asks_no_server_for_anything(prepared: Path) -> None:
    assert set(re.findall(r'(?:src|href)="(\w+:)', page_of(prepared))) <= {"data:"}


def test_a_copy_stands_beside_the_picture_that_was_kept(prepared: Path) -> None:
    group = page_of(prepared).split('<div class="group">')[1]
    assert group.index("b.png") < group.index("b small.png")
    assert re.search(r"distance \d+ of 64 bits", group)


def test_the_loss_curve_appears_once_something_was_trained(prepared: Path) -> None:
    assert "<polyline" not in page_of(prepared)
    (prepared / "log").mkdir(exist_ok=True)
    log = prepared / "log" / "train.jsonl"
    log.write_text("".join(json.dumps({"step": n, "loss": 1 / n}) + "\n" for n in range(1, 5)), "utf-8")
    points = re.search(r'points="([^"]+)"', page_of(prepared))
    log.unlink()
    assert points
    heights = [float(point.split(",")[1]) for point in points[1].split()]
    assert heights == sorted(heights)  # y grows downwards: the loss fell


def test_what_sd_scripts_will_see_stands_in_it_or_why_it_cannot_read_the_folder(prepared: Path) -> None:
    assert "sd-scripts will see: 3 training pictures" in page_of(prepared)
    file = prepared / "dataset.toml"
    whole = file.read_bytes()
    file.write_text("no TOML", encoding="utf-8")
    try:
        page = page_of(prepared)
    finally:
        file.write_bytes(whole)
    assert "dataset.toml" in page.split("What sd-scripts will see")[1].split("</p>")[0]


def test_a_log_with_lines_cut_short_is_read_around_them(prepared: Path) -> None:
    log = prepared / "log" / "train.jsonl"
    log.parent.mkdir(exist_ok=True)
    whole = ['{"event": "start"}', *(json.dumps({"step": i, "loss": 1 / i}) for i in range(1, 6))]
    log.write_text("\n".join(whole), "utf-8")
    points = _training_log(prepared).split()
    assert len(points) == 5
    log.write_text("\n".join([*whole[:4], '{"step": 9, "lo' + whole[4], whole[5], '{"step": 6, "l']), "utf-8")
    assert len(_training_log(prepared).split()) == 4
    log.unlink()
