"""Which folders a run may read and write, checked before any work; and the lock that keeps two runs apart."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.errors import DiskError, InputError
from dataprep.store import disk_faults, sweep

SUFFIX = "-prepared"
STATE_FOLDER = ".dataprep"
CUT_SHORT = (
    "stopped after {}, before captions are made: pictures, captions, latents and the manifest stay as the "
    "longer run before left them; edits by hand are noted. Run without --until, or until tag, to write them"
)
_CAPTIONING = "prune"  # the stage that makes captions


def default_out(raw: Path) -> Path:
    """Where `run` writes unless told otherwise: RAW with `-prepared` appended."""
    raw = raw.resolve()
    return raw.with_name(raw.name + SUFFIX)


def is_cut_short(out: Path, stages: Collection[str]) -> bool:
    """Whether a run of these stages makes no captions, and the one that wrote the folder did.

    Such a run writes nothing but what it found: a folder of few stages would have no captions and latents.
    """
    try:
        about = (pq.read_schema(out / "manifest.parquet").metadata or {}).get(b"dataprep", b"{}")
        before = json.loads(about).get("stage_keys", {})
    except (pa.ArrowInvalid, OSError, ValueError):
        return False  # none yet; a damaged one is written anew
    return _CAPTIONING in before and _CAPTIONING not in stages


def check_folders(raw: Path, out: Path, reg: Path | None) -> None:
    """Refuse folders that would lose or mix data.

    Raises:
        InputError: RAW is missing, not a folder, empty, or nested with OUT; OUT holds somebody else's files.
    """
    if not raw.exists():
        raise InputError(f"{raw}: there is no such folder; give the folder that holds the raw pictures")
    if not raw.is_dir():
        raise InputError(f"{raw}: not a folder; give the folder that holds the raw pictures")
    try:
        empty = next(raw.iterdir(), None) is None
    except PermissionError as error:
        raise InputError(f"{raw}: cannot be listed: {error.strerror}; mend its permissions") from error
    if empty:
        raise InputError(f"{raw}: the folder is empty; put the raw pictures into it")
    for name, folder in (("RAW", raw), ("the class folder", reg)):
        if folder is not None and _nested(folder, out):
            raise InputError(
                f"{name} {folder} and OUT {out} lie inside each other; raw files are never written, so "
                f"choose an --out beside it, such as {default_out(raw)}"
            )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: not a folder; choose another --out")
    if out.is_dir() and not (out / STATE_FOLDER).is_dir() and any(out.iterdir()):
        raise InputError(
            f"{out}: holds files that this program did not write; choose an empty or new folder with --out"
        )


def check_prepared(directory: Path) -> Path:
    """The manifest of a prepared folder. Raises InputError if there is none."""
    manifest = directory / "manifest.parquet"
    if not manifest.is_file():
        raise InputError(
            f"{directory}: no manifest.parquet here; give a folder that `dataprep run` prepared "
            "(RAW with -prepared appended, unless --out said otherwise)"
        )
    return manifest


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold OUT for one run, and take away the unfinished files of runs that were killed.

    Raises:
        InputError: another run holds it, or no folder can have this name.
        DiskError: OUT cannot be created or written.
    """
    from filelock import FileLock, Timeout

    state = out / STATE_FOLDER
    try:
        with disk_faults(out):
            state.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file in the way, a name this system does not take
        raise InputError(f"{out}: cannot be made: {error.strerror}; choose another --out") from error
    with disk_faults(out):
        if not os.access(state, os.W_OK):
            raise DiskError(f"{out}: cannot be written; mend its permissions or choose another --out")
    lock = FileLock(state / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"{out}: another dataprep is working in this folder; wait for it to end") from error
    try:
        sweep(out)
        yield
    finally:
        lock.release()


def _nested(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one == other or one in other.parents or other in one.parents
