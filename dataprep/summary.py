"""What a prepared folder holds, counted from its manifest; closing table, `--json` and report share it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from dataprep.manifest import ACTIVE, DROPPED, QUARANTINED


@dataclass(frozen=True)
class Summary:
    """Counts over a manifest. Every row of role train is in exactly one of kept, dropped, quarantined."""

    files: int  # rows of role train
    kept: int
    dropped: dict[str, int]  # by "stage:code"
    quarantined: dict[str, int]  # by "stage:code"
    quarantined_files: list[tuple[str, str]]  # path, reason
    reg: int  # class images in use
    reg_left_out: int
    buckets: dict[str, int]  # "WxH" -> training pictures, largest first
    tags_kept: int  # different tags in the captions
    tags_by_fate: dict[str, int]  # fate -> tag occurrences
    absorbed: list[tuple[str, int]]  # tag, pictures; most first
    latents: int
    captions: int
    repeats: dict[str, int] = field(default_factory=dict)  # folder -> repeats

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarize(table: pa.Table) -> Summary:
    """Count a manifest, finished or stopped early (missing columns count as empty)."""
    rows = table.to_pylist()
    train = [row for row in rows if row["role"] == "train"]
    reg = [row for row in rows if row["role"] == "reg"]
    kept = [row for row in train if row["state"] == ACTIVE]
    quarantined = [row for row in train if row["state"] == QUARANTINED]
    fates: Counter[str] = Counter()
    absorbed: Counter[str] = Counter()
    different: set[str] = set()
    for row in kept:
        for tag in row.get("tags") or ():
            fates[tag["fate"]] += 1
            if tag["fate"] == "absorbed":
                absorbed[tag["tag"]] += 1
            elif tag["fate"] in ("kept", "added_by_hand"):
                different.add(tag["tag"])
    buckets = Counter(
        f"{row['bucket_width']}x{row['bucket_height']}" for row in kept if row.get("bucket_width") is not None
    )
    in_use = [row for row in rows if row["state"] == ACTIVE]
    return Summary(
        files=len(train),
        kept=len(kept),
        dropped=dict(Counter(_code(row) for row in train if row["state"] == DROPPED)),
        quarantined=dict(Counter(_code(row) for row in quarantined)),
        quarantined_files=[(row["path"], row["reason"]) for row in quarantined],
        reg=sum(row["state"] == ACTIVE for row in reg),
        reg_left_out=sum(row["state"] != ACTIVE for row in reg),
        buckets=dict(buckets.most_common()),
        tags_kept=len(different),
        tags_by_fate=dict(fates.most_common()),
        absorbed=absorbed.most_common(),
        latents=sum(row.get("latents_file") is not None for row in in_use),
        captions=sum(row.get("caption_file") is not None for row in in_use),
        repeats={row["folder"]: row["repeats"] for row in in_use if row.get("folder")},
    )


def _code(row: dict[str, Any]) -> str:
    return ":".join((row["reason"] or "unknown").split(":")[:2])
