from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dataprep.errors import RowError
from dataprep.pictures import opened
from dataprep.pictures.pixels import PixelPolicy, load_rgb, load_small

POLICY = PixelPolicy()
ANIMATED = ["a.gif", "a.webp", "a.png", "a.tif", "a.avif"]


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_last", opened._Last())


def animation(path: Path, count: int = 12, mode: str = "RGB") -> Path:
    """A square that moves over noise."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    frames = []
    for number in range(count):
        frame = Image.fromarray(noise)
        ImageDraw.Draw(frame).rectangle((4 * number, 8, 4 * number + 9, 20), fill=(20 * number, 0, 255))
        frames.append(frame.convert(mode))
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are opened from now on."""
    found: list[Path] = []
    start = opened._started

    def counted(path: Path) -> opened._Decoder:
        found.append(path)
        return start(path)

    monkeypatch.setattr(opened, "_started", counted)
    return found


@pytest.mark.parametrize("name", ANIMATED)
def test_frames_are_the_same_one_after_another_as_each_by_itself(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = animation(tmp_path / name)
    alone = []
    for frame in range(12):
        opened._last.decoder = None
        alone.append(np.asarray(load_rgb(path, POLICY, frame)))
    opened._last.decoder = None
    files = started(monkeypatch)
    in_order = [load_rgb(path, POLICY, frame) for frame in range(1, 12)]
    assert files == [path]  # opened once for all
    for found, expected in zip(in_order, alone[1:], strict=True):  # nor is a picture changed by a later frame
        assert np.array_equal(np.asarray(found), expected)
    for frame in (3, 3, 9, 2, 11, 0, 5):
        assert np.array_equal(np.asarray(load_rgb(path, POLICY, frame)), alone[frame])


def test_the_same_frame_is_there_whole_and_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = animation(tmp_path / "a.webp")
    files = started(monkeypatch)
    small, whole = load_small(path, POLICY, 16, 5), load_rgb(path, POLICY, 5)
    assert files == [path]
    assert np.array_equal(np.asarray(small), np.asarray(whole.reduce(2)))


def test_another_file_of_the_same_name_is_read_anew(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif")
    load_rgb(path, POLICY, 3)
    first, *others = [Image.new("RGB", (8, 8), (20 * number, 0, 0)) for number in range(9)]
    first.save(tmp_path / "b.gif", save_all=True, append_images=others)
    (tmp_path / "b.gif").replace(path)
    assert load_rgb(path, POLICY, 4).size == (8, 8)
    path.unlink()
    with pytest.raises(RowError, match="No such file"):
        load_rgb(path, POLICY, 5)


def test_a_decoder_that_failed_or_holds_much_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = animation(tmp_path / "a.gif")
    with pytest.raises(RowError):
        load_rgb(path, POLICY, 12)
    assert opened._last.decoder is None
    monkeypatch.setattr(opened, "_MOST_KEPT_BYTES", 100)
    load_rgb(path, POLICY, 3)
    assert opened._last.decoder is None


def test_first_frames_leave_no_file_open(tmp_path: Path) -> None:
    load_rgb(animation(tmp_path / "a.gif"), POLICY)
    assert opened._last.decoder is None


def test_a_thread_that_ends_closes_its_file(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif")
    streams = []

    def load() -> None:
        load_rgb(path, POLICY, 2)
        assert opened._last.decoder is not None
        streams.append(opened._last.decoder.stream)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    gc.collect()
    assert streams[0].closed
