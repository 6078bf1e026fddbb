"""Findings about tags that people typed: several in one for want of commas, other names, not used."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import lru_cache

from dataprep.checks.finding import Finding, Prepared, Row, listed, names
from dataprep.curate.captions import is_drawing, is_prose, tag_key
from dataprep.tags.aliases import ALIASES, canonical
from dataprep.tags.by_hand import over_lists, unused
from dataprep.tags.implications import IMPLIES
from dataprep.tags.kind_words import WHOLE
from dataprep.tags.kinds import kind_of
from dataprep.tags.rivals import rivalry

CODES = frozenset({"several-tags-in-one", "other-name", "hand-over-list", "not-used"})
_SEPARATED = re.compile(r"\w\s*[;|]\s*\w")
_PARTS = 3  # of two known tags a third may be made: `sunset beach`


def several_in_one(prepared: Prepared) -> Iterator[Finding]:
    """Tags that are several, parted by spaces, `;` or `|`: the trainer parts them at commas only."""
    known = _vocabulary(prepared)
    found: dict[str, list[Row]] = defaultdict(list)
    for tag, row in _typed(prepared, known):
        if (_SEPARATED.search(tag) and not is_drawing(tag)) or _is_several(tag_key(tag), known):
            found[tag].append(row)
    if found:
        yield Finding(
            "several-tags-in-one",
            "warning",
            f"several tags without commas between them: {listed(map(repr, sorted(found)))}",
            names({id(row): row for rows in found.values() for row in rows}.values()),
            "tags are parted at commas only: these count as one tag, which no other picture has",
            "put commas between them in these captions, and run again",
        )


def other_names(prepared: Prepared) -> Iterator[Finding]:
    """Tags that are known by another name: `blond hair` is the taggers' `blonde hair`."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in prepared.readable(prepared.train + prepared.reg):
        for tag in prepared.tags(row):
            if tag_key(canonical(tag)) != tag:
                found[tag].append(row)
    if found:
        pairs = (f"{tag!r} is known to the tagger as {canonical(tag)!r}" for tag in sorted(found))
        yield Finding(
            "other-name",
            "note",
            listed(pairs),
            names({id(row): row for rows in found.values() for row in rows}.values()),
            "it stands as you wrote it; but models learned the other name, and each name learns half",
            "write the known name, or leave yours in all captions",
        )


def over_the_lists(prepared: Prepared) -> Iterator[Finding]:
    """Tags of the absorb or keep list that stand otherwise in captions where people decided so."""
    found = over_lists(prepared.train)
    if found:
        yield Finding(
            "hand-over-list",
            "note",
            listed(found),
            names({id(row): row for rows in found.values() for row in rows}.values()),
            "what was done by hand to one caption outranks a list for all of them",
            "nothing, or edit these captions to fit the list",
        )


def not_used(prepared: Prepared) -> Iterator[Finding]:
    """Tags and captions that people wrote and that no caption has."""
    found = unused(prepared.rows)
    if found:
        yield Finding(
            "not-used",
            "note",
            listed(found),
            names({id(row): row for rows in found.values() for row in rows}.values()),
            "a sentence stands as it was written, and of copies of one picture one caption stands",
            "edit the captions of the pictures that are kept, if something is missing or too much",
        )


def _vocabulary(prepared: Prepared) -> frozenset[str]:
    """Keys of tags that are known: the tagger's, and this program's own.

    Of what the tagger did not see in this set its tags of several words: `table`, `lamp` are words of names.
    """
    seen = {score["tag"] for row in prepared.rows for score in row.get("tag_scores") or ()}
    phrases = {tag for tag in map(tag_key, prepared.tagger_tags) if " " in tag}
    return frozenset(map(tag_key, seen)) | phrases | own_vocabulary()


@lru_cache(maxsize=1)
def own_vocabulary() -> frozenset[str]:
    """Keys of the tags that this program knows by itself: of its tables of kinds, overlaps and aliases."""
    whole = [word.strip() for part in WHOLE.split(":")[1:] for word in part.replace("\n", " ").split(",")]
    general = [tag for tags in IMPLIES.values() for tag in tags]
    return frozenset(map(tag_key, [*whole, *IMPLIES, *general, *ALIASES, *ALIASES.values()]))


def _typed(prepared: Prepared, known: Collection[str]) -> Iterator[tuple[str, Row]]:
    """Tags of captions that no machine wrote, each with its row."""
    for row in prepared.readable(prepared.train + prepared.reg):
        if row.get("hand_caption") or is_prose(prepared.caption(row)):
            continue
        said = {tag_key(tag["tag"]) for tag in row.get("tags") or () if tag["source"] not in ("raw", "hand")}
        for tag in prepared.lead.tags(prepared.caption(row), row["role"]):
            if tag_key(tag) not in said and tag_key(tag) not in known:
                yield tag, row


def _is_several(key: str, known: Collection[str]) -> bool:
    """Whether a text is known tags one after the other: three or more, or two that can't be one.

    `long hair blue eyes` and `long hair smile` are two; `black hair bow` is a bow, `sunset beach` a beach.
    """
    parts = _parts(tuple(key.split(" ")), known)
    if len(parts) < 2 or len(parts) >= _PARTS:
        return len(parts) >= _PARTS
    people = any(kind_of(part) == "people" for part in parts)
    phrases = [" " in part for part in parts]
    return people or all(phrases) or (phrases[0] and kind_of(parts[1]) == "expression")


def _parts(words: tuple[str, ...], known: Collection[str]) -> tuple[str, ...]:
    """The fewest known tags that a text is made of; none where it is not."""
    best: list[tuple[str, ...] | None] = [()] + [None] * len(words)
    for end in range(1, len(words) + 1):
        for start in range(end):
            part, before = " ".join(words[start:end]), best[start]
            fits = part in known or kind_of(part) == "people" or rivalry(part) is not None
            if fits and before is not None and len(before) + 1 < len(best[end] or words + words):
                best[end] = (*before, part)
    return best[-1] or ()
