"""Every file under a folder, in a stable order, with what cannot be listed or named; nothing is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """One thing in the folder.

    Attributes:
        path: where it is.
        name: relative to the folder, POSIX, always valid Unicode (invalid bytes as %XX).
        stat: of the file that a link points to; None if there is a `fault`.
        fault: (code, detail) of why it cannot be read, None for a regular file.
    """

    path: Path
    name: str
    stat: os.stat_result | None
    fault: tuple[str, str] | None = None


def walk(root: Path, skip: tuple[Path, ...] = ()) -> Iterator[Found]:
    """All files under `root`, folder by folder, sorted by name. Links to folders are followed once.

    Args:
        root: an existing folder.
        skip: folders that are none of the user's files, such as the output folder.
    """
    skipped = {_identity(folder.stat()) for folder in skip if folder.is_dir()}
    yield from _walk(root, root, skipped, frozenset({_identity(root.stat())}))


def _walk(
    root: Path, folder: Path, skipped: set[tuple[int, int]], above: frozenset[tuple[int, int]]
) -> Iterator[Found]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        name = _name(root, folder) + "/"
        yield Found(folder, name, None, ("unreadable", f"the folder cannot be listed: {error.strerror}"))
        return
    for entry in entries:
        path = Path(entry.path)
        try:
            found = path.stat()
        except OSError as error:
            kind = "a link that leads nowhere" if entry.is_symlink() else "it cannot be looked at"
            yield Found(path, _name(root, path), None, ("unreadable", f"{kind}: {error.strerror}"))
            continue
        if not stat.S_ISDIR(found.st_mode):
            yield _file(root, path, found)
        elif _identity(found) in above:
            yield Found(path, _name(root, path) + "/", None, ("loop", "a link to a folder that contains it"))
        elif _identity(found) not in skipped:
            yield from _walk(root, path, skipped, above | {_identity(found)})


def _file(root: Path, path: Path, found: os.stat_result) -> Found:
    name = _name(root, path)
    if not stat.S_ISREG(found.st_mode):
        return Found(path, name, None, ("not-an-image", "a device, pipe or socket"))
    if _printable(path.name) != path.name:
        return Found(path, name, None, ("name", "the file's name is not valid Unicode; rename it"))
    if name != path.relative_to(root).as_posix():
        return Found(path, name, None, ("name", "a folder's name is not valid Unicode; rename it"))
    return Found(path, name, found)


def _name(root: Path, path: Path) -> str:
    return _printable(path.relative_to(root).as_posix())


def _printable(name: str) -> str:
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in name)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
