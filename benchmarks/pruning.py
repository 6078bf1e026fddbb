"""Pruning where the truth is known, and how long captions take.

The world: characters of the miniature family's drawings, twenty data sets each of 10, 20 and 40 pictures,
tagged by a tagger that misses 5% of what is there and imagines 1% of what is not. The seeds (from 5000 on)
are of no test: no rule was tuned on them. The time: captions of 100,000 pictures with 40 scores each from
3,000 tags, one in ten edited by hand, from scores to text, then merged with the edits of another round.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataprep.curate.captions import tags_of
from dataprep.curate.merge import difference, merged
from dataprep.manifest import SCORE
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.stages.prune import Prune
from dataprep.store import Blobs
from models.miniature.drawing import (
    FRAMINGS,
    VOCABULARY,
    Drawing,
    pick,
    random_drawing,
    random_situation,
    signature_drawing,
    tags,
)

FIRST_SEED, SETS, SIZES = 5000, 20, (10, 20, 40)
MISSED, IMAGINED = 0.05, 0.01  # shares, per picture and tag
NEVER_ABSORBED = frozenset({"1girl", "1boy", "solo"})
ROWS, TAGS_EACH, WORDS = 100_000, 40, 3_000


def seen(truth: Sequence[str], rng: np.random.Generator) -> list[dict[str, object]]:
    """The tagger's scores: a true tag is missed, or another imagined, now and then."""
    true = {tag for tag in truth if rng.random() > MISSED}
    imagined = {tag for tag in VOCABULARY if tag not in truth and rng.random() < IMAGINED}
    return [
        {"tag": tag, "score": float(rng.uniform(0.5, 1)), "category": "general"}
        for tag in sorted(true | imagined)
    ]


def signature_set(rng: np.random.Generator, count: int) -> tuple[list[Drawing], set[str]]:
    """Pictures of the demo's character, and its constant tags."""
    return [signature_drawing(rng) for _ in range(count)], {"pink hair", "long hair", "green eyes"}


def random_set(rng: np.random.Generator, count: int) -> tuple[list[Drawing], set[str]]:
    """Pictures of a random character in random situations, and the tags that are the character's."""
    one = random_drawing(rng)
    drawings = [
        replace(
            random_situation(rng, pick(rng, FRAMINGS)),
            count=one.count,
            hair_colour=one.hair_colour,
            hair_length=one.hair_length,
            hair_style=one.hair_style,
            ahoge=one.ahoge,
            eye_colour=one.eye_colour,
            accessories=one.accessories,
            skin=one.skin,
        )
        for _ in range(count)
    ]
    own = {f"{one.hair_colour} hair", one.hair_length, f"{one.eye_colour} eyes", *one.accessories}
    own |= {one.hair_style} if one.hair_style else set()
    return drawings, own | ({"ahoge"} if one.ahoge and "hat" not in one.accessories else set())


def absorbed(drawings: Sequence[Drawing], rng: np.random.Generator) -> set[str]:
    """The tags that pruning takes out of the captions of these pictures."""
    rows = [
        {
            "id": str(i),
            "path": f"{i}.png",
            "role": "train",
            "state": "active",
            "tag_scores": seen(tags(d), rng),
        }
        for i, d in enumerate(drawings)
    ]
    table = pa.Table.from_pylist(rows, schema=Prune.needs)
    result = pruned(table)["tags"].to_pylist()
    return {tag["tag"] for row in result for tag in row if tag["fate"] == "absorbed"}


def pruned(table: pa.Table) -> pa.Table:
    """The stage at its defaults."""
    nowhere = Path()
    context = Context(nowhere, nowhere, PixelCache(PixelPolicy(), 0), Blobs(nowhere))
    return Prune(trigger="sks", class_word="girl").open(context)(table)


def world_row(name: str, count: int) -> str:
    """Row of the table: over all sets of one size, how many constants were absorbed, and how many others."""
    make = signature_set if name == "signature character" else random_set
    right = constants = wrong = varying = 0
    for seed in range(FIRST_SEED, FIRST_SEED + SETS):
        rng = np.random.default_rng([seed, count])
        drawings, own = make(rng, count)
        taken = absorbed(drawings, rng)
        others = set(VOCABULARY) - own - NEVER_ABSORBED
        right, constants = right + len(taken & own), constants + len(own)
        wrong, varying = wrong + len(taken & others), varying + len(others)
    return (
        f"| {name} | {SETS} x {count} | {right} of {constants} ({right / constants:.1%}) | "
        f"{wrong} of {varying} ({wrong / varying:.2%}) |"
    )


def large_table(rows: int) -> pa.Table:
    """Rows of random scores, every tenth with a tag added by hand and an order of its own."""
    rng = np.random.default_rng(0)
    names = pa.array([f"tag{i} word{i % 200}" for i in range(WORDS)])
    starts = rng.integers(0, WORDS, rows)[:, None]
    picked = (starts + 7 * np.arange(TAGS_EACH)[None, :]) % WORDS  # distinct within a row
    score = pa.array(rng.random(rows * TAGS_EACH, dtype=np.float32))
    category = pa.array(["general"]).take(pa.array(np.zeros(rows * TAGS_EACH, np.int32)))
    structs = pa.StructArray.from_arrays(
        [names.take(pa.array(picked.ravel())), score, category], fields=list(SCORE)
    )
    offsets = pa.array(np.arange(0, rows * TAGS_EACH + 1, TAGS_EACH), pa.int32())
    columns = {field.name: pa.nulls(rows, field.type) for field in Prune.needs}
    by_hand = [["mine"] if i % 10 == 0 else None for i in range(rows)]
    columns |= {
        "id": pc.cast(pa.array(np.arange(rows)), pa.string()),
        "tag_scores": pa.ListArray.from_arrays(offsets, structs),
        "role": pa.array(["train"] * rows),
        "state": pa.array(["active"] * rows),
        "hand_added": pa.array(by_hand, pa.list_(pa.string())),
        "hand_history": pa.array(['[[0, {"added": ["mine"]}]]' if tags else None for tags in by_hand]),
    }
    return pa.table(columns, schema=Prune.needs)


def merge_all(captions: Sequence[str]) -> int:
    """Every caption edited once (last tag away, another in front) and merged. Returns how many changed."""
    changed = 0
    for text in captions:
        base = tags_of(text)
        edit = difference(base, ("by hand", *base[:-1]))
        changed += merged(base, edit.added, edit.removed, edit.order) != base
    return changed


def speed_rows(rows: int) -> list[str]:
    """Rows of the table: processor seconds of pruning and of merging, and the process's peak memory."""
    table = large_table(rows)
    started = time.process_time()
    result = pruned(table)
    prune_s = time.process_time() - started
    captions = result["caption"].to_pylist()
    started = time.process_time()
    changed = merge_all(captions)
    merge_s = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return [
        f"| pruning {rows:,} captions | {prune_s:.1f} s | |",
        f"| merging as many ({changed:,} edits) | {merge_s:.1f} s | |",
        f"| both (aim: 20 s, 2 GB) | {prune_s + merge_s:.1f} s | {peak:.2f} GB |",
    ]


def main() -> None:
    """Print both tables."""
    print("| world | data sets x pictures | constants absorbed (aim: 95%) | varying absorbed (aim: 2%) |")
    print("|---|---|---|---|")
    for name in ("signature character", "random characters"):
        for count in SIZES:
            print(world_row(name, count), flush=True)
    print("\n| what | processor seconds | peak memory |\n|---|---|---|")
    print("\n".join(speed_rows(2000 if "--quick" in sys.argv else ROWS)))


if __name__ == "__main__":
    main()
