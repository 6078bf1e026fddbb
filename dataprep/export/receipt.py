"""The receipt: what `export` wrote into the prepared folder, file by file. It decides what is ours.

A file whose content is no longer what the receipt says was changed by somebody else and is theirs. Rows are
journalled before each file is renamed into place, so that a killed run does not turn its own files into
strangers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.digest import file_sha256
from dataprep.errors import InputError
from dataprep.store import disk_faults, write_table

Entry = dict[str, Any]  # one row of SCHEMA

SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # relative to OUT, POSIX
        ("sha256", pa.string()),  # of the bytes written
        ("kind", pa.string()),  # image | caption | latents | config
        ("id", pa.string()),  # of the manifest row, null for config
        ("image_sha256", pa.string()),  # of the raw picture's bytes, null for config
        ("view", pa.string()),
        ("role", pa.string()),  # train | reg, null for config
        ("caption", pa.string()),  # the text written (without its line end), null for other kinds
        ("key", pa.string()),  # of what made the file: an equal key needs no new rendering
        ("bytes", pa.int64()),  # size and time of the file as written: when both are unchanged on disk,
        ("mtime_ns", pa.int64()),  # its content is taken as unchanged without reading it
        # SHA-256 of what hands had made of a picture when the last run looked at it, null where nothing.
        # Deleted after that, it is a change taken back; a picture as written that is deleted is left out.
        ("retouched", pa.string()),
    ]
)


def receipt_file(out: Path) -> Path:
    """Where the receipt of the prepared folder `out` is."""
    return out / ".dataprep" / "receipt.parquet"


def _journal_file(out: Path) -> Path:
    return out / ".dataprep" / "receipt.journal"


def read_receipt(out: Path) -> pa.Table:
    """What was written last, with columns SCHEMA; empty when nothing was.

    Files that a killed run had already put into place are included.

    Raises:
        InputError: the receipt cannot be read.
    """
    path = receipt_file(out)
    try:
        table = pq.read_table(path) if path.is_file() else SCHEMA.empty_table()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}). Move it away to start anew; every file then in the prepared "
            "folder counts as yours and is left alone"
        ) from error
    for name in set(SCHEMA.names) - set(table.schema.names):  # written by an earlier version
        table = table.append_column(name, pa.nulls(table.num_rows))
    table = table.select(SCHEMA.names).cast(SCHEMA)
    journal = read_pending(out)
    if not journal:
        return table
    entries = {entry["file"]: entry for entry in table.to_pylist()}
    for name, written in journal.items():
        # The newest that is in its place: what was about to replace it may not have come to it.
        entry = next((entry for entry in reversed(written) if _is_on_disk(out, entry)), None)
        entries.update({} if entry is None else {name: entry})
    return to_table(entries.values())


def read_pending(out: Path) -> dict[str, list[Entry]]:
    """Entries by file that killed runs journalled, oldest first, whether or not their files are in place."""
    path = _journal_file(out)
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    entries: dict[str, list[Entry]] = {}
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line that was being written when the run was killed; its file was not yet in place
        entries.setdefault(entry["file"], []).append(entry)
    return entries


def _is_on_disk(out: Path, entry: Mapping[str, Any]) -> bool:
    path = out / entry["file"]
    whole = path.is_file() and path.stat().st_size == entry["bytes"]
    return whole and bool(file_sha256(path) == entry["sha256"])


def retouched(out: Path) -> dict[str, Entry]:
    """Picture files of the receipt that somebody changed since they were written, sorted.

    A file whose size and time are those of the receipt is taken as unchanged; others are read.

    Raises:
        InputError: the receipt cannot be read.
    """
    entries = read_receipt(out).to_pylist()
    return {entry["file"]: entry for entry in entries if entry["kind"] == "image" and is_changed(out, entry)}


def owners(entries: Iterable[Entry], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Picture files -> id of the row that each belongs to now; without those that have none.

    An id comes from the raw file's path. Where that was renamed, the one row of the same bytes is the heir.

    Args:
        entries: of pictures.
        rows: those that have a picture file, with id, sha256, view and role.
    """
    ids = {row["id"] for row in rows}
    same: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in rows:
        same[_content(row.get("sha256"), row)].append(row["id"])
    found = {}
    for entry in entries:
        heirs = same[_content(entry["image_sha256"], entry)] if entry["image_sha256"] else []
        if entry["id"] in ids:
            found[entry["file"]] = entry["id"]
        elif len(heirs) == 1:
            found[entry["file"]] = heirs[0]
    return found


def _content(sha256: str | None, row: Mapping[str, Any]) -> tuple[str, ...]:
    return (sha256 or "", row.get("view") or "", row.get("role") or "")


def is_changed(out: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file of the receipt is there with other content; equal size and time are taken as equal."""
    path = out / entry["file"]
    if not path.is_file():
        return False
    found = path.stat()
    if (found.st_size, found.st_mtime_ns) == (entry["bytes"], entry["mtime_ns"]):
        return False
    return bool(found.st_size != entry["bytes"] or file_sha256(path) != entry["sha256"])


def to_table(entries: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Receipt rows as a table, sorted by file, so that equal receipts are equal files."""
    return pa.Table.from_pylist(sorted(entries, key=lambda entry: str(entry["file"])), schema=SCHEMA)


def journal(out: Path, entry: Mapping[str, Any]) -> None:
    """Note a file that is about to be renamed into place. Raises DiskError."""
    path = _journal_file(out)
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            # The line before may have been torn by a kill: on a line of its own it costs no other entry.
            file.write(b"\n" + json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")


def write_receipt(out: Path, table: pa.Table) -> None:
    """Replace the receipt, whole or not at all, and forget the journal. Raises DiskError."""
    write_table(receipt_file(out), table.select(SCHEMA.names).cast(SCHEMA))
    with disk_faults(out):
        _journal_file(out).unlink(missing_ok=True)
