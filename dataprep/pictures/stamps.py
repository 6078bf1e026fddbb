"""What files looked like when they were listed, so that one that changes during a run is noticed.

Results are stored by the content that scan saw; pixels of another content must not be stored under its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dataprep.errors import RowError

Stamp = tuple[int, int, int]
Decoded = TypeVar("Decoded")


class Stamps:
    """The stamps of listed files. Files that were never listed are taken as they are."""

    def __init__(self) -> None:
        self._of: dict[str, Stamp] = {}

    def note(self, path: Path, found: os.stat_result) -> None:
        """Remember a file as it was when its content was hashed."""
        self._of[str(path)] = _stamp(found)

    def guarded(self, path: Path, decode: Callable[[], Decoded]) -> Decoded:
        """What `decode` makes of the file, which is the same before and after.

        Raises:
            RowError: as `check`, which goes before what `decode` raises.
        """
        self.check(path)
        try:
            return decode()
        finally:
            self.check(path)

    def check(self, path: Path) -> None:
        """Whether the file is still that one.

        Raises:
            RowError: transiently "changed" if it is not, "io" if it cannot be looked at.
        """
        noted = self._of.get(str(path))
        if noted is None:
            return
        try:
            found = path.stat()
        except OSError as error:
            raise RowError("io", f"{error.strerror}", transient=True) from error
        if _stamp(found) != noted:
            raise RowError("changed", "the file changed after it was listed; run again", transient=True)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ino
