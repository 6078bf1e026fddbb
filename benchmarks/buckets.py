"""What is cut away by the best bucket plan and by kohya's list and choice, on 20 mixes of sizes.

python -m benchmarks.buckets
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.bucket_proof import least_cost
from dataprep.framing.bucket_plan import area_costs, assign, candidates, fits, ragged_buckets
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.stages.bucket import Bucket
from dataprep.store import Blobs

BATCH = 4
BATCHES = (2, 4, 8, 16)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("role", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        *Bucket.needs,
    ]
)
Sizes = list[tuple[int, int]]
_PHONE, _CAMERA, _WIDE = (3, 4), (3, 2), (16, 9)


def mixes() -> dict[str, Sizes]:
    """Twenty data sets as people have them: shapes, how loosely they are cropped, how many."""
    plans: dict[str, tuple[list[tuple[float, float]], float, int]] = {
        "phone, upright": ([_PHONE], 0.0, 120),
        "phone, both ways": ([_PHONE, (4, 3)], 0.0, 90),
        "phone and its screenshots": ([_PHONE, (9, 19.5)], 0.0, 75),
        "camera, lying": ([_CAMERA], 0.0, 200),
        "camera, both ways": ([_CAMERA, (2, 3)], 0.0, 61),
        "camera, cropped by hand": ([_CAMERA, (2, 3)], 0.3, 150),
        "two cameras": ([_CAMERA, (4, 3)], 0.0, 83),
        "film stills": ([_WIDE, (21, 9)], 0.0, 140),
        "film stills, cropped": ([_WIDE, (1, 1)], 0.25, 64),
        "squares": ([(1, 1)], 0.0, 50),
        "squares and portraits": ([(1, 1), (4, 5), (2, 3)], 0.0, 110),
        "drawings, any shape": ([(1, 1), (3, 4), (2, 3), (7, 10)], 0.3, 300),
        "drawings, upright": ([(2, 3), (7, 10), (1, 1.414)], 0.1, 97),
        "comic panels": ([(1, 2), (1, 1), (2, 1), (3, 1)], 0.4, 180),
        "scraped": ([(1, 1), (3, 2), (2, 3), (4, 3), (3, 4), (16, 9), (9, 16)], 0.35, 400),
        "scraped, few": ([(1, 1), (3, 2), (2, 3), (4, 3), (3, 4), (16, 9), (9, 16)], 0.35, 24),
        "very few": ([_PHONE, _CAMERA, (1, 1)], 0.2, 13),
        "panoramas among others": ([_CAMERA, (3, 1)], 0.1, 70),
        "stories": ([(9, 16)], 0.1, 55),
        "wallpapers": ([_WIDE, (16, 10), (21, 9), (32, 9)], 0.0, 66),
    }
    return {name: _sizes(*plan, seed) for seed, (name, plan) in enumerate(plans.items())}


def _sizes(shapes: list[tuple[float, float]], loose: float, count: int, seed: int) -> Sizes:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(len(shapes), 2.0))
    sizes = []
    for _ in range(count):
        width, height = shapes[rng.choice(len(shapes), p=weights)]
        scale = np.sqrt(rng.uniform(0.6e6, 12e6) / (width * height))
        stretch = np.exp(rng.uniform(-loose, loose))
        sizes.append((round(width * scale * stretch), round(height * scale)))
    return sizes


def bucketed(sizes: Sizes, plan: str, batch_size: int = BATCH) -> list[dict[str, Any]]:
    """Rows of the bucket stage at resolution 512."""
    cells = {"role": "train", "state": "active", "focus_x": 0.5, "focus_y": 0.5}
    rows = [{"id": str(i), "width": w, "height": h, **cells} for i, (w, h) in enumerate(sizes)]
    context = Context(Path(), Path(), PixelCache(PixelPolicy()), Blobs(Path()))
    stage = Bucket(resolution=512, plan=plan, batch_size=batch_size)
    table = stage.open(context)(pa.Table.from_pylist(rows, schema=SCHEMA))
    result: list[dict[str, Any]] = table.to_pylist()
    return result


def ragged(rows: list[dict[str, Any]], batch_size: int = BATCH) -> int:
    """Buckets whose last batch is not full."""
    counts = Counter((row["bucket_width"], row["bucket_height"]) for row in rows)
    return sum(count % batch_size != 0 for count in counts.values())


def loss(rows: list[dict[str, Any]]) -> float:
    """Mean share of a picture's pixels that is cut away."""
    return float(np.mean([row["crop_loss"] for row in rows]))


