from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprep.pictures.burden import Room, per_pixel
from dataprep.pictures.opened import opened
from dataprep.pictures.pixels import Limits, probe
from dataprep.stages.scan import Scan

_PEAK = """
import sys
from pathlib import Path
from dataprep.framing.boxes import Box
from dataprep.pictures.pixels import PixelPolicy, load_small, load_view

def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before, path = peak(), Path(sys.argv[1])
load_small(path, PixelPolicy())
load_view(path, PixelPolicy(), Box(0, 0, 8200, 8200), 512, 512)
print((peak() - before) / 8200**2)
"""


def cost(path: Path) -> float:
    with opened(path) as (image, stream):
        return per_pixel(image, stream)


def drawn(mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (96, 80), "red" if mode == "RGB" else 0)


def test_a_plain_picture_takes_what_pillow_holds(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.bmp"):
        drawn().save(tmp_path / name)
        assert cost(tmp_path / name) == 4
        assert probe(tmp_path / name).burden == 1
    drawn("L").save(tmp_path / "grey.png")
    assert cost(tmp_path / "grey.png") == 1


def test_progressive_jpeg_takes_its_coefficients_too(tmp_path: Path) -> None:
    drawn().save(tmp_path / "fine.jpg", progressive=True, subsampling=0)
    drawn().save(tmp_path / "coarse.jpg", progressive=True, subsampling=2)
    assert cost(tmp_path / "fine.jpg") == 4 + 3 * 2
    assert cost(tmp_path / "coarse.jpg") == 4 + 1.5 * 2


@pytest.mark.parametrize(
    ("mode", "how", "most"),
    [
        ("RGB", {"subsampling": 0}, 150),
        ("RGB", {"subsampling": 2}, 150),
        ("RGB", {"subsampling": 2, "progressive": True}, 137),
        ("RGB", {"subsampling": 0, "progressive": True}, 96),
        ("CMYK", {}, 150),
        ("CMYK", {"progressive": True}, 80),
    ],
)
def test_jpeg_is_decoded_up_to_the_size_that_the_setting_tells(
    tmp_path: Path, mode: str, how: dict[str, int], most: int
) -> None:
    drawn(mode).save(tmp_path / "a.jpg", **how)
    limits = Limits(area=150e6)
    side = int((most * 1e6) ** 0.5)
    assert limits.allow(side, side, probe(tmp_path / "a.jpg").burden)
    assert not limits.allow(side, side * 102 // 100, probe(tmp_path / "a.jpg").burden)
    assert limits.allow(12_000, 9_000, probe(tmp_path / "a.jpg").burden) == (most > 108)
    told = Scan.model_fields["max_megapixels"].description
    assert told is not None
    assert (f" {most} in " if most < 150 else "default 150") in told


def test_a_tiff_of_one_strip_is_unpacked_at_once(tmp_path: Path) -> None:
    drawn().save(tmp_path / "one.tif", compression="tiff_adobe_deflate", strip_size=2**31 - 1)
    drawn().save(tmp_path / "many.tif", compression="tiff_adobe_deflate", strip_size=96 * 3 * 8)
    assert cost(tmp_path / "one.tif") == 4 + 3
    assert cost(tmp_path / "many.tif") == 4 + 0.3


@pytest.mark.parametrize("name", ["a.webp", "a.avif", "a.jp2"])
def test_forms_whose_decoders_hold_much_count_as_larger(tmp_path: Path, name: str) -> None:
    drawn().save(tmp_path / name)
    assert probe(tmp_path / name).burden > 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["float", "sideways", "transparent"])
def test_a_large_picture_takes_little_more_than_its_decoder_does(tmp_path: Path, kind: str) -> None:
    if kind == "float":
        path = tmp_path / "a.tif"
        values = np.zeros((8200, 8200), np.float32)
        values[::2] = 0.5
        Image.fromarray(values).save(path, compression="tiff_adobe_deflate")
    elif kind == "sideways":
        path, exif = tmp_path / "a.jpg", Image.Exif()
        exif[0x112] = 6
        Image.new("RGB", (8200, 8200), "red").save(path, exif=exif)
    else:
        path = tmp_path / "a.png"
        Image.new("RGBA", (8200, 8200), "#ff000080").save(path, compress_level=1)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True
    )
    assert 3 < float(done.stdout) < 6.4  # bytes a pixel; held in two forms it took 8 or 9


def test_those_who_do_not_fit_in_wait_and_one_alone_always_fits() -> None:
    room, inside, most = Room(100), [], []
    lock = threading.Lock()

    def stay(need: int) -> None:
        with room.taken(need):
            with lock:
                inside.append(need)
                most.append(tuple(inside))
            time.sleep(0.01)
            with lock:
                inside.remove(need)

    threads = [threading.Thread(target=stay, args=(need,)) for need in (60, 60, 30, 500, 40, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(most) == 6
    assert all(sum(needs) <= 100 or needs == (500,) for needs in most)
    assert any(len(needs) == 2 for needs in most)


def test_room_is_free_again_after_an_error() -> None:
    room = Room(100)
    with pytest.raises(ValueError, match="x"), room.taken(80):
        raise ValueError("x")
    with room.taken(90):
        pass


def entered(room: Room, need: int, into: list[int], go: threading.Event) -> threading.Thread:
    """A thread that enters a room, writes down that it did, and stays until told."""

    def stay() -> None:
        with room.taken(need):
            into.append(need)
            go.wait(5)

    thread = threading.Thread(target=stay)
    thread.start()
    return thread


def test_who_needs_nothing_enters_past_those_who_wait() -> None:
    room, inside, go = Room(100), list[int](), threading.Event()
    threads = [entered(room, 80, inside, go), entered(room, 90, inside, go), entered(room, 500, inside, go)]
    time.sleep(0.05)
    small = entered(room, 0, inside, go)
    time.sleep(0.05)
    assert inside == [80, 0]
    go.set()
    for thread in [*threads, small]:
        thread.join(5)
    assert inside == [80, 0, 90, 500]


def test_one_over_the_budget_gets_its_turn_among_smaller_ones() -> None:
    room, inside, go = Room(100), list[int](), threading.Event()
    first = entered(room, 60, inside, go)
    time.sleep(0.05)
    over = entered(room, 500, inside, go)
    time.sleep(0.05)
    later = [entered(room, 10, inside, go) for _ in range(5)]  # would fit beside the first, again and again
    time.sleep(0.05)
    assert inside == [60]
    go.set()
    for thread in [first, over, *later]:
        thread.join(5)
    assert inside == [60, 500, *[10] * 5]


def test_who_gave_up_waiting_does_not_bar_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(100)

    def interrupted(_: object) -> bool:
        raise KeyboardInterrupt

    with room.taken(80):
        with monkeypatch.context() as patched:
            patched.setattr(room._changed, "wait_for", interrupted)
            with pytest.raises(KeyboardInterrupt), room.taken(50):
                pass
        with room.taken(20):
            pass
    with room.taken(100):
        pass
