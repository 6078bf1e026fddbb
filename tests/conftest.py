"""Fixtures that tests of several folders share: a tiny raw folder and the context in which stages run."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageFilter

from dataprep.digest import digest, file_sha256
from dataprep.manifest import BASE, BOX
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.store import Blobs

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported
sys.path.append(str(Path(__file__).parent / "train"))  # for tiny.py, random models of the real structure


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever tries to leave this machine fails its test."""
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test wants the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(scope="session")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SD1.5-like diffusers folder."""
    from tiny import save_base

    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def xl_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SDXL-like diffusers folder."""
    from tiny import save_base

    return save_base(tmp_path_factory.mktemp("xl"), "sdxl")


PLACED = pa.schema(
    [
        *BASE,
        ("phash", pa.string()),
        ("box", BOX),
        ("bucket_width", pa.int32()),
        ("bucket_height", pa.int32()),
        ("caption", pa.string()),
        ("repeats", pa.int32()),
        ("folder", pa.string()),
        ("latents_key", pa.string()),
    ]
)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Empty raw, class and prepared folders."""
    for name in ("raw", "class", "out"):
        (tmp_path / name).mkdir()
    blobs = Blobs(tmp_path / "out" / ".dataprep" / "blobs")
    pixels = PixelCache(PixelPolicy(), 2**24)
    return Context(tmp_path / "raw", tmp_path / "out", pixels, blobs, reg=tmp_path / "class")


@pytest.fixture
def placed_row(context: Context) -> Callable[..., dict[str, Any]]:
    """A function that draws a picture of noise and returns its row, placed in a bucket of its size."""

    def make(
        path: str, size: tuple[int, int] = (128, 64), role: str = "train", **cells: object
    ) -> dict[str, Any]:
        root = context.raw if role == "train" else context.reg
        assert root is not None
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(path)).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(file)
        sha256 = file_sha256(file)
        row = dict.fromkeys(PLACED.names) | {
            "id": digest(role, path, ""),
            "path": path,
            "view": "",
            "role": role,
            "sha256": sha256,
            "pixels_key": PixelPolicy().key(sha256),
            "state": "active",
            "width": size[0],
            "height": size[1],
            "box": {"left": 0, "top": 0, "right": size[0], "bottom": size[1]},
            "bucket_width": size[0],
            "bucket_height": size[1],
            "caption": "sks girl, smile" if role == "train" else "girl",
            "repeats": 2 if role == "train" else 1,
            "folder": "2_sks girl" if role == "train" else "1_girl",
        }
        return row | cells

    return make


def placed_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a manifest."""
    return pa.Table.from_pylist(rows, schema=PLACED)


@pytest.fixture
def as_table() -> Callable[[list[dict[str, Any]]], pa.Table]:
    """Rows as a manifest."""
    return placed_table


