"""How many class images a training uses, and of which buckets: the proportions of the training set.

Pure functions; what draws or places the images asks here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprep.export.kohya_rules import reg_uses
from dataprep.framing.buckets import Size
from dataprep.manifest import ACTIVE

Row = Mapping[str, Any]
SURPLUS = "reg:surplus"  # reason of class images that are not used


def shares(weights: Mapping[Size, int], total: int) -> dict[Size, int]:
    """Divide a number of images among buckets in proportion, by largest remainder.

    Args:
        weights: bucket -> training pictures (times repeats) in it.
        total: images to divide.
    """
    whole = sum(weights.values())
    if whole == 0:
        return dict.fromkeys(weights, 0)
    exact = {size: total * weight / whole for size, weight in weights.items()}
    given = {size: int(share) for size, share in exact.items()}
    most_cut = sorted(exact, key=lambda size: (given[size] - exact[size], size))
    for size in most_cut[: total - sum(given.values())]:
        given[size] += 1
    return given


def in_proportion(aspects: NDArray[np.float64], weights: Mapping[Size, int]) -> list[Size]:
    """A bucket for each class image, so that all buckets are filled in the training set's proportion.

    Both are taken in order of shape: of all ways to fill the buckets so, this changes shapes least.

    Args:
        aspects: width / height of the images, shape (N,).
        weights: bucket -> training pictures in it.
    """
    quotas = shares(weights, len(aspects))
    by_shape = sorted(quotas, key=lambda size: (size[0] / size[1], size))
    places = [size for size in by_shape for _ in range(quotas[size])]
    chosen = dict(zip(np.argsort(aspects, kind="stable").tolist(), places, strict=True))
    return [chosen[i] for i in range(len(aspects))]


def surplus(buckets: Sequence[Size], costs: Sequence[float], weights: Mapping[Size, int]) -> set[int]:
    """Which class images a trainer would never come to: all above one for each training sample.

    Args:
        buckets: of the class images.
        costs: what speaks against each image; in every bucket the cheapest stay.
        weights: bucket -> training pictures times repeats.
    Returns:
        Positions in `buckets`.
    """
    samples = sum(weights.values())
    if len(buckets) <= samples:
        return set()
    order = sorted(range(len(buckets)), key=lambda i: (costs[i], i))
    room = Counter(weights)
    stay = [i for i in order if _takes(room, buckets[i])]
    rest = [i for i in order if i not in set(stay)]
    return set(rest[samples - len(stay) :])


def _takes(room: Counter[Size], size: Size) -> bool:
    room[size] -= 1
    return room[size] >= 0


def bucket_of(row: Row) -> Size:
    """A row's bucket, px."""
    return row["bucket_width"], row["bucket_height"]


def samples_by_bucket(rows: Sequence[Row]) -> Counter[Size]:
    """Bucket -> pictures times repeats."""
    counts: Counter[Size] = Counter()
    for row in rows:
        counts[bucket_of(row)] += row["repeats"]
    return counts


def reg_plan(table: pa.Table) -> str:
    """How a trainer will use the class images, in words and numbers, over all and by bucket.

    Args:
        table: a manifest with columns role, state, repeats, bucket_width and bucket_height; the order is
            that of the files in image_file where it is there.
    """
    rows = table.to_pylist()
    spare = sum((row.get("reason") or "").startswith(SURPLUS) for row in rows)
    rows = [row for row in rows if row["state"] == ACTIVE and row["repeats"] is not None]
    train = [row for row in rows if row["role"] == "train"]
    reg = sorted((row for row in rows if row["role"] == "reg"), key=_read_order)
    wanted = samples_by_bucket(train)
    samples = sum(wanted.values())
    head = f"{len(train)} training pictures x repeats = {samples} an epoch{_goal(table, train)}"
    if not reg:
        lines = [
            f"{head}; no class images, so nothing holds the class word in place: give a folder with --reg, "
            f"or have them drawn with --reg generate. {samples} are enough for one showing each an epoch:"
        ]
        return "\n".join([*lines, *(f"  {_by(size)}: {count}" for size, count in wanted.most_common())])
    uses = reg_uses(samples, [row["repeats"] for row in reg])
    shown: Counter[Size] = Counter()
    for row, use in zip(reg, uses, strict=True):
        shown[bucket_of(row)] += use
    images = Counter(map(bucket_of, reg))
    more = f"; {spare} more are left out, since no epoch would come to them" if spare else ""
    lines = [f"{head}; {_usage(uses)}{more}"]
    for size in sorted({*wanted, *shown}, key=lambda size: (-wanted[size], size)):
        line = f"  {_by(size)}: {wanted[size]} training, {shown[size]} class (of {images[size]} images)"
        lines.append(line + _imbalance(wanted[size], shown[size]))
    return "\n".join(lines)


def _read_order(row: Row) -> tuple[str, str]:
    """By folder, then by file, as sd-scripts counts class images; rows without a file stay as they are."""
    folder, _, name = (row.get("image_file") or "").rpartition("/")
    return folder, name


def _goal(table: pa.Table, train: Sequence[Row]) -> str:
    """How many repeats and what they were chosen for, as the manifest's metadata tells."""
    told = json.loads((table.schema.metadata or {}).get(b"dataprep", b"{}"))
    reg = told.get("settings", {}).get("reg")
    if not reg or not train:
        return ""
    if reg["repeats"] is not None:
        why = "as reg.repeats says"
    elif reg.get("goal") == "balance":
        why = "to balance the class images (reg.goal)"
    else:
        why = f"since reg.target_samples_per_epoch is {reg['target_samples_per_epoch']}"
    return f" ({train[0]['repeats']} repeats, {why})"


def _usage(uses: Sequence[int]) -> str:
    if 0 in uses:
        used = sum(use > 0 for use in uses)
        return f"{len(uses)} class images are more than that: only the first {used} are used"
    low, high = min(uses), max(uses)
    often = f"{low}" if low == high else f"{low} to {high}"
    return f"{len(uses)} class images are each shown {often} times: together {sum(uses)} too"


def _imbalance(training: int, shown: int) -> str:
    if shown == 0:
        return "  <- no class image has this shape"
    if not 0.5 <= shown / max(1, training) <= 2:
        return f"  <- {shown / max(1, training):.1f} times the training pictures' weight"
    return ""


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
