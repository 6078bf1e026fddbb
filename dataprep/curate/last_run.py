"""What the last run knew, from its manifest and request, and which raw files have other bytes by now."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.curate.captions import Lead
from dataprep.curate.decisions import Hand, Image
from dataprep.curate.raw_captions import raw_hands
from dataprep.digest import file_sha256
from dataprep.errors import InputError
from dataprep.folders import STATE_FOLDER
from dataprep.manifest import ACTIVE
from dataprep.pictures.formats import IMAGE_SUFFIXES


@dataclass(frozen=True)
class LastRun:
    """What the last run was given.

    Attributes:
        lead: what its training captions start with.
        start: what came with the raw pictures.
        encoding: of captions that are not UTF-8; None: told by their bytes.
        rewritten: path, old sha256 and new sha256 of raw files whose bytes changed since.
    """

    lead: Lead
    start: Mapping[Image, Hand] = field(default_factory=dict)
    encoding: str | None = None
    rewritten: tuple[tuple[str, str, str], ...] = ()


def last_run(manifest: Path) -> LastRun:
    """What the last run knew.

    Raises:
        InputError: the manifest cannot be read.
    """
    try:
        table = pq.read_table(manifest)
        about = json.loads((table.schema.metadata or {}).get(b"dataprep", b"{}"))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise InputError(
            f"{manifest}: damaged or not a dataprep manifest; run `dataprep run` again"
        ) from error
    names = ["sha256", "view", "raw_caption"]
    rows = table.select(names).to_pylist() if set(names) <= set(table.schema.names) else []
    curate = about.get("settings", {}).get("curate", {})
    start = raw_hands(rows, curate.get("captions", "merge"))
    lead = Lead(about.get("trigger"), about.get("class_word"))
    return LastRun(lead, start, curate.get("caption_encoding"), tuple(_rewritten(manifest, table)))


def raw_changes(out: Path) -> list[str]:
    """Raw training pictures in use that have other bytes than in the last run, or are gone, by path.

    What is not reachable now, a whole folder on a drive that is not there, is not called gone.

    Raises:
        InputError: the manifest cannot be read.
    """
    manifest, raw = out / "manifest.parquet", _raw_folder(out)
    if raw is None or not raw.is_dir():
        return []
    rows = pq.read_table(manifest, columns=["path", "role", "state"]).to_pylist()
    used = {str(row["path"]) for row in rows if row["role"] == "train" and row["state"] == ACTIVE}
    changed = {path for path, *_ in last_run(manifest).rewritten}
    return sorted(path for path in used if path in changed or not (raw / path).exists())


def _rewritten(manifest: Path, table: pa.Table) -> Iterator[tuple[str, str, str]]:
    """Training pictures whose raw file was written after the manifest, and holds what no raw file held."""
    raw = _raw_folder(manifest.parent)
    wanted = ["path", "role", "sha256", "bytes"]
    if raw is None or not set(wanted) <= set(table.schema.names):
        return
    rows = [row for row in table.select(wanted).to_pylist() if row["role"] == "train" and row["sha256"]]
    known = {row["sha256"] for row in rows}
    written = manifest.stat().st_mtime_ns
    paths = {row["path"] for row in rows}
    files = {_place_now(raw, row["path"], paths): row for row in rows}
    contents = {path: (row["sha256"], _new_content(raw / path, row, written)) for path, row in files.items()}
    changed = {path: (old, now) for path, (old, now) in contents.items() if now and now not in known}
    moved = {now for _, now in contents.values()} if changed else set()
    moved |= _contents_elsewhere(raw, rows, {old for old, _ in changed.values()}) if changed else set()
    yield from ((path, old, now) for path, (old, now) in changed.items() if old not in moved)


def _place_now(raw: Path, path: str, known: Collection[str]) -> str:
    """Where a raw file is now: its own path, or that of a new file with another ending in its place."""
    if (raw / path).exists():
        return path
    folder = (raw / path).parent
    beside = sorted(folder.iterdir()) if folder.is_dir() else []
    stem, endings = PurePosixPath(path).stem.casefold(), IMAGE_SUFFIXES
    others = [file for file in beside if file.stem.casefold() == stem and file.suffix.lower() in endings]
    new = [name for file in others if (name := file.relative_to(raw).as_posix()) not in known]
    return new[0] if len(new) == 1 else path


def _raw_folder(out: Path) -> Path | None:
    try:
        return Path(json.loads((out / STATE_FOLDER / "run.json").read_text(encoding="utf-8"))["raw"])
    except (OSError, ValueError, KeyError):
        return None


def _new_content(path: Path, row: Mapping[str, Any], written: int) -> str | None:
    """The file's sha256 where it is another than the manifest's; only what may have changed is read."""
    try:
        stat = path.stat()
        untouched = stat.st_size == row["bytes"] and stat.st_mtime_ns <= written
        now = None if untouched else file_sha256(path)
    except OSError:
        return None  # gone, or out of reach: the next run says so
    return now if now != row["sha256"] else None


def _contents_elsewhere(raw: Path, rows: list[dict[str, Any]], wanted: set[str]) -> set[str]:
    """Which of the old contents a file still has that the manifest does not know: it was renamed."""
    sizes = {row["bytes"] for row in rows if row["sha256"] in wanted}
    paths = {row["path"] for row in rows}
    others = (
        path for path in raw.rglob("*") if path.is_file() and path.relative_to(raw).as_posix() not in paths
    )
    twins = {row["sha256"] for row in rows if row["sha256"] in wanted and _count(rows, row["sha256"]) > 1}
    return twins | {file_sha256(path) for path in others if path.stat().st_size in sizes} & wanted


def _count(rows: list[dict[str, Any]], sha256: str) -> int:
    return len({row["path"] for row in rows if row["sha256"] == sha256})
