"""The exact duplicate search at many sizes: seconds, memory and growth, beside imagehash in a double loop.

python -m benchmarks.search [HASHES ...]
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import sys
import time

import imagehash
import numpy as np

from dataprep.copies.neighbours import Hashes, Layout, components

DISTANCES = (4, 8, 10)
SIZES = (10_000, 100_000, 1_000_000)
LOOPED = 1000  # hashes of the double loop; its time grows with the square


def planted(n: int, seed: int = 1) -> Hashes:
    """Hashes as of a scraped set: 65 % lone, the others in groups of three with up to 8 changed bits each."""
    rng = np.random.default_rng(seed)
    alone = round(0.65 * n)
    hashes = rng.integers(0, 2**64, n, dtype=np.uint64)
    centres = rng.integers(0, 2**64, (n - alone) // 3 + 1, dtype=np.uint64)
    hashes[alone:] = np.repeat(centres, 3)[: n - alone]
    flips = rng.integers(0, 9, n - alone)
    for k in range(8):
        bit = np.uint64(1) << rng.integers(0, 64, n - alone).astype(np.uint64)
        hashes[alone:] ^= np.where(k < flips, bit, np.uint64(0))
    rng.shuffle(hashes)
    return hashes


def searched(n: int, distance: int) -> tuple[float, int, int]:
    """Processor seconds, MiB that the search took on top, and groups found, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_searched, (n, distance))


def _searched(n: int, distance: int) -> tuple[float, int, int]:
    hashes = planted(n)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.process_time()
    labels = components(hashes, distance)
    seconds = time.process_time() - started
    extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss
    return seconds, extra // 1024, len(np.unique(labels))


def looped(n: int, distance: int = 8) -> float:
    """Processor seconds of comparing all with all by the imagehash package."""
    hashes = [imagehash.hex_to_hash(f"{int(value):016x}") for value in planted(n)]
    started = time.process_time()
    near = sum(hashes[i] - hashes[j] <= distance for i in range(n) for j in range(i))
    assert near >= 0
    return time.process_time() - started


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Print the table."""
    loop = looped(LOOPED)
    print("| hashes | distance | tables | seconds | memory, MiB | groups | growth | imagehash's loop, s |")
    print("|---|---|---|---|---|---|---|---|")
    for distance in DISTANCES:
        last: tuple[int, float] | None = None
        for n in sizes:
            seconds, extra, groups = searched(n, distance)
            layout = Layout.best(n, distance)
            tables = math.comb(len(layout.widths), layout.keys)
            growth = "" if last is None else f"n^{math.log(seconds / last[1]) / math.log(n / last[0]):.2f}"
            found = f"{seconds:.2f} | {extra} | {groups:,} | {growth} | {loop * (n / LOOPED) ** 2:,.0f}"
            print(f"| {n:,} | {distance} | {tables} | {found} |")
            last = n, seconds


if __name__ == "__main__":
    main(tuple(int(text) for text in sys.argv[1:]) or SIZES)
