from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from benchmarks.fuzz import gif_of
from dataprep.errors import RowError
from dataprep.pictures.extents import Limits, claimed, gif_sizes, jxl_size
from dataprep.pictures.pixels import PixelPolicy, probe

# First bytes of files that libjxl wrote for these sizes: a multiple of 8 below 257, a known ratio, any size.
JXL = {
    (264, 264): "ff0a381810090802010090",
    (1600, 900): "ff0a1a1c05910802010090",
    (16000, 16000): "ff0afcf321201208020100",
    (160, 160): "ff0a67402408020100ac02",
    (320, 240): "ff0afb4024080201009002",
    (1, 600): "ff0aba1200008804080201",
    (200, 160): "ff0aa7412408020100ac02",
}


def box(kind: bytes, content: bytes, *, wide: bool = False, last: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 0 if last else 8 + len(content), kind) + content


def container(*boxes: bytes) -> bytes:
    return b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(boxes)


def packed(codestream: bytes) -> dict[str, bytes]:
    return {
        "bare": codestream,
        "one box": container(box(b"jxlc", codestream)),
        "a wide box": container(box(b"jxlc", codestream, wide=True)),
        "the last box": container(box(b"Exif", b"x" * 99), box(b"jxlc", codestream, last=True)),
        "in parts": container(
            *(box(b"jxlp", struct.pack(">I", i) + codestream[i : i + 1]) for i in range(len(codestream)))
        ),
    }


@pytest.mark.parametrize("size", JXL)
def test_the_size_of_a_jpeg_xl_is_read_off_its_header(size: tuple[int, int]) -> None:
    for how, data in packed(bytes.fromhex(JXL[size])).items():
        assert jxl_size(io.BytesIO(data)) == size, how


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\x0a",
        container(),
        container(box(b"jxlc", b"no codestream")),
        container(struct.pack(">I4sQ", 1, b"jxlc", 2**63)),
        container(struct.pack(">I4s", 3, b"jxlc")),
        container(*[box(b"free", b"")] * 11_000),
    ],
)
def test_a_jpeg_xl_that_does_not_say_its_size_is_not_opened(data: bytes) -> None:
    with pytest.raises(RowError, match="unreadable"):
        jxl_size(io.BytesIO(data))


def test_a_jpeg_xl_beyond_the_limits_is_known_by_its_size_without_its_plug_in(tmp_path: Path) -> None:
    path = tmp_path / "a.jxl"
    for data in packed(bytes.fromhex(JXL[16000, 16000])).values():
        path.write_bytes(data)
        found = probe(path, limits=Limits(area=150e6))
        assert (found.format, found.width, found.height, found.final) == ("jxl", 16000, 16000, False)


def test_the_canvas_of_a_gif_grows_with_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # there are no pixels in it
    path = tmp_path / "a.gif"
    path.write_bytes(gif_of((50, 40), [(0, 0, 50, 40), (10, 10, 90, 20), (0, 0, 5, 5)]))
    assert gif_sizes(path) == [(50, 40), (100, 40), (100, 40)]
    with Image.open(path) as image:
        image.seek(2)
        assert image.size == (100, 40)


def test_the_canvas_that_pillow_writes_is_found_at_every_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (60, 50), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], loop=0, comment=b"x" * 600)
    assert gif_sizes(tmp_path / "a.gif") == [(60, 50)] * 3


def test_a_gif_whose_first_frame_is_beyond_the_limits_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(gif_of((50, 40), [(0, 0, 501, 40)]))

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(Image, "open", forbidden)
    found = probe(path, PixelPolicy(), limits=Limits(side=500))
    assert (found.width, found.height, found.final) == (501, 40, False)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"GIF89a" + b"\0" * 7, b"\x89PNG"])
def test_of_other_files_and_stumps_nothing_is_claimed_that_matters(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    assert claimed(path) in (None, ("gif", (1, 1)))
    assert gif_sizes(path) == []


def test_a_missing_file_may_be_there_next_time(tmp_path: Path) -> None:
    for ask in (claimed, gif_sizes):
        with pytest.raises(RowError, match="io") as caught:
            ask(tmp_path / "gone.gif")
        assert caught.value.transient
