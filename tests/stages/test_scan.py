from __future__ import annotations

import os
import struct
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.fuzz import bombs, gif_of
from dataprep.manifest import BASE
from dataprep.stage import Context
from dataprep.stages import scan as scan_module
from dataprep.stages.scan import Scan


def picture(path: Path, size: tuple[int, int] = (80, 70)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)


def scanned(context: Context, **settings: Any) -> dict[str, dict[str, Any]]:
    """Rows by role and path."""
    table = Scan(**settings).open(context)(BASE.empty_table())
    assert table.schema.equals(BASE)
    return {f"{row['role']}:{row['path']}": row for row in table.to_pylist()}


def test_every_file_is_a_row(context: Context) -> None:
    picture(context.raw / "a.png")
    picture(context.raw / "sub" / "b.jpg")
    (context.raw / "notes.md").write_text("x")
    (context.raw / "empty.jpg").touch()
    (context.raw / "lonely.txt").write_text("no picture of this name")
    (context.raw / "dataprep.toml").write_text("")
    assert context.reg is not None
    picture(context.reg / "c.webp")
    rows = scanned(context)
    assert {name: row["state"] for name, row in rows.items()} == {
        "train:a.png": "active",
        "train:empty.jpg": "quarantined",
        "train:lonely.txt": "quarantined",
        "train:notes.md": "quarantined",
        "train:sub/b.jpg": "active",
        "reg:c.webp": "active",
    }
    assert rows["train:empty.jpg"]["reason"] == "scan:empty: the file has no bytes"
    assert rows["train:notes.md"]["reason"].startswith("scan:not-an-image: ")
    assert (rows["train:a.png"]["width"], rows["train:a.png"]["height"]) == (80, 70)


def test_captions_belong_to_the_picture_beside_them(context: Context) -> None:
    for name in ("a.png", "a.jpg", "b.png", "c.png", "sub/a.png"):
        picture(context.raw / name)
    (context.raw / "a.txt").write_bytes(b"\xef\xbb\xbf  hello, world \n")
    (context.raw / "a.jpg.txt").write_text("only the jpg")
    (context.raw / "b.txt").write_text(" \n")
    (context.raw / "b.caption").write_text("second choice")
    (context.raw / "c.caption").write_bytes("naïve".encode("cp1252"))
    rows = scanned(context)
    captions = {name.removeprefix("train:"): row["raw_caption"] for name, row in rows.items()}
    assert captions == {
        "a.png": "hello, world",
        "a.jpg": "only the jpg",
        "b.png": "second choice",
        "c.png": "naïve",
        "sub/a.png": None,
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_captions_of_every_unicode_encoding_are_read(context: Context, encoding: str) -> None:
    picture(context.raw / "a.png")
    (context.raw / "a.txt").write_bytes("1girl, 桜, naïve".encode(encoding))
    assert scanned(context)["train:a.png"]["raw_caption"] == "1girl, 桜, naïve"


def test_an_unchanged_second_scan_reads_nothing(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(context.raw / "a.png")
    (context.raw / "bad.jpg").write_text("words")
    time.sleep(0.15)  # files of the last tenth of a second are not trusted
    first = scanned(context)

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(scan_module, "read_facts", refuse)
    assert scanned(context) == first


def test_a_dry_run_writes_nothing(context: Context) -> None:
    picture(context.raw / "a.png")
    before = sorted(context.out.rglob("*"))
    scanned(replace(context, dry_run=True))
    assert sorted(context.out.rglob("*")) == before


def test_a_rename_keeps_the_identity_of_the_pixels(context: Context) -> None:
    picture(context.raw / "a.png")
    before = scanned(context)["train:a.png"]
    (context.raw / "a.png").rename(context.raw / "b.png")
    after = scanned(context)["train:b.png"]
    assert after["pixels_key"] == before["pixels_key"]
    assert after["id"] != before["id"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"min_side": 71}, "scan:too-small: 80x70 px; scan.min_side asks for 71"),
        ({"max_side": 79}, "scan:too-large: 80x70 px; scan.max_side allows 79"),
        ({"max_megapixels": 0.001}, "scan:too-large: 80x70 px; scan.max_megapixels allows 0.001 million"),
        ({"max_megabytes": 0.0001}, "scan:too-large: 0 MiB; scan.max_megabytes allows 0.0001"),
    ],
)
def test_limits_set_pictures_aside_with_the_reason(
    context: Context, settings: dict[str, Any], reason: str
) -> None:
    picture(context.raw / "a.png")
    assert scanned(context, **settings)["train:a.png"]["reason"] == reason


def test_a_gif_is_too_large_from_the_frame_on_that_makes_it_so(context: Context) -> None:
    whole, huge = (0, 0, 100, 100), (0, 0, 20_000, 20_000)
    (context.raw / "a.gif").write_bytes(gif_of((100, 100), [whole, huge, whole]))
    table = Scan(frames=1).open(context)(BASE.empty_table())
    sizes = [(row["view"], row["width"], row["state"]) for row in table.to_pylist()]
    assert sizes == [
        ("", 100, "active"),
        ("frame1", 20_000, "quarantined"),
        ("frame2", 20_000, "quarantined"),
    ]
    assert scanned(context)["train:a.gif"]["state"] == "active"


