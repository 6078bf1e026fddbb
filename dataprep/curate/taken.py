"""What the last run took over from people: which bytes `export` may replace, and whether that run ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dataprep.folders import STATE_FOLDER
from dataprep.store import write_bytes


@dataclass(frozen=True)
class Taken:
    """What the last run took over from people."""

    decisions: int = 0  # lines of the journal
    files: Mapping[str, str] = field(default_factory=dict)  # file -> sha256 of its edited content
    running: bool = False  # noted while a run was going on, which ends with the manifest
    leads: Sequence[tuple[str | None, str | None]] = ()  # trigger and class word of this run and all before


def _taken_file(out: Path) -> Path:
    return out / STATE_FOLDER / "taken.json"


def note_taken(out: Path, taken: Taken) -> None:
    """Note which bytes are in the journal, so that `export` may replace exactly those. Raises DiskError."""
    write_bytes(_taken_file(out), json.dumps(asdict(taken), ensure_ascii=False, indent=0).encode())


def read_taken(out: Path) -> Taken:
    """What the last run took over.

    A file whose content has another sha256 was edited after that: nobody may replace it before the next run.
    """
    try:
        about = json.loads(_taken_file(out).read_bytes())
        leads = tuple((trigger, class_word) for trigger, class_word in about.pop("leads", ()))
        return Taken(**about, leads=leads)
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return Taken()


def is_unfinished(out: Path) -> bool:
    """Whether the last run was killed: what is missing then may have been removed by it, not by people."""
    if not read_taken(out).running:
        return False
    manifest = out / "manifest.parquet"
    return not manifest.is_file() or manifest.stat().st_mtime_ns < _taken_file(out).stat().st_mtime_ns
