"""One file of a prepared folder that is not as it was written, and what that means."""

from __future__ import annotations

from dataclasses import dataclass

from dataprep.curate.decisions import Event


@dataclass(frozen=True)
class Found:
    """One file that is not as it was written, and what that means."""

    file: str  # relative to OUT, as written
    kind: str  # tags | prose | emptied | deleted | picture-deleted | spelling | lost | moved | renamed
    # | unreadable: in an encoding that its bytes leave open
    sha256: str | None  # of the bytes found, None: no file
    event: Event | None = None  # the decision, None: it means nothing, or it is in the journal already
    note: str | None = None  # for people: what was noticed and what to do
    at: str | None = None  # renamed: where the file is now, relative to OUT
