from __future__ import annotations

import gc
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, TiffImagePlugin

from dataprep.errors import RowError
from dataprep.pictures import opened
from dataprep.pictures.pixels import PixelPolicy, load_mask, load_rgb, load_small, probe

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


def drawn(kind: str, count: int = 8) -> list[Image.Image]:
    """Patches of noise that move over nothing, half of it, or a colour."""
    ground = {"transparent": (0, 0, 0, 0), "half": (200, 100, 50, 120), "opaque": (200, 100, 50, 255)}[kind]
    rng, frames = np.random.default_rng(3), []
    for number in range(count):
        frame = Image.new("RGBA", (64, 48), ground)
        patch = rng.integers(0, 256, (20, 20, 4), np.uint8)
        patch[..., 3] = 255 if kind == "opaque" else rng.choice([0, 255], (20, 20))
        frame.paste(Image.fromarray(patch), (5 * number, 3 * number))
        frames.append(frame)
    return frames


def variants(folder: Path) -> Iterator[Path]:
    """Animations of every form, disposal and transparency."""
    for kind in ("transparent", "half", "opaque"):
        first, *others = drawn(kind)
        more = {"save_all": True, "append_images": others}
        for disposal in range(4):
            path = folder / f"{kind}{disposal}.gif"
            first.save(path, disposal=disposal, optimize=False, **more)
            yield path
        for disposal, blend, own in itertools.product(range(3), range(2), (False, True)):
            path = folder / f"{kind}{disposal}{blend}{own}.png"
            first.save(path, disposal=disposal, blend=blend, default_image=own, **more)
            yield path
        for name in ("webp", "avif"):
            first.save(folder / f"{kind}.{name}", **more)
            yield folder / f"{kind}.{name}"


def looks(path: Path, policy: PixelPolicy, frame: int) -> tuple[bytes, bytes | None]:
    probe(path, policy, frame)  # looks through the file that the decoder reads
    mask = load_mask(path, policy, frame)
    return load_rgb(path, policy, frame).tobytes(), None if mask is None else mask.tobytes()


def test_no_frame_depends_on_the_way_there(tmp_path: Path) -> None:
    ways = random.Random(0)
    for path in variants(tmp_path):
        for policy in (PixelPolicy(), PixelPolicy(alpha="colour")):
            alone, frames = [], list(range(probe(path).frames))
            assert len(frames) > 1, path.name
            for frame in frames:
                opened._last.decoder = None
                alone.append(looks(path, policy, frame))
            for order in (frames, frames[::2], frames[1::3], ways.choices(frames, k=12)):
                opened._last.decoder = None
                for frame in order:
                    assert looks(path, policy, frame) == alone[frame], (path.name, policy, order, frame)


def pages(path: Path, made: list[tuple[Image.Image, dict[str, object]]]) -> Path:
    """A TIFF of these pages, each with settings of its own."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as file:
        for image, how in made:
            image.save(file, format="TIFF", **how)
            file.newFrame()
    return path


@pytest.mark.parametrize("first", [False, True])
def test_a_page_is_seen_through_its_own_profile_only(
    tmp_path: Path, first: bool, linear_profile: Callable[[str], bytes]
) -> None:
    patch = drawn("opaque")[2].convert("RGB")
    managed = {"icc_profile": linear_profile("RGB ")}
    has = [bool(number % 2) != first for number in range(6)]
    path = pages(tmp_path / "a.tif", [(patch, managed if own else {}) for own in has])
    for order in (range(6), range(5, -1, -1), (0, 2, 3, 5), (4,), (1, 4), (3, 3, 4, 4)):
        opened._last.decoder = None
        for page in order:
            plain = np.array_equal(np.asarray(load_rgb(path, POLICY, page)), np.asarray(patch))
            assert plain != has[page], (order, page)


def test_pages_of_other_modes_sizes_and_positions_leave_nothing_behind(tmp_path: Path) -> None:
    rng, made = np.random.default_rng(0), []
    for number, mode in enumerate(["RGB", "P", "L", "RGBA", "1", "CMYK", "I;16", "LA", "P", "RGB"]):
        size = (64 + number % 3, 48 + number % 2)
        picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 4), np.uint8))
        deep = Image.fromarray(rng.integers(0, 65536, (size[1], size[0]), np.uint16))
        image = (
            deep if mode == "I;16" else picture if mode == "RGBA" else picture.convert("RGB").convert(mode)
        )
        made.append(
            (image, {"compression": ["raw", "tiff_lzw"][number % 2], "tiffinfo": {274: number % 8 + 1}})
        )
    path, alone = pages(tmp_path / "a.tif", made), []
    for page in range(10):
        opened._last.decoder = None
        alone.append(looks(path, POLICY, page))
    for order in (range(1, 10), range(2, 10, 3), (1, 9, 4, 4, 8, 0, 3)):
        opened._last.decoder = None
        assert [looks(path, POLICY, page) for page in order] == [alone[page] for page in order]


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
