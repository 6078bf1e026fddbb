"""Files of a prepared folder that are not as they were written, what they mean, what a run makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from dataprep.curate.decisions import (
    Event,
    Hand,
    History,
    Image,
    histories,
    passed_on,
    skipped_text,
    summed,
)


@dataclass(frozen=True)
class Found:
    """One file that is not as it was written, and what that means."""

    file: str  # relative to OUT, as written
    kind: str  # tags | prose | emptied | deleted | picture-deleted | spelling | lost | moved | renamed
    # | taken-back: a picture that hands had changed, and that is gone now
    # | unreadable: in an encoding that its bytes leave open
    sha256: str | None  # of the bytes found, None: no file
    event: Event | None = None  # the decision, None: it means nothing, or it is in the journal already
    note: str | None = None  # for people: what was noticed and what to do
    at: str | None = None  # renamed: where the file is now, relative to OUT


@dataclass(frozen=True)
class Plan:
    """What a run would take over from people."""

    found: tuple[Found, ...]  # files that are not as they were written
    decided: tuple[Event, ...]  # all decisions that count, those just found included
    lines: int  # of the journal, those just found included
    start: Mapping[Image, Hand] = field(default_factory=dict)  # what came with the raw pictures
    damaged: tuple[int, ...] = ()  # lines of the journal that cannot be read
    followed: tuple[Event, ...] = ()  # decisions that go over to a file's new content
    heirs: tuple[Event, ...] = ()  # what copies inherit of pictures that are gone, edits just found included

    @cached_property
    def histories(self) -> Mapping[Image, History]:
        """The decisions on each image view, with their places in the journal."""
        return histories(self.decided)

    @cached_property
    def hands(self) -> Mapping[Image, Hand]:
        """What was decided on each image view itself, and what came with it."""
        images = {**self.start, **self.histories}
        return {image: summed(self.histories.get(image, {}), self.start.get(image)) for image in images}

    @property
    def passed_on(self) -> Mapping[str, str]:
        """Contents whose decisions went over -> to which."""
        return passed_on(self.decided)

    @property
    def events(self) -> list[Event]:
        """Decisions that are not in the journal yet."""
        edits = (found.event for found in self.found if found.event is not None)
        return [*self.followed, *edits, *self.heirs]

    def with_heirs(self, events: Iterable[Event]) -> Plan:
        """This, and what copies inherit of pictures that are gone."""
        events = tuple(events)
        lines = self.lines + len(events)
        return replace(self, decided=(*self.decided, *events), lines=lines, heirs=(*self.heirs, *events))

    @property
    def notes(self) -> list[str]:
        """What people should know, once each."""
        return list(
            dict.fromkeys([*skipped_text(self.damaged), *(found.note for found in self.found if found.note)])
        )