@pytest.fixture(scope="session")
def portrait() -> Callable[..., Image.Image]:
    """A function that draws a shaded face, as a photograph shows one, on blurred ground."""

    def draw(size: tuple[int, int], middle: tuple[float, float], face: float) -> Image.Image:
        colours = np.random.default_rng(0).integers(
            60, 200, (size[1] // 40 + 2, size[0] // 40 + 2, 3), np.uint8
        )
        image = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for x, y, rx, ry, colour in _FACE:
            left, top = middle[0] + (x - rx) * face, middle[1] + (y - ry) * face
            pen.ellipse((left, top, left + 2 * rx * face, top + 2 * ry * face), fill=colour)
        return image.filter(ImageFilter.GaussianBlur(0.018 * face))

    return draw


# Ellipses: middle and half axes in widths of a face, colour.
_FACE = [
    (0, 1.35, 0.95, 0.75, "#464b5a"),  # shoulders
    (0, 0.6, 0.2, 0.3, "#b4876e"),  # neck
    (0, -0.12, 0.58, 0.72, "#322620"),  # hair
    (0, 0.05, 0.46, 0.6, "#deb49b"),
    (0, -0.2, 0.38, 0.25, "#ebc3aa"),  # light on the forehead
    *(
        (side * x, y, rx, ry, colour)
        for side in (-1, 1)
        for x, y, rx, ry, colour in (
            (0.2, -0.06, 0.13, 0.07, "#966e5f"),
            (0.2, -0.05, 0.085, 0.035, "#ebe6e1"),  # white of the eye
            (0.2, -0.05, 0.04, 0.04, "#281c16"),
            (0.2, -0.16, 0.13, 0.025, "#463228"),  # brow
            (0.27, 0.2, 0.1, 0.09, "#e4aa94"),
        )
    ),
    (0, 0.1, 0.05, 0.14, "#ecc6b0"),  # nose
    (0, 0.22, 0.09, 0.03, "#a5735f"),
    (0, 0.36, 0.15, 0.04, "#964b46"),  # mouth
    (0, 0.43, 0.12, 0.02, "#be917d"),
]


@dataclass
class HandWork:
    """A folder prepared by the real chain on the miniature family, without latents, to edit and run again."""

    raw: Path
    out: Path
    flags: dict[str, Any] = field(default_factory=lambda: {"trigger": "sks", "class_word": "girl"})
    overrides: tuple[str, ...] = ()

    def run(self, **flags: Any) -> list[str]:
        """Run again, with other flags where some are given; what people are told."""
        from dataprep.progress import Observer
        from dataprep.run import Job, run

        self.flags |= flags
        known = {"models": "miniature"} | {name: value for name, value in self.flags.items() if value}
        job = Job(self.raw, self.out, flags=known, overrides=self.overrides, until="prune")
        return run(job, Observer(), threads=2).messages

    def row(self, path: str) -> dict[str, Any]:
        """The manifest's row of a raw file."""
        from dataprep.run import read_manifest

        return next(row for row in read_manifest(self.out)[0].to_pylist() if row["path"] == path)

    def caption(self, path: str) -> Path:
        """The caption file of a raw file."""
        return self.out / str(self.row(path)["caption_file"])

    def enlarge(self, path: str, new: str, factor: float) -> None:
        """Put a larger copy of a raw file beside it."""
        with Image.open(self.raw / path) as image:
            size = round(image.width * factor), round(image.height * factor)
            image.resize(size, Image.Resampling.LANCZOS).save(self.raw / new)

    def text(self, path: str) -> str:
        """The caption of a raw file, as the trainer will read it."""
        return self.caption(path).read_text(encoding="utf-8").removesuffix("\n")


@pytest.fixture(scope="session")
def prepare_drawings() -> Callable[[Path], Path]:
    """Draws four pictures of the miniature's character into a folder, and prepares them."""

    def prepare(home: Path) -> Path:
        from dataprep.progress import Observer
        from dataprep.run import Job, run
        from models.miniature.world import render, signature_drawing

        (home / "raw").mkdir()
        rng = np.random.default_rng(8)
        for i in range(4):
            render(signature_drawing(rng), 300, 300).save(home / "raw" / f"{i}.png")
        flags = {"trigger": "sks", "class_word": "girl", "models": "miniature"}
        run(Job(home / "raw", home / "out", flags=flags), Observer(), threads=2)
        return home / "out"

    return prepare


@pytest.fixture(scope="session")
def _hand_work(tmp_path_factory: pytest.TempPathFactory) -> HandWork:
    from models.miniature.world import render, signature_drawing

    home = tmp_path_factory.mktemp("hand")
    (home / "raw").mkdir()
    rng = np.random.default_rng(3)
    for i in range(4):
        render(signature_drawing(rng), 320, 320).save(home / "raw" / f"00{i}.png")
    work = HandWork(home / "raw", home / "out")
    work.run()
    return work


@pytest.fixture
def hand_work(_hand_work: HandWork, tmp_path: Path) -> HandWork:
    """Four pictures, prepared; a copy that the test may change."""
    for folder in (_hand_work.raw, _hand_work.out):
        shutil.copytree(folder, tmp_path / folder.name)
    return HandWork(tmp_path / "raw", tmp_path / "out")
