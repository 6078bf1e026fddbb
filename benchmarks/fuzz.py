"""Mutated picture files through scan and fingerprint: no crash, no hang, bounded memory.

python -m benchmarks.fuzz [FILES] [SEED]
"""

from __future__ import annotations

import io
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from dataprep.progress import Observer
from dataprep.run import Job, execute, plan

Generator = np.random.Generator
# (format, mode, options): every decoder that may be asked, in its usual modes
KINDS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("JPEG", "RGB", {"exif": True, "icc_profile": True}),
    ("JPEG", "CMYK", {}),
    ("JPEG", "L", {}),
    ("JPEG", "RGB", {"progressive": True}),
    ("MPO", "RGB", {"save_all": True}),
    ("PNG", "RGB", {"exif": True, "icc_profile": True}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "RGBA", {}),
    ("PNG", "I;16", {}),
    ("PNG", "RGB", {"save_all": True}),
    ("WEBP", "RGB", {"exif": True}),
    ("WEBP", "RGBA", {"save_all": True}),
    ("AVIF", "RGB", {"exif": True}),
    ("GIF", "P", {"save_all": True}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw", "save_all": True}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "CMYK", {}),
    ("TIFF", "F", {}),
    ("JPEG2000", "RGB", {}),
    ("PPM", "RGB", {}),
    ("ICO", "RGBA", {}),
    ("QOI", "RGB", {}),
)


def originals(rng: Generator) -> list[bytes]:
    """One small whole file of each kind."""
    base = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).resize(
        (130, 90), Image.Resampling.BICUBIC
    )
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 50
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    given = {"exif": exif, "icc_profile": profile}
    files = []
    for form, mode, options in KINDS:
        image = base.convert("I").convert("I;16") if mode == "I;16" else base.convert(mode)
        more = {"append_images": [image.rotate(180)]} if "save_all" in options else {}
        buffer = io.BytesIO()
        image.save(buffer, form, **{key: given.get(key, value) for key, value in options.items()}, **more)
        files.append(buffer.getvalue())
    return files


def gif_of(canvas: tuple[int, int], frames: Sequence[tuple[int, int, int, int]]) -> bytes:
    """A GIF as small as can be, whose frames claim to cover any box.

    Args:
        canvas: width and height that the file claims, px.
        frames: left, top, width and height of each, px.
    """
    behind = b"\x21\xf9\x04\x08\0\0\0\0"  # of each frame the background is put back
    pixels = b"\0\x02\x02\x44\x01\0"
    pictures = b"".join(behind + b"," + struct.pack("<4H", *box) + pixels for box in frames)
    return b"GIF89a" + struct.pack("<2H3B", *canvas, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + pictures + b";"


def bombs(raw: Path) -> None:
    """Small files that would cost a decoder gigabytes; the first only where all frames are rows."""
    whole, huge = (0, 0, 100, 100), (0, 0, 20_000, 20_000)
    (raw / "bomb later frame.gif").write_bytes(gif_of((100, 100), [whole, huge]))
    (raw / "bomb frame.gif").write_bytes(gif_of((100, 100), [huge]))
    (raw / "bomb.jxl").write_bytes(bytes.fromhex("ff0afcf321201208020100"))  # 16000 x 16000
    head = struct.pack(">2I5B", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", b""), (b"tEXt", b"a\0b"))
    made = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    (raw / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + made)


def mutated(data: bytes, rng: Generator) -> bytes:
    """The file with bytes changed, taken out, put in, or its end cut off; often in its header."""
    out = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2, 5, 20]))):
        at = int(rng.integers(0, min(len(out), 200) if rng.random() < 0.5 else len(out)))
        what = rng.random()
        if what < 0.55:
            out[at] = int(rng.choice([0, 255, int(rng.integers(0, 256))]))
        elif what < 0.7:
            del out[at : at + int(rng.integers(1, 30))]
        elif what < 0.85:
            out[at:at] = rng.bytes(int(rng.integers(1, 30)))
        else:
            del out[max(1, at) :]
        out = out or bytearray(b"x")
    return bytes(out)


def main(count: int = 2000, seed: int = 1) -> None:
    """Print what became of the files, for the first frames and for all frames with salvage."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        raw.mkdir()
        whole = originals(rng)
        for i in range(count):
            # The suffix lies: content decides.
            (raw / f"{i:05d}.jpg").write_bytes(mutated(whole[i % len(whole)], rng))
        bombs(raw)
        for title, settings in (
            ("first frames", ()),
            ("all frames, salvage", ("scan.frames=1", "scan.salvage=0.5")),
        ):
            job = Job(
                raw,
                Path(folder) / title,
                overrides=settings,
                flags={"models": "miniature"},
                until="fingerprint",
            )
            job.out.mkdir()
            started = time.perf_counter()
            table, _ = execute(plan(job, threads=2), Observer())
            seconds = time.perf_counter() - started
            reasons = [reason or "whole" for reason in table["reason"].to_pylist()]
            counts = Counter(":".join(reason.split(":")[:2]) for reason in reasons)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            assert len({path for path in table["path"].to_pylist() if "bomb" not in path}) == count
            stopped = {path for path, reason in zip(table["path"].to_pylist(), reasons, strict=True)
                       if reason.startswith("scan:too-large: ")}  # fmt: skip
            assert len({path for path in stopped if path.startswith("bomb")}) == (4 if settings else 3)
            print(f"{title}: {count} files, {table.num_rows} rows, {seconds:.1f} s, peak memory {peak} MiB")
            print("  " + ", ".join(f"{name} {number}" for name, number in counts.most_common()))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]))
