"""Whether decisions that were known are gone from the journal, and the copy that brings them back.

A run that went on without them would write captions as if nobody had decided anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from dataprep.curate.decisions import JOURNAL, Event, Journal, journal_file, read_journal
from dataprep.curate.journal_text import read_lines
from dataprep.curate.taken import read_taken
from dataprep.errors import InputError
from dataprep.folders import STATE_FOLDER
from dataprep.store import disk_faults, write_bytes

SKIP: Final = "--set curate.lost_decisions=skip"
_NAMED: Final = 3


def loss(out: Path) -> str | None:
    """What of the decisions is gone, None if nothing is that a killed program did not leave so.

    Args:
        out: the prepared folder; may not exist yet.
    Raises:
        InputError: the journal cannot be read at all.
    """
    journal, known, path = read_journal(out), read_taken(out).decisions, journal_file(out)
    if journal.lost:
        more = f" and {len(journal.lost) - _NAMED} more" if len(journal.lost) > _NAMED else ""
        return f"{path}: line {', '.join(map(str, journal.lost[:_NAMED]))}{more} cannot be read"
    if len(journal.events) >= known:
        return None
    if not path.is_file():
        return f"{path} is gone; the last run knew {known} decisions"
    return f"{path} holds {len(journal.events)} decisions; the last run knew {known}"


def check_whole(out: Path) -> None:
    """Refuse to go on without decisions that were known. Raises InputError, which says the ways out."""
    if (found := loss(out)) is not None:
        raise InputError(
            f"{found}. These are the decisions made by hand: without them their captions would be the "
            f"machine's again; nothing was written. `dataprep undo {out}` brings them back from the copy of "
            f"the last run; or mend the file, one JSON object a line; or go on without what is lost: {SKIP}"
        )


def keep(out: Path) -> None:
    """Keep a copy of a journal that is whole. Raises DiskError."""
    path, copy = journal_file(out), _copy(out)
    if loss(out) is not None or not path.is_file():
        return
    data = path.read_bytes()
    old = copy.read_bytes() if copy.is_file() else b""
    if data == old:
        return
    if not data.startswith(old):  # decisions that were given up, or a file laid out anew
        write_bytes(copy.with_suffix(".older"), old)
    write_bytes(copy, data)


def restore(out: Path) -> bool:
    """Bring lost decisions back from the copy, and keep all that came after it; whether any were lost.

    Raises:
        InputError: there is no copy that has them.
        DiskError: the disk is full, read-only or failing.
    """
    found, path = loss(out), journal_file(out)
    if found is None:
        return False
    kept, now = _read(_copy(out)), read_journal(out)
    if len(kept.events) < read_taken(out).decisions:
        raise InputError(f"{found}, and there is no copy that has more; mend the file, or go on: {SKIP}")
    known = [_text(event) for event in kept.events]
    later = [text for text in map(_text, now.events) if text not in set(known)]
    if path.is_file():
        aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
        with disk_faults(aside):
            aside.write_bytes(path.read_bytes())
    write_bytes(path, "".join(f"{text}\n" for text in [*known, *later]).encode("utf-8", "surrogatepass"))
    return True


def _copy(out: Path) -> Path:
    return out / STATE_FOLDER / f"{JOURNAL}.kept"


def _read(path: Path) -> Journal:
    data = path.read_bytes() if path.is_file() else b""
    return Journal(
        tuple(event for _, event in read_lines(data, lambda value: isinstance(value, dict)).values)
    )


def _text(event: Event) -> str:
    return json.dumps(event, ensure_ascii=False)
