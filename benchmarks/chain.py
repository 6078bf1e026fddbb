"""`make bench`: seconds and pictures per second of every stage, on the sample set and on 500 drawings.

Seconds are the work of all threads together; wall time stands in the last line. This is the base line that
later work is compared with: the numbers mean something only beside others of the same machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from dataprep.progress import Observer
from dataprep.run import Job, Outcome, run
from models.miniature.world import random_drawing, render

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((640, 640), (480, 800), (800, 480), (512, 768), (900, 600))
FLAGS = {"trigger": "sks", "class_word": "girl", "models": "miniature"}


def rendered(folder: Path, count: int) -> Path:
    """A folder of `count` JPEG drawings of random characters, about half a megapixel each."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    for i in range(count):
        width, height = SIZES[i % len(SIZES)]
        render(random_drawing(rng), width, height).save(folder / f"{i:04d}.jpg", quality=92)
    return folder


def measured(raw: Path, out: Path) -> tuple[Outcome, Outcome]:
    """A first run, and a second that should find everything stored."""
    job = Job(raw, out, flags=FLAGS)
    threads = os.cpu_count() or 1
    return run(job, Observer(), threads=threads), run(job, Observer(), threads=threads)


def table(title: str, first: Outcome, second: Outcome) -> str:
    """The measured table as Markdown."""
    lines = [f"### {title}", "", "| stage | rows | seconds | rows/s | again, s |", "|---|---|---|---|---|"]
    for one, two in zip(first.stages, second.stages, strict=True):
        rate = f"{one.rows / one.seconds:.0f}" if one.seconds > 0.005 else "-"
        lines.append(f"| {one.name} | {one.rows} | {one.seconds:.2f} | {rate} | {two.seconds:.2f} |")
    lines.append(
        f"| whole run, wall | {first.table.num_rows} | {first.seconds:.2f} | | {second.seconds:.2f} |"
    )
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        sample = measured(ROOT / "sample_data" / "raw", Path(folder) / "sample")
        print(table("sample_data/raw", *sample), "\n")
        raw = rendered(Path(folder) / "raw", count)
        print(table(f"{count} rendered pictures", *measured(raw, Path(folder) / "rendered")))


if __name__ == "__main__":
    main()
