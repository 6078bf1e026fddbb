"""Decoding and what hangs on it: how near scan, fingerprint, feeding and export come to bare decoding.

python -m benchmarks.decode [LARGE] [SMALL]     (numbers of pictures of 6 and 1 megapixels)

All in one process on all cores, every figure the median of interleaved rounds; ratios of one run.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from benchmarks.corpus import corpus
from dataprep.export.kohya import picture
from dataprep.pictures.pixels import PixelCache, PixelPolicy, load_rgb, load_small
from dataprep.pictures.seen import seen
from dataprep.progress import Observer
from dataprep.run import Job, execute, plan
from dataprep.stage import Context
from dataprep.store import Blobs

THREADS = os.cpu_count() or 1
ROUNDS = 3
LARGE_PX, SMALL_PX = (3000, 2000), (1216, 832)
BUCKET, TAGGER_PX, CLIP_PX = (768, 512), 448, 224
FED = 24  # large pictures that are decoded four times over


def photographs(folder: Path, count: int, size: tuple[int, int], seed: int) -> list[Path]:
    """JPEG files of quality 90 that are as hard to decode as photographs: noise on top of soft clouds."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    width, height = size
    bases = []
    for _ in range(min(count, 10)):
        soft = Image.fromarray(rng.integers(0, 256, (height // 100, width // 100, 3), np.uint8))
        fine = Image.fromarray(rng.integers(96, 160, (height // 2, width // 2, 3), np.uint8))
        bases.append(Image.blend(soft.resize(size, Image.Resampling.BICUBIC), fine.resize(size), 0.25))
    paths = [folder / f"{i:04d}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        image = bases[i % len(bases)]
        if i // len(bases) % 2:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image.save(path, quality=90, comment=str(i).encode())
    return paths


def reduced(path: Path) -> None:
    """Bare reduced decode: the same scale as fingerprint asks for, and nothing else."""
    with Image.open(path) as image:
        factor = next(f for f in (8, 4, 2, 1) if min(image.size) // f >= 256)
        image.draft(None, (image.width // factor, image.height // factor))
        image.load()


def rate(function: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Items a second on all cores."""
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(function, items))
    return len(items) / (time.perf_counter() - started)


def chain_rate(raw: Path, out: Path) -> float:
    """Pictures a second through scan, curate and fingerprint, results stored."""
    job = Job(raw, out, flags={"trigger": "sks", "models": "miniature"}, until="fingerprint")
    planned = plan(job, threads=THREADS)
    out.mkdir(parents=True)
    started = time.perf_counter()
    table, _ = execute(planned, Observer())
    return float(table.num_rows / (time.perf_counter() - started))


def rounds(*functions: Callable[[], float]) -> list[float]:
    """Median of each, the functions taking turns."""
    results = [[function() for function in functions] for _ in range(ROUNDS)]
    return [median(column) for column in zip(*results, strict=True)]


def fingerprint_table(root: Path, large: list[Path], small: list[Path]) -> list[str]:
    """Scan and fingerprint beside bare reduced decoding and beside imagehash in a loop."""
    names = ("bare reduced decode, /s", "scan + fingerprint, /s", "ratio", "imagehash loop, /s", "times")
    lines = [f"| pictures | {' | '.join(names)} |", "|---" * 6 + "|"]
    for name, paths in (("6 MP", large), ("1 MP", small)):
        bare, ours, loop = _fingerprint_rates(root / name, paths)
        cells = f"{bare:.0f} | {ours:.0f} | {ours / bare:.2f} | {loop:.1f} | {ours / loop:.1f}"
        lines.append(f"| {len(paths)} of {name} | {cells} |")
    return lines


def _fingerprint_rates(out: Path, paths: list[Path]) -> list[float]:
    turn = iter(range(ROUNDS))
    return rounds(
        lambda: rate(reduced, paths),
        lambda: chain_rate(paths[0].parent, out / str(next(turn))),
        lambda: loop_rate(paths[:40]),
    )


def loop_rate(paths: list[Path]) -> float:
    """imagehash.phash(Image.open(f)) in a loop."""
    started = time.perf_counter()
    for path in paths:
        imagehash.phash(Image.open(path))
    return len(paths) / (time.perf_counter() - started)


def row_of(path: Path) -> dict[str, Any]:
    """What the manifest would say about a large picture."""
    width, height = LARGE_PX
    return {
        "path": path.name,
        "role": "train",
        "pixels_key": path.stem,
        "width": width,
        "height": height,
        "box": {"left": 0, "top": 0, "right": width, "bottom": height},
        "bucket_width": BUCKET[0],
        "bucket_height": BUCKET[1],
    }


def four_decodes(path: Path) -> None:
    """As a chain of separate tools does: each decodes the picture for itself."""
    for size in ((32, 32), (TAGGER_PX, TAGGER_PX), (CLIP_PX, CLIP_PX), BUCKET):
        Image.open(path).convert("RGB").resize(size, Image.Resampling.LANCZOS)


def one_decode(context: Context, row: dict[str, Any]) -> None:
    """Hash, tagger, CLIP and the bucket-size view, all from one decode that is no larger than they need."""
    view = seen(context, row)
    view.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    seen(context, row, TAGGER_PX)
    seen(context, row, CLIP_PX)


def fresh(raw: Path) -> Context:
    """A context whose cache is empty."""
    return Context(raw, raw, PixelCache(PixelPolicy()), Blobs(raw / "blobs"))


def exported(context: Context, row: dict[str, Any]) -> None:
    """The picture file as export makes it."""
    picture(row, "a.png", context.view).make()


def bare_export(path: Path) -> None:
    """Decode, resize and encode, and nothing else."""
    with Image.open(path) as image:
        cut = image.convert("RGB").resize(BUCKET, Image.Resampling.LANCZOS)
    cut.save(io.BytesIO(), "PNG", compress_level=3)


def feed_table(large: list[Path]) -> list[str]:
    """One decode beside four, and export beside its bare steps."""
    paths, raw = large[:FED], large[0].parent
    rows = [row_of(path) for path in paths]

    def feed() -> float:
        context = fresh(raw)
        return rate(lambda row: one_decode(context, row), rows)

    def write() -> float:
        context = fresh(raw)
        return rate(lambda row: exported(context, row), rows)

    four, one, bare, ours = rounds(
        lambda: rate(four_decodes, paths), feed, lambda: rate(bare_export, paths), write
    )
    return [
        "| of 6 MP | bare or separate, /s | dataprep, /s | ratio |",
        "|---|---|---|---|",
        f"| hash, tagger, CLIP, view: four decodes, or one | {four:.1f} | {one:.1f} | {one / four:.1f} |",
        f"| crop and export: decode, resize, encode | {bare:.1f} | {ours:.1f} | {ours / bare:.2f} |",
    ]


def drift(path: Path) -> int:
    """Bits of pHash that the reduced decode changes."""
    full, small = load_rgb(path, PixelPolicy()), load_small(path, PixelPolicy(), 256)
    return int(imagehash.phash(full) - imagehash.phash(small))


def enlarged(folder: Path, count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """Pictures of the corpus at twice their size, as JPEG and as PNG: (kind and format, file)."""
    folder.mkdir()
    for i, planted in enumerate(corpus(count, seed)):
        if planted.edit not in ("original", "sibling"):
            continue
        sharp = planted.kind in ("drawing", "page")
        image = planted.image.resize(
            (2 * planted.image.width, 2 * planted.image.height),
            Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC,
        )
        for suffix in ("jpg", "png"):
            path = folder / f"{i}.{suffix}"
            image.save(path, quality=90, compress_level=1)  # each takes what it knows
            yield f"{planted.kind}, {suffix}", path


def drift_table(root: Path, photographs: Sequence[Path]) -> list[str]:
    """Drift of pHash between the reduced and the full decode, by kind of picture."""
    bits: dict[str, list[int]] = defaultdict(list, {"noise on clouds, jpg": [drift(p) for p in photographs]})
    for kind, path in enlarged(root / "drift", 40, 5):
        bits[kind].append(drift(path))
        path.unlink()
    lines = ["| drift of pHash | pictures | same 64 bits | 99th percentile | most |", "|---" * 5 + "|"]
    for kind, found in sorted(bits.items()):
        same, high = float(np.mean(np.array(found) == 0)), np.quantile(found, 0.99)
        lines.append(f"| {kind} | {len(found)} | {same:.0%} | {high:.0f} | {max(found)} |")
    return lines


def main(large: int = 200, small: int = 500) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        big = photographs(root / "large", large, LARGE_PX, 1)
        little = photographs(root / "small", small, SMALL_PX, 2)
        lines = [
            *fingerprint_table(root, big, little),
            "",
            *feed_table(big),
            "",
            *drift_table(root, big[:20] + little[:20]),
        ]
        print("\n".join(lines))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]))
