from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprep.errors import RowError
from dataprep.pictures import opened
from dataprep.pictures.pixels import PixelPolicy, load_mask, load_rgb

SIZE = (24, 16)
NONE, BACKGROUND, PREVIOUS = range(3)
SOURCE, OVER = range(2)
PAIRS = list(itertools.product((NONE, BACKGROUND, PREVIOUS), (SOURCE, OVER)))
COLOUR_TYPE = {"L": 0, "RGB": 2, "P": 3, "LA": 4, "RGBA": 6}


@dataclass(frozen=True)
class Part:
    """A frame: its picture, where it goes (px), and how."""

    image: Image.Image
    left: int = 0
    top: int = 0
    disposal: int = NONE
    blend: int = SOURCE


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_last", opened._Last())


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def written(
    path: Path,
    parts: list[Part],
    still: Image.Image | None = None,
    shared: bytes = b"",
    pieces: int = 1,
    depth: int = 8,
) -> Path:
    """An animated PNG as its specification asks for; `still`: a default picture that is no frame."""
    kind = COLOUR_TYPE[parts[0].image.mode]
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, depth, kind, 0, 0, 0))
    data += chunk(b"acTL", struct.pack(">II", len(parts), 0)) + shared
    if still is not None:
        data += chunk(b"IDAT", packed(still, depth))
    numbers = itertools.count()
    for number, part in enumerate(parts):
        place = (*part.image.size, part.left, part.top, 1, 10, part.disposal, part.blend)
        data += chunk(b"fcTL", struct.pack(">IIIIIHHBB", next(numbers), *place))
        raw = packed(part.image, depth)
        step = -(-len(raw) // pieces)
        for at in range(0, len(raw), step):
            piece = raw[at : at + step]
            if number or still is not None:
                data += chunk(b"fdAT", struct.pack(">I", next(numbers)) + piece)
            else:
                data += chunk(b"IDAT", piece)
    path.write_bytes(data + chunk(b"IEND"))
    return path


def packed(image: Image.Image, depth: int = 8) -> bytes:
    rows = np.asarray(image)
    if depth == 16:
        rows = (rows.astype(">u2") * 257).astype(">u2")
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def shown(parts: list[Part]) -> list[np.ndarray]:
    """What the specification shows at each frame, RGBA, (H, W, 4), uint8."""
    canvas = np.zeros((SIZE[1], SIZE[0], 4))
    found = []
    for part in parts:
        there = canvas.copy()
        across = slice(part.left, part.left + part.image.width)
        down = slice(part.top, part.top + part.image.height)
        new, old = np.asarray(part.image.convert("RGBA")) / 255.0, canvas[down, across]
        if part.blend == OVER:
            alpha = new[..., 3:] + old[..., 3:] * (1 - new[..., 3:])
            mixed = new[..., :3] * new[..., 3:] + old[..., :3] * old[..., 3:] * (1 - new[..., 3:])
            new = np.concatenate([mixed / np.maximum(alpha, 1e-9), alpha], axis=2)
        canvas[down, across] = new
        found.append(np.rint(canvas * 255).astype(np.uint8))
        if part.disposal == BACKGROUND:
            canvas[down, across] = 0
        elif part.disposal == PREVIOUS:
            canvas = there
    return found


def noise(mode: str, size: tuple[int, int], alpha: str = "opaque") -> Image.Image:
    rng = np.random.default_rng(size[0] * 31 + size[1])
    bands = [Image.fromarray(rng.integers(0, 256, size[::-1], np.uint8)) for _ in range(len(mode))]
    if mode.endswith("A"):
        values = {
            "opaque": np.full(size[::-1], 255),
            "holes": rng.choice([0, 255], size[::-1]),
            "half": rng.integers(0, 256, size[::-1]),
        }[alpha]
        bands[-1] = Image.fromarray(values.astype(np.uint8))
    return Image.merge(mode, bands) if len(bands) > 1 else bands[0]


def moving(mode: str, disposal: int, blend: int, alpha: str = "opaque", count: int = 6) -> list[Part]:
    """A whole frame, and smaller ones that go over it."""
    first = Part(noise(mode, SIZE, alpha), 0, 0, disposal, blend)
    others = [Part(noise(mode, (9 + n, 7), alpha), 2 * n, n, disposal, blend) for n in range(1, count)]
    return [first, *others]


def check(path: Path, expected: list[np.ndarray], shift: int = 0, most: int = 0) -> None:
    """Each frame by itself, one after another and in any order is as expected, to so many levels."""
    frames = range(len(expected))
    orders = [[frame] for frame in frames] + [list(frames), [0, *frames[1::2]], [3, 1, 5, 2, 2, 4, 0]]
    for background, policy in ((255, PixelPolicy()), (0, PixelPolicy(alpha="black"))):
        for order in orders:
            opened._last.decoder = None
            for frame in (frame for frame in order if frame < len(expected)):
                alpha = expected[frame][..., 3:] / 255.0
                wanted = expected[frame][..., :3] * alpha + background * (1 - alpha)
                found = np.asarray(load_rgb(path, policy, frame + shift))
                assert np.abs(found - np.rint(wanted)).max() <= most, (order, frame)


@pytest.mark.parametrize("alpha", ["opaque", "holes", "half"])
@pytest.mark.parametrize(("disposal", "blend"), PAIRS)
def test_frames_are_those_of_the_specification(tmp_path: Path, disposal: int, blend: int, alpha: str) -> None:
    parts = moving("RGBA", disposal, blend, alpha)
    check(written(tmp_path / "a.png", parts), shown(parts), most=2 if alpha == "half" else 0)


@pytest.mark.parametrize("seed", range(6))
def test_disposals_and_blends_mix(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [Part(noise("RGBA", SIZE, "holes"), 0, 0, int(rng.integers(3)), int(rng.integers(2)))]
    for _ in range(7):
        width, height = int(rng.integers(1, SIZE[0] + 1)), int(rng.integers(1, SIZE[1] + 1))
        left, top = int(rng.integers(SIZE[0] - width + 1)), int(rng.integers(SIZE[1] - height + 1))
        how = int(rng.integers(3)), int(rng.integers(2))
        parts.append(Part(noise("RGBA", (width, height), "holes"), left, top, *how))
    check(written(tmp_path / "a.png", parts, pieces=3), shown(parts))


@pytest.mark.parametrize("mode", ["RGB", "L", "LA"])
@pytest.mark.parametrize(("disposal", "blend"), PAIRS)
def test_frames_of_any_mode_leave_nothing_behind(
    tmp_path: Path, disposal: int, blend: int, mode: str
) -> None:
    parts = moving(mode, disposal, blend, "holes")
    check(written(tmp_path / "a.png", parts), shown(parts))


def test_frames_of_sixteen_bits_are_those_of_eight(tmp_path: Path) -> None:
    parts = moving("RGBA", PREVIOUS, OVER, "holes")
    check(written(tmp_path / "a.png", parts, depth=16), shown(parts))


def test_frames_share_a_palette_with_holes(tmp_path: Path) -> None:
    palette = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    shared = chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", bytes([0] * 128))
    parts = moving("L", PREVIOUS, OVER)
    coloured = []
    for part in parts:
        values = np.asarray(part.image)
        rgba = np.dstack([palette[values], np.where(values < 128, 0, 255).astype(np.uint8)])
        coloured.append(Part(Image.fromarray(rgba), part.left, part.top, part.disposal, part.blend))
    for part in parts:
        part.image.putpalette(palette.tobytes())
    check(written(tmp_path / "a.png", parts, shared=shared), shown(coloured))


def test_a_default_picture_is_the_first_and_not_drawn_over(tmp_path: Path) -> None:
    parts = moving("RGBA", NONE, OVER, "holes")
    still = noise("RGBA", SIZE)
    path = written(tmp_path / "a.png", parts, still)
    check(path, shown(parts), shift=1)
    assert np.array_equal(np.asarray(load_rgb(path, PixelPolicy())), np.asarray(still.convert("RGB")))


def test_the_mask_of_a_frame_is_its_opacity(tmp_path: Path) -> None:
    parts = moving("RGBA", BACKGROUND, SOURCE, "holes")
    path = written(tmp_path / "a.png", parts)
    for frame, expected in enumerate(shown(parts)):
        mask = load_mask(path, PixelPolicy(alpha="mask"), frame)
        assert mask is not None
        assert np.array_equal(np.asarray(mask), expected[..., 3])


@pytest.mark.parametrize(("mode", "space"), [("RGB", "RGB "), ("L", "GRAY")])
def test_frames_are_seen_through_the_profile_of_the_file(
    tmp_path: Path, mode: str, space: str, linear_profile: Callable[[str], bytes]
) -> None:
    parts = [Part(noise(mode, SIZE)), Part(noise(mode, SIZE))]
    shared = chunk(b"iCCP", b"x\0\0" + zlib.compress(linear_profile(space)))
    path = written(tmp_path / "a.png", parts, shared=shared)
    first, second = (np.asarray(load_rgb(path, PixelPolicy(), frame)) for frame in (0, 1))
    assert np.array_equal(first, second)
    assert np.abs(first.astype(int) - np.asarray(parts[0].image.convert("RGB"))).max() > 20


def test_damaged_animations_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", moving("RGBA", NONE, SOURCE))
    whole = path.read_bytes()
    last = whole.rindex(b"fdAT")
    for damaged in (
        whole[: last + 30],  # cut off
        whole[: last + 4] + b"\0\0\0\7" + whole[last + 8 :],  # out of order
        whole[: last - 4] + chunk(b"IEND"),  # fewer frames than it says
        whole.replace(struct.pack(">II", 14, 7), struct.pack(">II", 99, 7)),  # beyond the canvas
    ):
        path.write_bytes(damaged)
        load_rgb(path, PixelPolicy(), 4)
        with pytest.raises(RowError):
            load_rgb(path, PixelPolicy(), 5)
    path.write_bytes(whole)
    load_rgb(path, PixelPolicy(), 5)
    with pytest.raises(RowError, match="no more images"):
        load_rgb(path, PixelPolicy(), 6)
