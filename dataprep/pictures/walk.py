"""Every file under a folder, in a stable order, with what cannot be listed or named; nothing is opened."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

_Identity = tuple[int, int]  # device and inode
_Seen = dict[_Identity, bool]  # folder -> whether its files are listed; the others are to be skipped


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
    """All files under `root`, folder by folder, sorted by name; every real folder once.

    Folders behind links come after all others, so that a file is named by its own path where it has one. A
    link to a folder that was listed already is a fault.

    Args:
        root: an existing folder.
        skip: folders that are none of the user's files, such as the output folder.
    """
    seen = {_identity(folder.stat()): False for folder in skip if folder.is_dir()}
    links = deque([(root, _identity(root.stat()))])
    seen.pop(links[0][1], None)
    while links:
        start, identity = links.popleft()
        if identity in seen:
            yield from _again(root, start, identity, seen)
        else:
            seen[identity] = True
            yield from _below(root, start, seen, links)


def _below(root: Path, start: Path, seen: _Seen, links: deque[tuple[Path, _Identity]]) -> Iterator[Found]:
    """What lies under a folder, without recursion: folders may be nested more deeply than Python calls.

    Args:
        root: what names are relative to.
        start: where to begin.
        seen: folders not to be entered, grows.
        links: to folders, which are left for later, grows.
    """
    stack = [iter((yield from _listed(root, start)))]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        path = Path(entry.path)
        try:
            found = path.stat()
        except OSError as error:
            kind = "a link that leads nowhere" if entry.is_symlink() else "it cannot be looked at"
            yield Found(path, _name(root, path), None, ("unreadable", f"{kind}: {error.strerror}"))
            continue
        if not stat.S_ISDIR(found.st_mode):
            yield _file(root, path, found)
        elif entry.is_symlink():
            links.append((path, _identity(found)))
        elif _identity(found) in seen:
            yield from _again(root, path, _identity(found), seen)
        else:
            seen[_identity(found)] = True
            stack.append(iter((yield from _listed(root, path))))


def _listed(root: Path, folder: Path) -> Generator[Found, None, list[os.DirEntry[str]]]:
    """A folder's entries by name, none and a fault if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        detail = f"the folder cannot be listed: {error.strerror}"
        yield Found(folder, _name(root, folder) + "/", None, ("unreadable", detail))
        return []


def _again(root: Path, folder: Path, identity: _Identity, seen: _Seen) -> Iterator[Found]:
    """The fault of a folder that is reached again; nothing where it is one of those to skip."""
    if seen[identity]:
        inside = any(_identity(above.stat()) == identity for above in folder.parents)
        kind = "a folder that contains it" if inside else "a folder that is listed already"
        yield Found(folder, _name(root, folder) + "/", None, ("loop", f"a link to {kind}"))


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


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino
