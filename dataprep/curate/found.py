"""Files of a prepared folder that are not as they were written, what they mean, what a run makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dataprep.curate.decisions import Event, Hand, Image, fold, passed_on, skipped_text


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


@dataclass(frozen=True)
class Plan:
    """What a run would take over from people."""

    found: tuple[Found, ...]  # files that are not as they were written
    hands: Mapping[Image, Hand]  # all decisions, those just found included
    lines: int  # of the journal, those just found included
    damaged: tuple[int, ...] = ()  # lines of the journal that cannot be read
    followed: tuple[Event, ...] = ()  # decisions that go over to a file's new content
    heirs: tuple[Event, ...] = ()  # what copies inherit of pictures that are gone, edits just found included
    passed_on: frozenset[str] = frozenset()  # contents whose decisions others hold

    @property
    def events(self) -> list[Event]:
        """Decisions that are not in the journal yet."""
        edits = (found.event for found in self.found if found.event is not None)
        return [*self.followed, *edits, *self.heirs]

    def with_heirs(self, events: Iterable[Event]) -> Plan:
        """This, and what copies inherit of pictures that are gone."""
        events = tuple(events)
        hands, held = fold(events, self.hands), self.passed_on | passed_on(events)
        lines = self.lines + len(events)
        return replace(self, hands=hands, lines=lines, heirs=(*self.heirs, *events), passed_on=held)

    @property
    def notes(self) -> list[str]:
        """What people should know, once each."""
        return list(
            dict.fromkeys([*skipped_text(self.damaged), *(found.note for found in self.found if found.note)])
        )
