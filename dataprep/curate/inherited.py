"""What a kept copy has from the copies that it stands for, as the last run wrote it.

An edit of such a copy's caption starts from what it inherited. That is journalled with the edit, and so is
whose it was: from then on the kept copy's decisions are the newer ones, and nothing is handed over again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataprep.curate.captions import tag_key
from dataprep.curate.decisions import Hand, Image

_HAND: Final = ["hand_box", "hand_added", "hand_removed", "hand_order", "hand_caption"]
_COLUMNS: Final = ["id", "sha256", "view", "duplicate_of", *_HAND]


@dataclass(frozen=True)
class Inherited:
    """The decisions that stood on a kept copy, its own included, and the contents of its copies."""

    hand: Hand
    copies: frozenset[str]  # sha256

    def lacking(self, own: Hand) -> dict[str, Any]:
        """What a decision on this copy says beside itself; empty if it was said once, or nothing was had.

        Args:
            own: the decisions on this copy itself, as the journal has them.
        """
        if self.copies <= own.copies:
            return {}
        return {"inherited": own.lacks(self.hand), "copies": sorted(self.copies)}


def inherited(out: Path) -> dict[Image, Inherited]:
    """Of each picture that others were dropped as copies of: what the last run wrote its caption with.

    Args:
        out: the prepared folder; may not exist yet.
    """
    manifest = out / "manifest.parquet"
    try:
        if not set(_COLUMNS) <= set(pq.read_schema(manifest).names):
            return {}
        table = pq.read_table(manifest, columns=_COLUMNS)
    except (pa.ArrowInvalid, OSError):
        return {}  # none yet; a damaged one is reported by those who need it
    dropped = table.filter(pc.is_valid(table["duplicate_of"])).select(["sha256", "duplicate_of"]).to_pylist()
    copies: dict[str, set[str]] = {}
    for row in dropped:
        copies.setdefault(row["duplicate_of"], set()).add(row["sha256"])
    kept = table.filter(pc.is_in(table["id"], pa.array([*copies], pa.string()))).to_pylist()
    return {
        (row["sha256"], row["view"] or ""): Inherited(_hand(row), frozenset(copies[row["id"]]))
        for row in kept
        if row["sha256"]
    }


def _hand(row: dict[str, Any]) -> Hand:
    order = row["hand_order"]
    return Hand(
        box=row["hand_box"],
        added={tag_key(tag): tag for tag in row["hand_added"] or ()},
        removed={tag_key(tag): tag for tag in row["hand_removed"] or ()},
        order=None if order is None else tuple(order),
        caption=row["hand_caption"],
    )
