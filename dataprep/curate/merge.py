"""Three-way merge of captions, tag by tag: what people changed since the last write outlives the machine.

All functions are pure. `difference` finds the edit between what was written and what is there now; `merged`
applies any number of edits to what the machine would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dataprep.curate.captions import tag_key, unique
from dataprep.curate.decisions import ANY
from dataprep.tags.implications import implied

_BRACKETED = re.compile(r"\([^()]*\)|[^()]+")  # what an editor that reads brackets as weights makes tags of
_AROUND = (
    "() _"  # of `(o)_(o)`, whose key has a space for the underscore, nothing is left between the brackets
)


@dataclass(frozen=True)
class Edit:
    """What a person did to one caption. Tags are in written form; all empty: nothing but spelling changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    order: tuple[str, ...] | None = None  # all tags, as the person left them; None: nothing added or moved
    repaired: tuple[str, ...] = ()  # tags that an editor broke on saving and that are taken as unbroken

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.order is not None)


def difference(base: Sequence[str], file: Sequence[str]) -> Edit:
    """The edit that turned the tags last written into the tags found now.

    Args:
        base: tags as written, without the trigger word.
        file: tags as found, without the trigger word.
    """
    before = {tag_key(tag): tag for tag in base}
    repaired, file = _repair(tuple(before.values()), unique(file))
    after = {tag_key(tag): tag for tag in file}
    added = tuple(tag for key, tag in after.items() if key not in before)
    removed = tuple(tag for key, tag in before.items() if key not in after)
    moved = [key for key in after if key in before] != [key for key in before if key in after]
    # The place of an added tag was chosen too, and the machine may know another for it.
    order = tuple(before.get(key, tag) for key, tag in after.items()) if moved or added else None
    return Edit(added, removed, order, repaired)


def with_removed(edit: Edit, bases: Iterable[Sequence[str]], file: Sequence[str]) -> tuple[str, ...]:
    """What goes with the tags that were removed, for no other tag shall take their place.

    `long hair`, not written beside `very long hair`, does not come in when that is removed; and a caption
    that was left without a tag stays without one (`ANY`).

    Args:
        edit: as found.
        bases: tags of the texts that it may have started from.
        file: tags as found.
    """
    if edit.removed and not file:
        return (ANY,)
    seen = {tag_key(tag) for tags in [file, *bases] for tag in tags}
    return tuple({general: None for tag in edit.removed for general in sorted(implied(tag) - seen)})


def either(first: Edit, *others: Edit) -> Edit:
    """What a person may have done when it is unknown which of several texts was edited.

    It pins and removes too much rather than too little: no edit is lost, whichever text it was.
    """
    for other in others:
        first = Edit(
            unique([*first.added, *other.added]),
            unique([*first.removed, *other.removed]),
            first.order or other.order,
            first.repaired or other.repaired,
        )
    return first


def _repair(base: Sequence[str], file: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Undo what editors break on saving: BDTM splits `kaga (azur lane)` and weights repeated tags, `(1girl)`;
    TagGUI and BDTM turn bytes that are not UTF-8 into U+FFFD.

    A piece may stand once for several: names of one series share theirs, and `saber, saber (fate)` becomes
    `saber, (fate)`. So a tag is whole where all its pieces are there, wherever.
    """
    found = [tag_key(tag) for tag in file]
    present = set(found)
    whole = {tag_key(tag) for tag in base}
    places: dict[int, list[str]] = {}  # where the first piece stands -> whole tags
    broken: list[str] = []
    pieces: set[int] = set()
    for tag in base:
        at = None if tag_key(tag) in present else _pieces(tag_key(tag), found)
        if at:
            places.setdefault(at[0], []).append(tag)
            broken.append(tag)
            pieces.update(place for place in at if found[place] not in whole)
    if not broken:
        return (), tuple(file)
    rank = {tag_key(tag): place for place, tag in enumerate(base)}
    result: list[str] = []
    for place, tag in enumerate(file):
        here = [*places.get(place, ()), *([] if place in pieces else [tag])]
        result += sorted(here, key=lambda tag: rank.get(tag_key(tag), len(rank)))
    return tuple(broken), unique(result)


def _pieces(key: str, found: Sequence[str]) -> tuple[int, ...]:
    """The places in `found` of all pieces of the broken tag `key`, in its order; none if one lacks."""
    for i, tag in enumerate(found):
        if tag == f"({key})":
            return (i,)
        if "\ufffd" in tag and re.fullmatch("[^,]{1,4}".join(map(re.escape, re.split("\ufffd+", tag))), key):
            return (i,)
    pieces = [piece for piece in _BRACKETED.findall(key) if piece.strip(_AROUND)]
    places = [place for piece in pieces if (place := _place(piece, found)) is not None]
    return tuple(places) if len(places) == len(pieces) > 1 else ()


def _place(piece: str, found: Sequence[str]) -> int | None:
    """Where a piece stands, also as a weight: `((azur lane))` is `(azur lane)` twice."""
    bare, opened = piece.strip(_AROUND), piece.startswith("(")
    same = (i for i, tag in enumerate(found) if tag.strip(_AROUND) == bare)
    return next((i for i in same if not opened or found[i].startswith("(")), None)


def merged(
    machine: Sequence[str],
    added: Iterable[str] = (),
    removed: Iterable[str] = (),
    order: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The caption's tags: order(machine - removed + added).

    Args:
        machine: tags the machine would write, in its order, without the trigger word.
        added: by hand; pinned, behind the machine's unless `order` says otherwise.
        removed: by hand; never come back. A tag in both counts as added.
        order: hand-made order, or None for the machine's.
    """
    pinned = unique(added)
    gone = {tag_key(tag) for tag in removed} - {tag_key(tag) for tag in pinned}
    tags = unique([*(tag for tag in machine if tag_key(tag) not in gone), *pinned])
    return tags if order is None else arranged(tags, order)


def arranged(tags: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    """Tags in a hand-made order; a tag that the order does not know stays behind the tag it followed."""
    rank = {tag_key(tag): i for i, tag in enumerate(order)}
    by_key: Mapping[str, str] = {tag_key(tag): tag for tag in tags}
    known = sorted((key for key in by_key if key in rank), key=lambda key: rank[key])
    followers: dict[str | None, list[str]] = {}
    anchor: str | None = known[-1] if known else None
    for key in by_key:
        if key in rank:
            anchor = key
        else:
            followers.setdefault(anchor, []).append(key)
    result = list(followers.get(None, []))
    for key in known:
        result += [key, *followers.get(key, [])]
    return tuple(by_key[key] for key in result)