def test_every_bomb_is_set_aside_by_what_it_claims(context: Context) -> None:
    bombs(context.raw)
    table = Scan(frames=1).open(context)(BASE.empty_table())
    stopped = {row["path"] for row in table.to_pylist() if (row["reason"] or "").startswith("scan:too-large")}
    assert stopped == {path.name for path in context.raw.iterdir()}


def test_limits_that_were_raised_are_applied_to_files_known_from_before(context: Context) -> None:
    path = context.raw / "a.png"
    picture(path)
    data, text = path.read_bytes(), b"tEXta\0b"
    chunk = struct.pack(">I", 3) + text + struct.pack(">I", zlib.crc32(text))
    path.write_bytes(data[:-12] + chunk + data[-12:])  # behind the pixels
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))
    time.sleep(0.11)  # a file changed a moment ago is never taken from memory
    assert scanned(context, max_side=79)["train:a.png"]["state"] == "quarantined"
    assert scanned(context, max_side=80)["train:a.png"]["state"] == "active"


def test_the_output_folder_inside_the_raw_one_is_not_scanned(context: Context) -> None:
    inside = replace(context, out=context.raw / "out", reg=context.raw / "class")
    picture(inside.raw / "a.png")
    picture(inside.out / "b.png")
    assert inside.reg is not None
    picture(inside.reg / "c.png")
    assert set(scanned(inside)) == {"train:a.png", "reg:c.png"}


def test_threads_change_nothing(context: Context) -> None:
    for i in range(9):
        picture(context.raw / f"{i}.png", (80 + i, 70))
    assert list(scanned(replace(context, threads=1))) == list(scanned(replace(context, threads=4)))


def test_frames_and_pages_are_rows_of_their_own_when_asked(context: Context) -> None:
    pages = [Image.new("RGB", (100 + 10 * i, 90), (40 * i, 0, 0)) for i in range(5)]
    pages[0].save(context.raw / "book.tif", save_all=True, append_images=pages[1:])
    assert len(Scan().open(context)(BASE.empty_table())) == 1
    rows = Scan(frames=2).open(context)(BASE.empty_table()).to_pylist()
    assert [(row["view"], row["width"]) for row in rows] == [("", 100), ("frame2", 120), ("frame4", 140)]
    assert len({row["id"] for row in rows}) == len({row["pixels_key"] for row in rows}) == 3
    assert context.image(rows[2]).getpixel((5, 5)) == (160, 0, 0)


def test_salvaged_pictures_are_as_high_as_what_is_there_and_named(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(1, 256, (200, 100, 3), np.uint8))
    noise.save(context.raw / "a.png")
    data = (context.raw / "a.png").read_bytes()
    (context.raw / "a.png").write_bytes(data[: len(data) * 3 // 4])
    (whole,) = scanned(context).values()
    assert whole["height"] == 200
    (part,) = scanned(context, salvage=0.5).values()
    assert (part["state"], part["width"]) == ("active", 100)
    assert 120 < part["height"] < 160
    assert "a.png" in caplog.text


def test_a_caption_that_is_passed_over_is_named(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    picture(context.raw / "a.png")
    (context.raw / "a.txt").write_text("red hat")
    (context.raw / "a.caption").write_text("blue hat")
    assert scanned(context)["train:a.png"]["raw_caption"] == "red hat"
    assert "a.caption (a.txt is used)" in caplog.text


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a file that may not be read")
def test_a_caption_that_cannot_be_read_is_a_row_of_its_own(context: Context) -> None:
    picture(context.raw / "a.png")
    (context.raw / "a.txt").write_text("red hat")
    (context.raw / "a.txt").chmod(0)
    row = scanned(context)["train:a.txt"]
    assert row["reason"] == "scan:io: the caption of a.png cannot be read: Permission denied"


def test_a_caption_whose_encoding_is_in_doubt_is_named_and_not_used(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    picture(context.raw / "a.png")
    picture(context.raw / "b.png")
    (context.raw / "a.txt").write_bytes("1girl, 眼鏡".encode("euc_jp"))
    (context.raw / "b.txt").write_bytes("1girl, шляпа".encode("cp1251"))
    rows = scanned(context)
    assert (rows["train:a.png"]["raw_caption"], rows["train:b.png"]["raw_caption"]) == (None, "1girl, шляпа")
    assert "a.txt is not UTF-8, and its bytes do not say" in caplog.text
    assert "b.txt is not UTF-8; it was read as cp1251" in caplog.text
    assert scanned(context, caption_encoding="euc_jp")["train:a.png"]["raw_caption"] == "1girl, 眼鏡"
