"""Make the sample data again: `python sample_data/make.py raw` (drawn) or `class` (by the miniature model).

Owns the list of what people's folders really hold: formats, colour modes, rotations, near-duplicates, broken
files. README.md beside this file says what each one exercises.
"""

from __future__ import annotations

import argparse
import io
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageEnhance

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "sample_data"
sys.path.insert(0, str(ROOT))

from models.miniature.drawing import Drawing, signature_drawing, tags  # noqa: E402
from models.miniature.world import render  # noqa: E402

SEED = 77
SQUARE, PORTRAIT, TALL, LANDSCAPE = (640, 640), (512, 768), (480, 800), (768, 512)
PLAIN: tuple[tuple[str, tuple[int, int]], ...] = (
    ("jpg", SQUARE), ("jpg", PORTRAIT), ("jpg", SQUARE), ("jpg", LANDSCAPE), ("jpg", TALL), ("jpg", PORTRAIT),
    ("jpg", SQUARE), ("jpg", LANDSCAPE), ("jpg", PORTRAIT), ("jpg", SQUARE), ("jpg", (700, 600)),
    ("jpg", (560, 720)), ("png", SQUARE), ("png", PORTRAIT), ("png", LANDSCAPE), ("png", (512, 512)),
    ("png", (400, 640)), ("png", (600, 600)), ("webp", SQUARE), ("webp", PORTRAIT), ("webp", LANDSCAPE),
    ("webp", (448, 448)), ("avif", SQUARE), ("avif", PORTRAIT), ("avif", LANDSCAPE),
)  # fmt: skip
DATAPREP_TOML = """\
# Settings of this data set. Flags on the command line win.
models = "miniature"    # the tiny family in this repository: for trying and testing
class_word = "girl"
reg = "../class"
batch_size = 4

# The miniature is some 300 times smaller than Stable Diffusion, and learns at higher rates. Shuffling and
# dropping tags keeps it from telling the pictures by their tags, so that only the trigger word can.
[export.train]
network_dim = 16
network_alpha = 16
unet_lr = 1.5e-3
text_encoder_lr = 4e-3
text_encoder_until = 1.0
max_train_epochs = 13  # some 1,200 steps, four to six minutes on two cores
lr_warmup_steps = 75
shuffle_caption = true
caption_tag_dropout_rate = 0.4
mixed_precision = "no"
"""


class Hand:
    """Draws one new picture of the signature character after another."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.last: Drawing | None = None

    def draw(self, width: int, height: int) -> Image.Image:
        """The next picture; a wide one never shows the whole figure, which would be too small in it."""
        drawing = signature_drawing(self.rng)
        if width > 1.2 * height and drawing.framing == "full body":
            drawing = replace(drawing, framing="upper body")
        self.last = drawing
        return render(drawing, width, height)


def save(image: Image.Image, path: Path) -> None:
    """Write in the format that the name asks for."""
    options: dict[str, dict[str, Any]] = {
        ".jpg": {"quality": 88}, ".webp": {"quality": 86}, ".avif": {"quality": 72}, ".png": {"optimize": 1},
    }  # fmt: skip
    image.save(path, **options[path.suffix])


def make_plain(raw: Path, hand: Hand) -> None:
    """The ordinary pictures, numbered."""
    for index, (suffix, (width, height)) in enumerate(PLAIN, start=1):
        save(hand.draw(width, height), raw / f"{index:03d}.{suffix}")


def make_shapes(raw: Path, hand: Hand) -> None:
    """Two panoramas, one wide and one tall."""
    save(hand.draw(900, 360), raw / "panorama.jpg")
    save(hand.draw(360, 900), raw / "scroll.jpg")


def make_states(raw: Path, hand: Hand) -> None:
    """Pictures whose pixels depend on more than their samples."""
    rotated = hand.draw(*PORTRAIT).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn 90 degrees clockwise to view
    rotated.save(raw / "phone.jpg", quality=88, exif=exif)
    hand.draw(*SQUARE).convert("CMYK").save(raw / "print.jpg", quality=88)
    make_wide_gamut(hand.draw(*SQUARE)).save(raw / "wide_gamut.jpg", quality=88, icc_profile=display_p3())
    make_cut_out(hand.draw(600, 600)).save(raw / "cut_out.png", optimize=True)
    deep = np.asarray(hand.draw(448, 448)).astype(np.uint16) * 257
    write_bytes(raw / "scan16.png", cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes())
    frames = [hand.draw(400, 400) for _ in range(3)]
    frames[0].save(raw / "moving.gif", save_all=True, append_images=frames[1:], duration=400, loop=0)


def make_cut_out(image: Image.Image) -> Image.Image:
    """RGBA: everything outside an ellipse is transparent, and garish where it is."""
    height, width = image.height, image.width
    y, x = np.mgrid[0:height, 0:width]
    outside = ((x - width / 2) / (0.49 * width)) ** 2 + ((y - height / 2) / (0.56 * height)) ** 2 > 1
    samples = np.dstack([np.asarray(image), np.full((height, width), 255, dtype=np.uint8)])
    samples[outside] = (255, 0, 255, 0)
    return Image.fromarray(samples)


def make_wide_gamut(image: Image.Image) -> Image.Image:
    """The same colours, as samples of Display P3."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(display_p3()))
    converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), profile)
    assert converted is not None
    return converted


