"""What should be in a prepared folder, file by file, and what was done to bring it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["image", "caption", "latents", "texts", "config"]
# (wanted caption file, text on disk, text written last or None): whether what was changed by hand is in the
# wanted caption already, so that it may be replaced
Merged = Callable[["Wanted", str, str | None], bool]


@dataclass(frozen=True)
class Wanted:
    """One file that should be in the prepared folder."""

    file: str  # relative to OUT, POSIX
    kind: Kind
    key: str  # equal keys make equal files
    make: Callable[[], bytes]  # called only when the file has to be written
    row: dict[str, Any] = field(default_factory=dict)  # the manifest row, empty for config
    caption: str | None = None
    source: Path | None = None  # a file of this content, to be linked to instead of written where possible
    # SHA-256 of the file on disk as its reader finds it: None where it cannot be read, "" where it is large
    read: Callable[[Path], str | None] | None = None


@dataclass
class Report:
    """What was done, each list sorted."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)  # ours, changed by somebody since: kept as they are
    foreign: list[str] = field(default_factory=list)  # never written by us: left alone
    displaced: list[str] = field(default_factory=list)  # a trainer's caches that would win over ours: removed
    mended: list[str] = field(default_factory=list)  # caches whose content was not ours: written anew
    retouched: list[str] = field(default_factory=list)  # pictures changed by hand: no latents for them
    orphaned: list[str] = field(default_factory=list)  # pictures changed by hand that no row stands for now
    failed: dict[str, str] = field(default_factory=dict)  # row id -> why its picture could not be made
