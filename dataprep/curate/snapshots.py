"""What each run left behind, captions and decisions, and the way back to it.

A snapshot is taken when the next run or `undo` begins: until then the receipt is the snapshot. Undo takes
nothing out of the journal of decisions; it adds a line, and first keeps what was edited since the last run as
a snapshot of its own, so that undo can be undone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataprep.curate.captions import decode
from dataprep.curate.decisions import ANY, JOURNAL, Event, append, read_journal
from dataprep.curate.edits import Found, Plan, contents, plan
from dataprep.curate.heirs import gone_pictures, held_by_none
from dataprep.curate.inherited import no_place_text, without_place
from dataprep.curate.journal_guard import keep, restore
from dataprep.curate.last_run import LastRun, last_run
from dataprep.curate.places import caption_beside
from dataprep.curate.taken import is_unfinished, note_taken, read_taken
from dataprep.errors import InputError
from dataprep.export.receipt import journal, read_receipt, receipt_file, to_table, write_receipt
from dataprep.folders import STATE_FOLDER, check_prepared, locked
from dataprep.store import disk_faults, write_bytes, write_table

KEPT = 50  # snapshots; about 40 bytes a caption each

_TOLD = 12  # changed tags of a file that are named
_COLUMNS = ["image_sha256", "view", "role", "caption"]
_ABOUT = b"snapshot"
Key = tuple[str, str, str]  # image_sha256, view, role


@dataclass(frozen=True)
class Snapshot:
    """What one run left."""

    run: str  # its number, such as "0003"
    time: str  # when it ended, UTC, ISO 8601
    decisions: int  # how many lines of the journal it knew
    captions: Mapping[Key, str]


def snapshots(out: Path) -> list[Snapshot]:
    """All snapshots, oldest first. Raises InputError if one is damaged."""
    return [_read(path) for path in _files(out)]


def _files(out: Path) -> list[Path]:
    return sorted(_folder(out).glob("*.parquet"))


def _folder(out: Path) -> Path:
    return out / STATE_FOLDER / "snapshots"


def _read(path: Path) -> Snapshot:
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
    except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged; delete it, the other runs' snapshots do not need it") from error
    return Snapshot(path.stem, about["time"], about["decisions"], _captions(table))


def _captions(table: pa.Table) -> dict[Key, str]:
    cells = table.select(_COLUMNS).to_pydict()
    return {
        (image, view or "", role): caption or ""
        for image, view, role, caption in zip(*(cells[name] for name in _COLUMNS), strict=True)
        if image is not None
    }


def _captions_written(out: Path) -> pa.Table:
    receipt = read_receipt(out)
    return receipt.filter(pc.equal(receipt["kind"], "caption")).select(["file", *_COLUMNS])


def record(out: Path) -> Snapshot | None:
    """Keep what the last run left, unless the newest snapshot is that. None: nothing was ever written.

    Raises:
        DiskError: the disk is full, read-only or failing.
    """
    if not receipt_file(out).is_file():
        return None
    time = datetime.fromtimestamp(receipt_file(out).stat().st_mtime, UTC)
    return _kept(out, _captions_written(out).select(_COLUMNS), read_taken(out).decisions, time)


def _kept(out: Path, captions: pa.Table, decisions: int, time: datetime, spare: str = "") -> Snapshot:
    """A snapshot of these captions: the newest if it is that, else another; the oldest goes, not `spare`."""
    old = _files(out)
    newest = _read(old[-1]) if old else None
    if newest and (newest.decisions, dict(newest.captions)) == (decisions, _captions(captions)):
        return newest
    run = f"{int(newest.run) + 1 if newest else 1:04d}"
    about = json.dumps({"time": time.isoformat(timespec="seconds"), "decisions": decisions}).encode()
    write_table(_folder(out) / f"{run}.parquet", captions.replace_schema_metadata({_ABOUT: about}))
    for path in old[: max(0, len(old) + 1 - KEPT)]:
        if path.stem != spare:
            path.unlink(missing_ok=True)
    return _read(_folder(out) / f"{run}.parquet")


def _record_edited(out: Path, found: Iterable[Found], encoding: str | None, spare: str) -> Snapshot:
    """Keep what stands in the folder now, edits that no run has seen included; they are in the journal."""
    found = list(found)
    changed = {item.file: item for item in found}
    gone = {caption_beside(item.file) for item in found if item.kind == "picture-deleted"}
    table = _captions_written(out)
    files, written = table["file"].to_pylist(), table["caption"].to_pylist()
    pairs = zip(files, written, strict=True)
    now = [_text_now(out, changed.get(file), text or "", encoding) for file, text in pairs]
    table = table.set_column(table.schema.get_field_index("caption"), "caption", pa.array(now, pa.string()))
    table = table.filter(pa.array([file not in gone for file in files], pa.bool_()))
    return _kept(out, table.select(_COLUMNS), len(read_journal(out).events), datetime.now(UTC), spare)


def _text_now(out: Path, item: Found | None, written: str, encoding: str | None) -> str:
    """What a caption file says, where it is not as it was written."""
    if item is None or item.kind in ("lost", "unreadable"):
        return written
    if item.event is not None and "new" in item.event:
        return str(item.event["new"])
    path = out / (item.at or item.file)
    if item.sha256 is None or not path.is_file():
        return "" if item.kind == "deleted" else written
    return decode(path.read_bytes(), encoding).text


def edited_files(out: Path) -> list[Found]:
    """Files of a prepared folder that people changed since the last run, spelling aside; for `status`.

    Raises:
        InputError: not a prepared folder, or its receipt cannot be read.
    """
    return [found for found in _planned(out).found if found.kind != "spelling"]


def _planned(out: Path) -> Plan:
    """What the next run would take over from people, looking at the raw files as they are now."""
    return _planned_from(out, last_run(check_prepared(out)))


def _planned_from(out: Path, last: LastRun) -> Plan:
    # No picture is opened for its size: the next run adds how much larger it is.
    rewritten: list[tuple[str, str, str, Event]] = [(*item, {}) for item in last.rewritten]
    return plan(out, last.lead, last.start, rewritten, last.encoding)


def edits_text(out: Path) -> list[str]:
    """What people changed since the last run, a line a file; nothing before a run has ended.

    Raises:
        InputError: the manifest, the receipt or the journal cannot be read.
    """
    if not (out / "manifest.parquet").is_file():
        return []
    planned = _planned(out)
    lines = [f"{found.file}: {_what(found)}" for found in planned.found if found.kind != "spelling"]
    lines += [
        f"{event['file']}: the raw file has new bytes since the last run; what was decided by hand goes over"
        for event in planned.followed
    ]
    gone = [str(row["path"]) for row in gone_pictures(out)]
    views = without_place(out)
    lines += [no_place_text(views)] if views else []
    return [*lines, held_by_none(gone)] if gone else lines


def _what(found: Found) -> str:
    if found.kind == "unreadable":
        return found.note or found.kind
    event = found.event or {}
    told = [
        f"{sign}{tag}"
        for name, sign in (("added", "+"), ("removed", "-"))
        for tag in event.get(name, ())
        if tag != ANY and tag not in event.get("silent", ())
    ]
    told += ["the machine's tags come back"] if ANY in event.get("added", ()) else []
    told += ["order"] if "order" in event and not told else []
    if event.get("caption") is not None:
        told.append("the whole caption stays as it is from now on")
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return f"{found.kind}{': ' if told else ''}{', '.join(told[:_TOLD])}{more}"


def undo(out: Path, to: str | None = None) -> str:
    """Bring captions and decisions back to what an earlier run left; what was edited since is kept.

    Args:
        out: the prepared folder.
        to: the run's number; None: the last run if anything was changed by hand since, else the one before.
    Returns:
        What was done, and what to do next, for people.
    Raises:
        InputError: not a prepared folder, another program works in it, or there is no such run.
        DiskError: the disk is full, read-only or failing; the next `undo` or run finishes the work.
    """
    check_prepared(out)
    with locked(out):
        restored = restore(out)
        finish_undo(out)
        now = record(out)
        last = last_run(check_prepared(out))
        planned = _planned_from(out, last)
        taken = read_taken(out).decisions
        changed = restored or bool(planned.events) or len(read_journal(out).events) > taken
        target = _target(snapshots(out), now, to, changed=changed)
        append(out, planned.events)  # what is about to be taken back is in the journal
        lines = len(read_journal(out).events)
        is_pending = lines > taken or any(found.event or found.sha256 for found in planned.found)
        if is_pending:
            now = _record_edited(out, planned.found, last.encoding, target.run)
        deleted = [found.file for found in planned.found if found.kind == "picture-deleted"]
        work = {"to": target.run, "lines": lines, "found": contents(planned.found), "deleted": deleted}
        write_bytes(_work_file(out), json.dumps(work, ensure_ascii=False).encode())
        count = finish_undo(out)
        keep(out)
    told = f"{JOURNAL} was damaged or gone, and is what the last run knew. " if restored else ""
    run = now.run if now else target.run
    if is_pending:
        told += f"What was edited since the last run is taken back too, and kept as {run}. "
    return (
        f"{told}{count} captions and all decisions are what run {target.run} ({target.time}) left. The next "
        f"`dataprep run` brings pictures back that were dropped since, and applies settings changed since; "
        f"`dataprep undo --to {run}` takes this back"
    )


def _work_file(out: Path) -> Path:
    return out / STATE_FOLDER / "undo.json"


def _target(known: list[Snapshot], now: Snapshot | None, to: str | None, *, changed: bool) -> Snapshot:
    if to is not None:
        wanted = [snapshot for snapshot in known if snapshot.run.lstrip("0") == to.lstrip("0")]
        if not wanted:
            runs = ", ".join(f"{snapshot.run} ({snapshot.time})" for snapshot in known) or "none"
            raise InputError(f"undo --to {to}: there is no snapshot of this run; there are: {runs}")
        return wanted[0]
    if changed and now is not None:
        return now
    earlier = [snapshot for snapshot in known if now is None or snapshot.run < now.run]
    if not earlier:
        raise InputError("undo: there is no earlier run, and nothing was changed by hand since the last one")
    return earlier[-1]


def finish_undo(out: Path) -> int:
    """Do what an `undo` has yet to do; also after it was killed. Returns the number of captions written.

    Raises:
        InputError: its snapshot is gone or damaged.
        DiskError: the disk is full, read-only or failing.
    """
    try:
        work: dict[str, Any] = json.loads(_work_file(out).read_bytes())
    except FileNotFoundError:
        return 0
    target = _read(_folder(out) / f"{work['to']}.parquet")
    if not any("undo" in event for event in read_journal(out).events[work["lines"] :]):
        time = datetime.now(UTC).isoformat(timespec="seconds")
        append(out, [{"time": time, "who": "command", "undo": target.decisions, "to": target.run}])
    count = _restore(out, target, work["found"], work.get("deleted", ()))
    files = {**read_taken(out).files, **work["found"]}
    noted = replace(read_taken(out), decisions=len(read_journal(out).events), files=files)
    note_taken(out, replace(noted, running=is_unfinished(out)))
    with disk_faults(out):
        _work_file(out).unlink()
    return count


def _restore(out: Path, target: Snapshot, found: Mapping[str, str], deleted: Collection[str]) -> int:
    """Write the snapshot's captions, but over nothing that was edited after the undo began."""
    count = 0
    # A picture that is not there shall not look as if it were deleted once more: the next run writes it.
    gone = {file for file in deleted if not (out / file).exists()}
    entries = [entry for entry in read_receipt(out).to_pylist() if entry["file"] not in gone]
    for entry in entries:
        text = target.captions.get((entry["image_sha256"], entry["view"] or "", entry["role"]))
        if entry["kind"] != "caption" or text is None:
            continue
        path, data = out / entry["file"], (text + "\n").encode("utf-8", "replace")
        here = sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        wanted = sha256(data).hexdigest()
        if here not in (None, wanted, entry["sha256"], found.get(entry["file"])):
            continue
        # No key: `export` looks at the text again. No time before the file is in its place.
        entry |= {"caption": text, "key": "", "sha256": wanted, "bytes": len(data), "mtime_ns": 0}
        if here != wanted:
            journal(out, entry)
            write_bytes(path, data)
            count += 1
        entry["mtime_ns"] = path.stat().st_mtime_ns
    write_receipt(out, to_table(entries))
    return count