def print_batches() -> None:
    """Both plans over all mixes, a line for each batch size."""
    print("\n| batch | loss: kohya | ours | ragged: kohya | ours | unavoidable | mixes where more is cut |")
    print("|---" * 7 + "|")
    for batch_size in BATCHES:
        losses, ragged_, more, unavoidable = np.zeros(2), np.zeros(2, int), 0, 0
        for sizes in mixes().values():
            both = [bucketed(sizes, plan, batch_size) for plan in ("kohya", "best")]
            of_mix = np.array([loss(rows) for rows in both])
            losses += of_mix / len(mixes())
            ragged_ += [ragged(rows, batch_size) for rows in both]
            more += bool(of_mix[1] > of_mix[0] + 1e-9)
            unavoidable += len(sizes) % batch_size != 0
        cells = f"{losses[0]:.2%} | {losses[1]:.2%} | {ragged_[0]} | {ragged_[1]} | {unavoidable} | {more}"
        print(f"| {batch_size} | {cells} |")


def print_kept_ragged() -> None:
    """The mixes that keep more ragged buckets than they must, and what one fewer would cost."""
    print("\n| batch | mix | pictures | ragged | at least | cost of one fewer | of any plan |")
    print("|---" * 7 + "|")
    for batch_size in BATCHES:
        for name, sizes in mixes().items():
            kept = ragged(bucketed(sizes, "best", batch_size), batch_size)
            least = int(len(sizes) % batch_size != 0)
            if kept > least:
                ours, any_plans = cost_of_fewer(sizes, batch_size, kept)
                cells = f"{kept} | {least} | {ours:.1%} | {any_plans:.2%}"
                print(f"| {batch_size} | {name} | {len(sizes)} | {cells} |")


def cost_of_fewer(sizes: Sizes, batch_size: int, kept: int) -> tuple[float, float]:
    """By how much the cheapest plan with fewer ragged buckets than `kept` exceeds the cheapest plan of all.

    Shares of the pixels: of plans that deal pictures in order of shape, as ours does, to a tenth of a percent
    upwards; and of any plan, at least.
    """
    grid = Bucket(resolution=512).grid()
    buckets = candidates(grid)
    widths, heights = np.array(sizes, np.float64).T
    box_widths, box_heights = fits(widths, heights, buckets)
    costs = 1 - box_widths * box_heights / (widths * heights)[:, None] + area_costs(buckets, grid.area)
    aspects = widths / heights
    alone = float(costs[np.arange(len(sizes)), assign(costs, aspects, 1)].mean())
    any_plans = least_cost(costs, batch_size, kept - 1) - float(costs.min(axis=1).mean())
    for cost in np.arange(0, 1, 0.001):
        if ragged_buckets(assign(costs, aspects, batch_size, alone + cost), batch_size) < kept:
            return float(cost), any_plans
    return np.inf, any_plans


def main() -> None:
    """Print the tables."""
    print(f"Resolution 512, batches of {BATCH}; loss: mean share of a picture's pixels that is cut away.\n")
    kohya, best = (f"{name}: buckets, ragged, loss" for name in ("kohya", "best plan"))
    print(f"| mix | pictures | {kohya} | {best} | ragged at least | less cut |")
    print("|---" * 6 + "|")
    sums = np.zeros(2)
    for name, sizes in mixes().items():
        cells, losses = [], []
        for plan in ("kohya", "best"):
            rows = bucketed(sizes, plan)
            assert len(rows) == len(sizes)
            assert all(row["state"] == "active" for row in rows)
            buckets = len({(row["bucket_width"], row["bucket_height"]) for row in rows})
            losses.append(loss(rows))
            cells.append(f"{buckets}, {ragged(rows)}, {losses[-1]:.2%}")
        sums += losses
        less = 1 - losses[1] / max(1e-9, losses[0])
        print(f"| {name} | {len(sizes)} | {' | '.join(cells)} | {len(sizes) % BATCH != 0:d} | {less:.0%} |")
    print(f"| mean | | {sums[0] / 20:.2%} | {sums[1] / 20:.2%} | | {1 - sums[1] / sums[0]:.0%} |")
    print_batches()
    print_kept_ragged()


if __name__ == "__main__":
    main()
