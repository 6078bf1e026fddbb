"""Bring files of the prepared folder in line with what is wanted, touching only what is ours and differs.

The receipt tells ours from theirs. A file that somebody changed or put there is kept and reported; latents
are the exception, since they are a cache that a trainer believes without looking.
"""

from __future__ import annotations

import hashlib
import re
import threading
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

from dataprep.curate.captions import decode
from dataprep.digest import file_sha256
from dataprep.errors import InputError, RowError
from dataprep.export.receipt import Entry, journal, owners, read_receipt, to_table, write_receipt
from dataprep.export.wanted import Kind as Kind
from dataprep.export.wanted import Merged as Merged
from dataprep.export.wanted import Report as Report
from dataprep.export.wanted import Wanted as Wanted
from dataprep.store import disk_faults, write_whole

_CACHES = ("latents", "texts")  # a trainer believes them without looking: never kept when they are not wanted
_CACHE = re.compile(
    r"(?P<stem>.+?)(?:_\d{4,}x\d{4,}_[a-z0-9]+|(?P<text>(?:_[a-z0-9]+)?_te(?:_outputs)?))?\.npz"
)


def inside(out: Path, file: str) -> Path:
    """The path of a file of the prepared folder.

    Raises:
        InputError: it would lie outside `out`, also through a symbolic link.
    """
    pure = PurePosixPath(file)
    path = out.joinpath(*pure.parts)
    parent = path.parent.resolve()
    if pure.is_absolute() or ".." in pure.parts or not parent.is_relative_to(out.resolve()):
        raise InputError(
            f"{file}: leads out of the prepared folder {out}; nothing is written or removed there"
        )
    return path


def sync(
    out: Path,
    wanted: Sequence[Wanted],
    merged: Merged,
    threads: int = 1,
    folders: Sequence[str] = ("img", "reg"),
    taken: Mapping[str, str] | None = None,
) -> Report:
    """Write, replace and remove files so that `out` holds what is wanted, then write the receipt.

    Args:
        out: the prepared folder.
        wanted: all files that should be there.
        merged: decides about captions that were edited.
        threads: how many files are made at once.
        folders: where strangers' files are looked for.
        taken: file -> sha256 of edited content that has been read and remembered, and may be replaced.
    Raises:
        InputError: a path leads out of the folder.
        DiskError: a file cannot be written; what is done is journalled.
    """
    work = _Sync(out, merged, folders, taken or {})
    work.move_edited_pictures(wanted)
    wanted = work.without_latents_of_others(wanted)
    work.remove_unwanted({item.file for item in wanted})
    work.remove_stale_latents(wanted)
    work.remove_rivals(wanted)
    work.remove_broken(wanted)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for _ in pool.map(work.settle_row, _by_row(wanted)):
            pass
    work.finish()
    return work.report


def _linked(source: Path, target: Path) -> bool:
    """Give a file a second name; False where the file system cannot."""
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True


