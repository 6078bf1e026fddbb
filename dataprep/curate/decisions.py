"""What people decided: an append-only journal, `decisions.jsonl` in the prepared folder, and its sum.

One JSON object a line. Every decision names the image by the sha256 of the raw file and the view, so that it
outlives renames. `histories` gathers them by image, with their place in the journal, and `summed` adds them
up; a later one wins, also where the histories of several copies are one. Nothing is ever erased: `undo` is
one more line, which says how many decisions before it still count.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeGuard, cast

from dataprep.curate.captions import tag_key, unique
from dataprep.curate.journal_text import TORN, is_foreign, read_lines
from dataprep.errors import InputError
from dataprep.store import disk_faults, write_bytes

JOURNAL = "decisions.jsonl"
# Among removed tags: whatever the machine says, also what it has yet to say. A caption that a person left
# without a tag stays so. Among added ones: what the machine says counts again, all of it.
ANY = "*"
_NAMED = 3
_SIDES = ("left", "top", "right", "bottom")
_FRAME = re.compile(r"frame\d+")

Who = Literal["file", "page", "command"]
Event = dict[str, Any]  # one line, see `tags_changed` and its neighbours
Image = tuple[str, str]  # sha256 of the raw file, view
History = dict[int, Event]  # place in the journal -> what was decided there


@dataclass
class Hand:
    """The sum of all decisions on one image view."""

    state: str | None = None  # keep | drop
    box: dict[str, int] | None = None  # left, top, right, bottom, px of the upright original
    added: dict[str, str] = field(default_factory=dict)  # tag_key -> tag, oldest first
    removed: dict[str, str] = field(default_factory=dict)
    order: tuple[str, ...] | None = None  # all tags as arranged by hand
    caption: str | None = None  # the whole caption rewritten by hand, without the trigger word

    def apply(self, event: Mapping[str, Any]) -> None:
        """Add one decision. Unknown keys are ignored, so that older programs read newer journals."""
        for tag in event.get("removed") or ():
            self.added.pop(tag_key(tag), None)
            self.removed[tag_key(tag)] = tag
        added = [tag for tag in event.get("added") or () if tag != ANY]
        if len(added) < len(event.get("added") or ()):
            self.removed.clear()
        for tag in added:
            self.removed.pop(tag_key(tag), None)
            self.added.setdefault(tag_key(tag), tag)
        if "order" in event:
            self.order = None if event["order"] is None else unique(event["order"])
        for name in ("state", "box", "caption"):
            if name in event:
                setattr(self, name, event[name])

    @property
    def says_something(self) -> bool:
        """Whether there is any decision but to leave the picture out."""
        return self != Hand(state=self.state) and self.state != "drop"


@dataclass(frozen=True)
class Journal:
    """The journal as read: all lines that are whole, and the numbers (from 1) of those that are not."""

    events: tuple[Event, ...] = ()
    damaged: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()  # of these, those that are not what a killed program left half written

    def effective(self) -> list[Event]:
        """The events that count: without those that an `undo` took back."""
        return _effective(self.events)

    def hands(self) -> dict[Image, Hand]:
        """The sum of the decisions on each image view."""
        return fold(self.effective())

    def histories(self) -> dict[Image, History]:
        """The decisions on each image view, with their places."""
        return histories(self.effective())


def _effective(events: Sequence[Event]) -> list[Event]:
    for i in range(len(events) - 1, -1, -1):
        if "undo" in events[i]:
            start = min(int(events[i]["undo"]), i)
            # That a file has new bytes is no decision: what came before would be lost with it.
            moved = [event for event in events[start:i] if "follows" in event or "heir_of" in event]
            return _effective(events[:start]) + moved + list(events[i + 1 :])
    return list(events)


def fold(events: Iterable[Event], start: Mapping[Image, Hand] | None = None) -> dict[Image, Hand]:
    """Add up decisions in order, on top of `start` (what came with the raw pictures; it is not changed)."""
    found, start = histories(events), start or {}
    return {image: summed(found.get(image, {}), start.get(image)) for image in {**start, **found}}


def histories(events: Iterable[Event]) -> dict[Image, History]:
    """The decisions on each image view, those handed over by contents that are gone included.

    Args:
        events: that count, in order; their place among these is their place in the histories.
    """
    found: dict[Image, History] = {}
    for number, event in enumerate(events):
        if "follows" in event or "heir_of" in event:
            _hand_over(found, event)
        if "image" in event and "follows" not in event:
            found.setdefault(image_of(event), {})[number] = event
    return found


def _hand_over(found: dict[Image, History], event: Event) -> None:
    """Give one content the history of another; what is decided on either afterwards is its own."""
    (new, view), follows = image_of(event), "follows" in event
    old, of = str(event["follows" if follows else "heir_of"]), str(event.get("heir_view") or "")
    for image in [image for image in found if image[0] == old]:
        name = image[1] if follows else same_view(image[1], of, view)
        if name is None:
            continue
        handed = found[image]
        own = found.get((new, name), {})
        if not follows or "box_scale" in event:
            handed = {number: scaled(what, event.get("box_scale")) for number, what in handed.items()}
        if not follows and summed(own).state is not None:  # whether this one stays is decided
            handed = {number: _without(what, "state") for number, what in handed.items()}
        # A second line on the same file tells what the first did not know: its size. What was decided on
        # this very content comes back to it as it was.
        decided_here = {number: what for number, what in own.items() if what.get("image") == new}
        found[new, name] = (own | handed if follows else handed | own) | decided_here


def summed(history: Mapping[int, Event], start: Hand | None = None) -> Hand:
    """Add up the decisions of a history, the newest last, on top of `start`, which is not changed."""
    hand = Hand() if start is None else copy.deepcopy(start)
    for number in sorted(history):
        hand.apply(history[number])
    return hand


def scaled(event: Event, scale: Sequence[float] | None) -> Event:
    """A decision as one on a copy of another size.

    Args:
        event: with a box or without.
        scale: of the copy's width and height; None: it shows another part, and no box goes over.
    """
    if event.get("box") is None:
        return event
    if scale is None:
        return _without(event, "box")
    across, down = scale
    sides = {"left": across, "right": across, "top": down, "bottom": down}
    return {**event, "box": {side: round(event["box"][side] * sides[side]) for side in _SIDES}}


def _without(event: Event, what: str) -> Event:
    return {name: value for name, value in event.items() if name != what}


def base_view(view: str) -> str:
    """The frame or page that a view is cut from; "" for the first."""
    frame = _FRAME.match(view)
    return frame[0] if frame else ""


def same_view(view: str, of: str, to: str) -> str | None:
    """What the view of one picture is called on its copy: `head` may be the same as `frame1-head`.

    Args:
        view: of the picture.
        of: the frame or page that is a copy.
        to: the frame or page that it is a copy of.
    Returns:
        None if the view is cut from something else.
    """
    if base_view(view) != of:
        return None
    return "-".join(filter(None, (to, view[len(of) :].removeprefix("-"))))


def passed_on(events: Iterable[Event]) -> dict[str, str]:
    """Contents whose decisions went over -> to which: their files were saved again, or a copy inherited."""
    others: dict[str, str] = {}
    for event in events:
        if (old := event.get("follows") or event.get("heir_of")) is not None:
            others[str(old)] = str(event["image"])
            others.pop(str(event["image"]), None)
    return others


def follows(events: Iterable[Event], new: str, old: str, *, scaled: bool = False) -> bool:
    """Whether the decisions on the content `old` have gone over to `new` and not back since.

    Args:
        events: that count, in order.
        new: sha256 of what the file holds now.
        old: of what it held.
        scaled: only if they say how much larger the picture is.
    """
    between = [e for e in events if {str(e.get("follows")), str(e.get("image"))} == {new, old}]
    gone = bool(between) and str(between[-1]["image"]) == new
    return gone and (not scaled or "box_scale" in between[-1])


def image_of(event: Mapping[str, Any]) -> Image:
    """Which image view an event is about."""
    return str(event["image"]), str(event.get("view") or "")


def decision(image: Image, who: Who, **what: Any) -> Event:  # noqa: ANN401 - any JSON value
    """A journal line.

    Args:
        image: sha256 of the raw file and the view.
        who: where the person decided: a file edited outside, the web page, a command.
        what: any of added, removed, order (lists of tags), caption (text or None for the machine's),
            follows (the sha256 that the file had before: its decisions go over to `image`), heir_of and
            heir_view (sha256 and view of a picture that is gone, of which this is a copy: the same),
            box_scale (how many times its width and height are those of that one; None: no box goes over),
            state ("keep", "drop", None), box (left, top, right, bottom in px, or None), and for the record
            file, old and new (the caption's texts), base (names the writing that was edited), silent (those
            of `removed` that were not in the caption, but would take the place of those that were).
    """
    event: Event = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "who": who, "image": image[0]}
    if image[1]:
        event["view"] = image[1]
    return {**event, **what}


def journal_file(out: Path) -> Path:
    """Where the decisions of the prepared folder `out` are."""
    return out / JOURNAL


def read_journal(out: Path) -> Journal:
    """All decisions. A line that a killed program left half written is reported, not counted.

    Raises:
        InputError: the file cannot be read, or a whole line says what cannot be.
    """
    path = journal_file(out)
    try:
        data = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; it holds the decisions made by hand"
        ) from error
    lines = read_lines(data, _is_event)
    events: list[Event] = []
    for number, event in lines.values:
        try:
            events.append(_checked(event))
        except ValueError as error:
            raise InputError(f"{path}: line {number}: {error}; mend or delete this line") from error
    return Journal(tuple(events), lines.damaged, lines.lost)


def skipped_text(damaged: Sequence[int]) -> list[str]:
    """For people: which lines were skipped; nothing if there are none."""
    more = f" and {len(damaged) - _NAMED} more lines are" if len(damaged) > _NAMED else " is"
    told = ", ".join(str(number) for number in damaged[:_NAMED])
    return [f"{JOURNAL}: line {told}{more} damaged and skipped"] if damaged else []


def _is_event(value: object) -> bool:
    return isinstance(value, dict) and ("image" in value or "undo" in value)


def _checked(event: Event) -> Event:
    """The event as `Hand.apply` takes it: people and programs write lines too. Raises ValueError."""
    for name in ("added", "removed", "order"):
        tags = event.get(name)
        if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
            raise ValueError(f'{name}: wanted a list of tags, such as ["hat"], not {json.dumps(tags)}')
    if event.get("state") not in (None, "keep", "drop"):
        raise ValueError(f'state: wanted "keep", "drop" or null, not {json.dumps(event["state"])}')
    if not isinstance(event.get("caption"), str | None):
        raise ValueError(f"caption: wanted a text or null, not {json.dumps(event['caption'])}")
    if "undo" in event and not (isinstance(event["undo"], int) and event["undo"] >= 0):
        raise ValueError(f"undo: wanted a number of decisions, not {json.dumps(event['undo'])}")
    scale = event.get("box_scale")
    if scale is not None and not _is_scale(scale):
        raise ValueError(f"box_scale: wanted two numbers above 0, not {json.dumps(scale)}")
    return event if event.get("box") is None else event | {"box": _box(event["box"])}


def _box(value: object) -> dict[str, int]:
    """A box as left, top, right, bottom; a list has them in this order. Raises ValueError."""
    sides = (
        value
        if isinstance(value, dict)
        else dict(zip(_SIDES, value, strict=False))
        if _is_list(value)
        else {}
    )
    whole = {name: int(side) for name, side in sides.items() if name in _SIDES and _is_whole(side)}
    if len(whole) != len(sides) or set(whole) != set(_SIDES):
        raise ValueError(
            f"box: wanted [left, top, right, bottom] in px, whole numbers, not {json.dumps(value)}"
        )
    if not (0 <= whole["left"] < whole["right"] and 0 <= whole["top"] < whole["bottom"]):
        raise ValueError(f"box: wanted 0 <= left < right and 0 <= top < bottom, not {json.dumps(value)}")
    return {name: whole[name] for name in _SIDES}


def _is_scale(value: object) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and all(isinstance(x, int | float) and 0 < x < math.inf for x in cast(list[Any], value))


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and len(value) == len(_SIDES)


def _is_whole(side: object) -> TypeGuard[int | float]:
    return isinstance(side, int | float) and not isinstance(side, bool) and float(side).is_integer()


def append(out: Path, events: Iterable[Event]) -> None:
    """Add decisions to the journal; they are on the disk when this returns.

    Raises:
        DiskError: the disk is full, read-only or failing; whole lines may have been added.
    """
    text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
    if not text:
        return
    path = journal_file(out)
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _as_utf8(out)
        with path.open("ab", buffering=0) as file:  # one write call: programs that append at once do not mix
            torn = file.tell() > 0 and not _ends_with_newline(path)
            data = (f"\n{json.dumps(TORN)}\n".encode() if torn else b"") + text.encode(
                "utf-8", "surrogatepass"
            )
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())


def _as_utf8(out: Path) -> None:
    """Write a journal that an editor saved as UTF-16 as it was, for lines are added in UTF-8."""
    path = journal_file(out)
    if not path.is_file():
        return
    with path.open("rb") as file:
        foreign = is_foreign(file.read(4))
    if foreign:
        text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in read_journal(out).events)
        write_bytes(path, text.encode("utf-8", "surrogatepass"))


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
