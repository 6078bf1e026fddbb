"""Which rows count for what, and how often each tag is seen in them: once a picture, one subject each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprep.curate.captions import tag_key, tags_of
from dataprep.manifest import ACTIVE
from dataprep.tags.absorb import Count
from dataprep.tags.assemble import Hand
from dataprep.tags.columns import Entries
from dataprep.tags.kinds import HIDDEN_BY, kind_of, people


@dataclass(frozen=True)
class Rows:
    """Which rows are what, shape (rows,) each."""

    train: NDArray[np.bool_]  # active training pictures
    reg: NDArray[np.bool_]  # active class images
    single: NDArray[np.bool_]  # active training pictures with one subject, as far as the tags say
    counted: NDArray[np.bool_]  # of these one view a picture: its head, cut out too, proves nothing more


def rows_of(
    table: pa.Table, found: Entries, above: NDArray[np.bool_], touched: Mapping[int, Hand] | None = None
) -> Rows:
    """Which rows of a table are what.

    Args:
        table: with state, role and region.
        found: its scores.
        above: which entries count, shape (entries,).
        touched: what people decided, by row; how many people there are, they say before the tagger does.
    """
    active = pc.equal(table["state"], ACTIVE).to_numpy()
    reg = pc.equal(table["role"], "reg").to_numpy() & active
    train = active & ~reg
    keys = [tag_key(tag) for tag in found.tags]
    counting = np.array([kind_of(tag) == "people" for tag in found.tags], dtype=bool)
    picked = above & counting[found.tag] if len(keys) else above
    told: dict[int, set[str]] = defaultdict(set)
    for row, tag in zip(found.row[picked].tolist(), found.tag[picked].tolist(), strict=True):
        told[row].add(keys[tag])
    single = train.copy()
    for row in told.keys() | (touched or {}).keys():
        single[row] &= _people(told.get(row, set()), (touched or {}).get(row, Hand())) < 2
    return Rows(train, reg, single, single & _one_a_picture(table["region"], train))


def _people(told: set[str], hand: Hand) -> int:
    """How many people a picture shows, 0 where nobody says."""

    def count(tags: Iterable[str]) -> int | None:
        return people(frozenset(map(tag_key, tags)))

    if hand.caption is not None and (said := count(tags_of(hand.caption))) is not None:
        return said
    beside = count(hand.raw) is not None  # then the tagger's own count is not in the caption
    left = hand.raw if beside else told
    return count({*map(tag_key, left)} - {*map(tag_key, hand.removed)} | {*map(tag_key, hand.added)}) or 0


def _one_a_picture(region: pa.ChunkedArray, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first active row of each picture; views that were cut out stand behind the whole. Shape (rows,)."""
    picture = np.cumsum(~region.is_valid().to_numpy())
    first = np.zeros(len(active), dtype=bool)
    rows = np.flatnonzero(active)
    first[rows[np.unique(picture[rows], return_index=True)[1]]] = True
    return first


def counts_of(
    found: Entries, above: NDArray[np.bool_], rows: Rows, base_rates: Mapping[str, float]
) -> list[Count]:
    """How often each distinct tag is seen in single-subject pictures and in class images that can show it."""
    size = len(found.tags)
    kinds = [kind_of(tag, category) for tag, category in zip(found.tags, found.categories, strict=True)]
    tables = {}
    for kind in {kind if kind in HIDDEN_BY else "other" for kind in kinds}:
        hiding = np.array([tag_key(tag) in HIDDEN_BY.get(kind, ()) for tag in found.tags], dtype=bool)
        visible = np.ones(found.rows, dtype=bool)
        visible[found.row[above & hiding[found.tag]]] = False
        single, reg = rows.counted & visible, rows.reg & visible
        tables[kind] = (
            np.bincount(found.tag[above & single[found.row]], minlength=size),
            int(single.sum()),
            np.bincount(found.tag[above & reg[found.row]], minlength=size),
            int(reg.sum()),
        )
    counts = []
    for i, kind in enumerate(kinds):
        hits, total, contrast, contrast_total = tables[kind if kind in tables else "other"]
        # Two labels of one model can have one final spelling, which would count a picture twice.
        seen, seen_in_class = min(int(hits[i]), total), min(int(contrast[i]), contrast_total)
        base = base_rates.get(found.tags[i])
        counts.append(Count(seen, total, int(rows.counted.sum()), seen_in_class, contrast_total, base))
    return counts