def display_p3() -> bytes:
    """A minimal ICC v2 matrix profile: P3's primaries adapted to D50, gamma 2.2."""

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (x, y, z)))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    name = b"P3, gamma 2.2\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78)
    entries = {
        b"desc": text + bytes(-len(text) % 4),
        b"cprt": b"text\0\0\0\0CC0\0",
        b"wtpt": xyz(0.96420, 1.0, 0.82491),
        b"rXYZ": xyz(0.51512, 0.24120, -0.00105),
        b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz(0.15710, 0.06657, 0.78407),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    offset = 128 + 4 + 12 * len(entries)
    table, body = struct.pack(">I", len(entries)), b""
    for tag, data in entries.items():
        table += tag + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def make_duplicates(raw: Path) -> None:
    """Copies of earlier pictures, changed as pictures on the web are."""
    first, second, third, fourth = (Image.open(raw / f"{index:03d}.jpg") for index in (1, 3, 7, 10))
    first.save(raw / "001_recompressed.jpg", quality=40)
    second.resize((384, 384), Image.Resampling.LANCZOS).save(raw / "003_small.png", optimize=True)
    width, height = third.size
    edge = round(0.02 * width)
    third.crop((edge, edge, width - edge, height - edge)).save(raw / "007_cropped.jpg", quality=88)
    ImageEnhance.Brightness(fourth).enhance(1.12).save(raw / "010_brighter.webp", quality=86)
    shutil.copyfile(raw / "002.jpg", raw / "002 (copy).jpg")


def make_broken(raw: Path) -> None:
    """Files that are no pictures, whatever they are called."""
    write_bytes(raw / "half.jpg", (raw / "004.jpg").read_bytes()[:9000])
    write_bytes(raw / "empty.png", b"")
    write_bytes(raw / "notes.jpg", b"Commission notes: keep the star, the streak and the scarf.\n")


def make_names(raw: Path, hand: Hand) -> None:
    """Names that trip programs: two of one stem, a CJK name, a picture with its own caption."""
    save(hand.draw(*SQUARE), raw / "twin.jpg")
    save(hand.draw(*SQUARE), raw / "twin.png")
    save(hand.draw(*PORTRAIT), raw / "星の髪飾り.png")
    save(hand.draw(*SQUARE), raw / "captioned.jpg")
    assert hand.last is not None
    caption = ", ".join([*tags(hand.last), "star hair ornament"])
    write_bytes(raw / "captioned.txt", f"{caption}\n".encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write one file."""
    path.write_bytes(content)


def make_raw(raw: Path) -> None:
    """Write the whole raw folder anew."""
    shutil.rmtree(raw, ignore_errors=True)
    raw.mkdir(parents=True)
    hand = Hand(SEED)
    make_plain(raw, hand)
    make_shapes(raw, hand)
    make_states(raw, hand)
    make_names(raw, hand)
    make_duplicates(raw)
    make_broken(raw)
    write_bytes(raw / "dataprep.toml", DATAPREP_TOML.encode())
    total = sum(path.stat().st_size for path in raw.iterdir())
    print(f"{raw}: {len(list(raw.iterdir()))} files, {total / 1e6:.2f} MB")


def make_class(folder: Path) -> None:
    """Class images: what the miniature base model draws for the class word alone, in its three buckets."""
    from dataprep.inference.torch_compat import prepare_torch

    prepare_torch()
    from models.miniature.base import token_ids
    from models.miniature.base_files import load_base_parts
    from models.miniature.sampling import sample

    parts = load_base_parts(ROOT / "models" / "miniature" / "base")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for width, height, count in ((256, 256, 16), (192, 320, 16), (320, 192, 8)):
        ids, empty = token_ids(["girl"] * count), token_ids([""])
        pictures = sample(*parts, ids, empty, seed=width, width=width, height=height, guidance=3.0)
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"girl_{width}x{height}_{index:02d}.png", optimize=True)


MAKERS: dict[str, Callable[[], None]] = {
    "raw": lambda: make_raw(HERE / "raw"),
    "class": lambda: make_class(HERE / "class"),
}


def main() -> None:
    """Parse the command line and make what it names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=sorted(MAKERS))
    MAKERS[parser.parse_args().what]()


if __name__ == "__main__":
    main()