def _by_row(wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    rows: dict[str, list[Wanted]] = {}
    for item in wanted:
        rows.setdefault(item.row.get("id") or item.file, []).append(item)
    return list(rows.values())


def _made_of(cache: str) -> tuple[str, Kind] | None:
    """The file, without its ending, and its kind that a trainer made a cache of; None: no name of a cache."""
    folder, _, name = cache.rpartition("/")
    match = _CACHE.fullmatch(name)
    return None if match is None else (f"{folder}/{match['stem']}", "caption" if match["text"] else "image")


class _Sync:
    def __init__(self, out: Path, merged: Merged, folders: Sequence[str], taken: Mapping[str, str]) -> None:
        self.taken = taken
        self.out = out
        self.folders = folders
        self.merged = merged
        self.report = Report()
        self._before = read_receipt(out)
        self.entries: dict[str, Entry] = {entry["file"]: entry for entry in self._before.to_pylist()}
        self._lock = threading.Lock()
        self._checked: set[str] = set()  # folders that lie inside: resolving links for each file takes long
        self._caches = self._strange_caches()

    def _strange_caches(self) -> dict[tuple[str, Kind], list[str]]:
        """A trainer's own caches: (file without its ending, what they were made of) -> files."""
        found: dict[tuple[str, Kind], list[str]] = {}
        for folder in self.folders:
            for path in (self.out / folder).glob("*/*.npz"):
                file = path.relative_to(self.out).as_posix()
                made_of = _made_of(file)
                if made_of is not None and file not in self.entries:
                    found.setdefault(made_of, []).append(file)
        return found

    def _path(self, file: str) -> Path:
        """See `inside`."""
        folder, _, name = file.rpartition("/")
        if folder not in self._checked or name == "..":
            inside(self.out, file)
            self._checked.add(folder)
        return self.out / file

    def state(self, file: str) -> Literal["absent", "ours", "edited", "foreign"]:
        """What the file on disk is, compared with the receipt."""
        path, entry = self._path(file), self.entries.get(file)
        if not path.is_symlink() and not path.exists():
            return "absent"
        if entry is None:
            return "foreign"
        if path.is_symlink() or not path.is_file():
            return "edited"
        found = path.stat()
        if found.st_size != entry["bytes"]:
            return "edited"
        if found.st_mtime_ns == entry["mtime_ns"] or file_sha256(path) == entry["sha256"]:
            return "ours"
        return "edited"

    def move_edited_pictures(self, wanted: Sequence[Wanted]) -> None:
        """Give a picture that was changed by hand its row's new name: under two it is trained twice."""
        files = {item.row["id"]: item.file for item in wanted if item.kind == "image" and item.row}
        kept = set(files.values())
        images = [entry for entry in self.entries.values() if entry["kind"] == "image"]
        rows = [item.row for item in wanted if item.kind == "image" and item.row]
        for file, owner in owners(images, rows).items():
            new = files[owner]
            if file in kept or self._is_taken(file):
                continue
            old, path = self._path(file), self._path(new)
            if (self.state(file), self.state(new)) != ("edited", "absent") or not old.is_file():
                continue
            with disk_faults(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                old.rename(path)
            self._tidy(old)
            self.entries[new] = {**self.entries.pop(file), "file": new, "id": owner}
            for cache in self._caches.pop((file.rpartition(".")[0], "image"), ()):
                self._unlink(cache)  # under the old name nobody looks at what a trainer made of it
                self.report.displaced.append(cache)

    def without_latents_of_others(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """What is wanted, less the latents of pictures that hands have changed: they show the old pixels."""
        rows = [items for items in _by_row(wanted) if self._is_retouched(items)]
        stale = {item.file for items in rows for item in items if item.kind == "latents"}
        return [item for item in wanted if item.file not in stale]

    def _is_retouched(self, items: Sequence[Wanted]) -> bool:
        picture = next((item for item in items if item.kind == "image"), None)
        if picture is None or self.state(picture.file) not in ("edited", "foreign"):
            return False
        try:
            if self._may_replace(picture, self.entries.get(picture.file)):
                return False
        except RowError:
            return False  # its row fails when it is settled
        self.report.retouched.append(picture.file)
        self._remember(picture.file)
        self._remove_older_caches(picture.file, "image")
        self._remove_broken(picture.file, "image")
        return True

    def _remember(self, file: str) -> None:
        """Note that hands changed a picture: should it be gone next time, that is what is taken back."""
        path = self._path(file)
        if file in self.entries:
            self.entries[file]["retouched"] = file_sha256(path) if path.is_file() else ""

    def _remove_older_caches(self, made_of: str, kind: Kind) -> None:
        """What a trainer itself made of a picture or a caption before somebody changed it."""
        changed = self._path(made_of).lstat().st_mtime_ns
        caches = self._caches.get((made_of.rpartition(".")[0], kind), [])
        for cache in [file for file in caches if self._path(file).lstat().st_mtime_ns < changed]:
            self._unlink(cache)
            self.report.displaced.append(cache)

    def remove_unwanted(self, wanted: set[str]) -> None:
        """Remove what we wrote and nobody changed; a changed file is kept and stays in the receipt.

        Caches go in any case: a trainer believes them without looking.
        """
        for file in sorted(set(self.entries) - wanted):
            state = self.state(file)
            is_cache = self.entries[file]["kind"] in _CACHES
            if state == "edited" and not is_cache and not self._is_taken(file):
                if self.entries[file]["kind"] == "image":
                    self._remember(file)
                    self.report.orphaned.append(file)
                else:
                    self.report.edited.append(file)
                continue
            if state != "absent":
                self._unlink(file)
            del self.entries[file]

    def remove_stale_latents(self, wanted: Iterable[Wanted]) -> None:
        """Before any picture changes: a run killed half way must not leave latents of other pixels."""
        for item in wanted:
            entry = self.entries.get(item.file)
            if item.kind in _CACHES and (entry is None or entry["key"] != item.key):
                path = self._path(item.file)
                if path.is_symlink() or path.exists():
                    self._unlink(item.file)

    def remove_rivals(self, wanted: Iterable[Wanted]) -> None:
        """Latents that are not ours, yet would be trained instead of ours: by an older name, or by a size."""
        for item in wanted:
            made_of = _made_of(item.file)
            if item.kind != "latents" or made_of is None:
                continue
            ending = "_" + item.file.rpartition("_")[2]  # such as _sd.npz
            for cache in list(self._caches.get(made_of, ())):
                if cache == f"{made_of[0]}.npz" or (cache != item.file and cache.endswith(ending)):
                    self._unlink(cache)
                    self.report.displaced.append(cache)

    def remove_broken(self, wanted: Iterable[Wanted]) -> None:
        """A trainer's own outputs of captions that it was killed in writing: it would stop at such a file."""
        for item in wanted:
            if item.kind == "caption":
                self._remove_broken(item.file, "caption")

    def _remove_broken(self, made_of: str, kind: Kind) -> None:
        caches = self._caches.get((made_of.rpartition(".")[0], kind), [])
        for cache in [file for file in caches if not zipfile.is_zipfile(self._path(file))]:
            self._unlink(cache)
            self.report.displaced.append(cache)

    def _unlink(self, file: str) -> None:
        path = self._path(file)
        with disk_faults(path):
            path.unlink()
        made_of = _made_of(file)
        if made_of is not None and file in (caches := self._caches.get(made_of, [])):
            caches.remove(file)
        self.report.removed.append(file)
        self._tidy(path)

    def _tidy(self, path: Path) -> None:
        """Remove the folders that are empty without this file."""
        for folder in path.parents:
            if folder == self.out or any(folder.iterdir()):
                break
            folder.rmdir()

    def settle_row(self, items: Sequence[Wanted]) -> None:
        """Bring a row's files in line; when its picture cannot be made, none of its files stays."""
        try:
            for item in items:
                self.settle(item)
        except RowError as error:
            with self._lock:
                self.report.failed[items[0].row["id"]] = str(error)
                for item in items:
                    if self.state(item.file) == "ours":
                        self._unlink(item.file)
                        del self.entries[item.file]

    def settle(self, item: Wanted) -> None:
        """Bring one file in line."""
        state, entry = self.state(item.file), self.entries.get(item.file)
        known = state == "ours" and entry is not None and entry["key"] == item.key
        if known and entry is not None and not self._is_damaged(item, entry):
            self._note(item, entry["sha256"])  # the picture may have moved in RAW: its row is told anew
            return
        if state in ("edited", "foreign") and item.kind not in _CACHES and not self._may_replace(item, entry):
            with self._lock:
                (self.report.edited if entry is not None else self.report.foreign).append(item.file)
            return
        data = item.make()
        if known or (state == "edited" and item.kind in _CACHES):
            with self._lock:
                self.report.mended.append(item.file)
        self._write(item, data)

    def _is_damaged(self, item: Wanted, entry: Entry) -> bool:
        """Whether a cache's content changed, but not size and time, as on a worn disk.

        Pictures are many times larger, and a damaged one shows when it is opened; `curate` reads captions.
        """
        found = "" if item.read is None else item.read(self._path(item.file))
        return found not in ("", entry["sha256"])

    def _is_taken(self, file: str) -> bool:
        path = self._path(file)
        known = self.taken.get(file)
        return known is not None and path.is_file() and not path.is_symlink() and file_sha256(path) == known

    def _may_replace(self, item: Wanted, entry: Entry | None) -> bool:
        path = self._path(item.file)
        if path.is_symlink() or not path.is_file():
            return False
        if self._is_taken(item.file):
            return True
        if item.kind != "caption":
            return path.read_bytes() == item.make()
        text = decode(path.read_bytes()).text
        before = None if entry is None else entry["caption"]
        return text.strip() == item.caption or self.merged(item, text, before)

    def _write(self, item: Wanted, data: bytes) -> None:
        path = self._path(item.file)
        sha256 = hashlib.sha256(data).hexdigest()
        if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
            with self._lock:
                # What a trainer made of the file that was here, it would believe of the one that comes.
                for cache in self._caches.pop((item.file.rpartition(".")[0], item.kind), ()):
                    self._unlink(cache)
                journal(self.out, self._entry(item, sha256, len(data), 0))
                self.report.written.append(item.file)

            def write(temporary: Path) -> None:
                if item.source is None or not _linked(item.source, temporary):
                    temporary.write_bytes(data)

            write_whole(path, write)
        elif item.kind == "caption":
            with self._lock:  # edited by hand to what is wanted: nothing to write, but news to a cache
                self._remove_older_caches(item.file, "caption")
        self._note(item, sha256)

    def _note(self, item: Wanted, sha256: str) -> None:
        found = self._path(item.file).stat()
        with self._lock:
            self.entries[item.file] = self._entry(item, sha256, found.st_size, found.st_mtime_ns)

    @staticmethod
    def _entry(item: Wanted, sha256: str, size: int, mtime_ns: int) -> Entry:
        row = item.row
        return {
            "file": item.file,
            "sha256": sha256,
            "kind": item.kind,
            "id": row.get("id"),
            "image_sha256": row.get("sha256"),
            "view": row.get("view"),
            "role": row.get("role"),
            "caption": item.caption,
            "key": item.key,
            "bytes": size,
            "mtime_ns": mtime_ns,
            "retouched": None,
        }

    def finish(self) -> None:
        """Look for strangers and write the receipt where it differs."""
        for folder in self.folders:
            for path in sorted((self.out / folder).rglob("*")):
                file = path.relative_to(self.out).as_posix()
                if file not in self.entries and not path.is_dir():
                    self.report.foreign.append(file)
        self.report.foreign = sorted(set(self.report.foreign))
        report = self.report
        for names in (report.written, report.removed, report.edited, report.retouched, report.mended):
            names.sort()
        after = to_table(self.entries.values())
        if not after.equals(self._before):
            write_receipt(self.out, after)
