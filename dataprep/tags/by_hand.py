"""People's decisions on single captions, applied after every rule, row by row: there are few such rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprep.curate.captions import tag_key, unique
from dataprep.curate.hand_copies import RAW, history_of
from dataprep.manifest import ACTIVE
from dataprep.tags.aliases import canonical
from dataprep.tags.assemble import (
    ABSORBED,
    ADDED,
    IN_CAPTION,
    KEPT,
    PRUNED,
    REMOVED,
    Hand,
    caption_text,
    hand_caption,
    lead,
    one_line,
    says,
    with_hand,
    without_trigger,
)
from dataprep.tags.columns import TagColumns
from dataprep.tags.kinds import kind_of, people
from dataprep.tags.order import GROUPS, group
from dataprep.tags.rivals import contradicts
from dataprep.tags.tokens import caption_tokens

if TYPE_CHECKING:
    from dataprep.stages.prune import Prune

_NAMED: Final = 3
_OVER: Final = "by hand it outranks"
_NOT_USED: Final = re.compile(r"(?<=; )(?:its|these of its) (?:caption|tags) [^;]*not used(?:: [^;]+)?")
COLUMNS = ("hand_added", "hand_removed", "hand_order", "hand_caption", "hand_history")


def hands(table: pa.Table, active: NDArray[np.bool_], settings: Prune) -> dict[int, Hand]:
    """What people decided, by row, for the rows where they decided anything.

    Args:
        table: with the hand columns; the history tells which tags came with the raw picture alone.
        active: which rows count, shape (rows,).
        settings: the trigger word is no part of anybody's tag: `sks dress` is `dress`.
    """
    touched = np.zeros(table.num_rows, dtype=bool)
    for name in COLUMNS:
        touched |= pc.is_valid(table[name]).to_numpy()
    picked = np.flatnonzero(touched & active)
    cells = table.select(COLUMNS).take(pa.array(picked)).to_pylist()
    found = {int(row): _hand(cell, settings) for row, cell in zip(picked, cells, strict=True)}
    return {row: hand for row, hand in found.items() if hand != Hand()}


def _hand(cell: Mapping[str, Any], settings: Prune) -> Hand:
    def own(tags: Iterable[str]) -> tuple[str, ...]:
        return unique(_own(tag, settings) for tag in tags)

    history = history_of(cell)
    told: dict[bool, list[str]] = {True: [], False: []}  # with a raw picture, by a person
    for number, what in history.items():
        told[number == RAW or "from_raw" in what].extend(what.get("added") or ())
    beside = {tag_key(tag) for tag in own(told[True])} - {tag_key(tag) for tag in told[False]}
    removed = {tag_key(tag) for tag in cell["hand_removed"] or ()}
    pairs = [(tag, _own(tag, settings)) for tag in cell["hand_added"] or ()]
    # What `sks dress` became, `dress`, may have been removed since by that name.
    pairs = [(tag, name) for tag, name in pairs if tag == name or tag_key(name) not in removed]
    written = {tag_key(name): tag for tag, name in pairs if name != tag}
    added = unique(name for _, name in pairs)
    gone = {tag_key(tag) for tag in added}
    return Hand(
        added=tuple(tag for tag in added if tag_key(tag) not in beside),
        removed=tuple(tag for tag in cell["hand_removed"] or () if tag_key(tag) not in gone),
        order=None if cell["hand_order"] is None else own(cell["hand_order"]),
        caption=cell["hand_caption"],
        raw=tuple(tag for tag in added if tag_key(tag) in beside),
        written=written,
    )


def _own(tag: str, settings: Prune) -> str:
    # What stands first anyway is told apart later; here go tags that hold the trigger word beside others.
    if settings.trigger is None or tag_key(tag) in _leads(settings):
        return tag
    return without_trigger(tag, settings.trigger, None)


def _leads(settings: Prune) -> frozenset[str]:
    leads = (settings.trigger, lead(settings.trigger, settings.class_word))
    return frozenset(tag_key(word) for word in leads if word)


def edited(
    columns: TagColumns,
    captions: list[str],
    touched: Mapping[int, Hand],
    reg: NDArray[np.bool_],
    settings: Prune,
) -> TagColumns:
    """The tags after people's decisions; writes their captions into `captions`.

    Args:
        columns: the machine's tags.
        captions: the machine's captions, one per row; changed in place.
        touched: what people decided, by row.
        reg: which rows are class images, shape (rows,).
        settings: trigger and class word.
    """
    if not touched:
        return columns
    changed = {}
    spellings = {tag_key(tag): tag for tag in columns.words["tag"]}
    for row, hand in touched.items():
        is_reg = bool(reg[row])
        tags = _beside_raw(with_hand(columns.of(row), hand, spellings), hand, settings)
        tags = _without_first(_over_lists(tags, settings), settings, is_reg)
        if hand.order is None:
            tags = _in_budget(tags, settings, is_reg)
        captions[row] = _caption(tags, hand, settings, is_reg)
        changed[row] = tags if hand.caption is None else _told(tags, captions[row])
    return columns.replaced(changed)


def _beside_raw(tags: list[dict[str, Any]], hand: Hand, settings: Prune) -> list[dict[str, Any]]:
    """Tags where some came with the raw picture: those outrank the machine's, but no list of the settings."""
    if not hand.raw:
        return tags
    absorb = {tag_key(tag) for tag in settings.absorb}
    seen = {tag_key(tag) for tag in hand.order or ()}  # and left beside those: a person arranged all of them
    beside = frozenset(map(tag_key, hand.raw))
    of_one = (people(beside) or 1) < 2  # else it may be true of the other

    def cannot_be(key: str) -> bool:
        return _miscounts(key, beside) or (of_one and contradicts(key, beside))

    for tag in tags:
        if tag["source"] == "raw" and tag_key(canonical(tag["tag"])) in absorb:
            tag.update(fate=ABSORBED, rule="absorb list; it came with the raw picture")
        elif tag["fate"] == KEPT and tag_key(tag["tag"]) not in seen and cannot_be(tag_key(tag["tag"])):
            tag.update(fate=PRUNED, rule="contradicts the caption beside the raw picture")
    return tags


def _miscounts(key: str, beside: frozenset[str]) -> bool:
    """Whether a tag speaks of fewer or more people than a caption does."""
    count, alone, both = people(beside), people(frozenset({key})), people(beside | {key})
    if count is None or alone is None:
        return False
    return both != count or (alone < count and not key.startswith("multiple "))


def _over_lists(tags: list[dict[str, Any]], settings: Prune) -> list[dict[str, Any]]:
    """Tags with what outranks the user's lists: what a person wrote into one caption, or took out of it."""
    absorb, keep = ({tag_key(tag) for tag in one} for one in (settings.absorb, settings.keep))
    for tag in tags:
        key = tag_key(canonical(tag["tag"]))
        listed = "absorb" if key in absorb and tag["fate"] == ADDED else ""
        listed = "keep" if key in keep and tag["fate"] == REMOVED else listed
        if listed:
            tag["rule"] += f"; {_OVER} your {listed} list"
    return tags


def over_lists(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Tags of the user's lists that people decided otherwise in captions, as text -> rows of a manifest."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        for tag in row.get("tags") or ():
            _, over, listed = (tag["rule"] or "").partition(f"; {_OVER} your ")
            if over:
                verb = "added" if tag["fate"] == ADDED else "removed"
                told = f"{tag['tag']!r} of your {listed} was {verb} by hand"
                found.setdefault(told, []).append(row)
    return found


def unused(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What people decided and no caption follows, as text -> rows of a manifest: in sentences, of copies."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        caption, beside = row.get("hand_caption"), row.get("raw_caption")
        for tag in (row.get("hand_removed") or ()) if caption and beside and row["state"] == ACTIVE else ():
            if says(caption, tag) and says(beside, tag):
                found.setdefault(f"{tag!r} was removed by hand, and the sentence says it", []).append(row)
        for told in _NOT_USED.findall(row.get("reason") or ""):
            found.setdefault(f"of a copy that was dropped, {told}", []).append(row)
    return found


def hand_notes(table: pa.Table) -> list[str]:
    """For people, after a run: what they decided that no caption follows, and what outranks their lists."""
    named = ("path", "state", "reason", "raw_caption", "hand_caption", "hand_added", "hand_removed", "tags")
    told = pc.fill_null(pc.match_substring(table["reason"], "not used"), False)
    for name in {"hand_added", "hand_removed"} & set(table.schema.names):
        told = pc.or_(told, pc.is_valid(table[name]))
    rows = table.select([name for name in named if name in table.schema.names]).filter(told).to_pylist()
    return [
        f"{text}: {', '.join(row['path'] for row in found[:_NAMED])}"
        + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
        for text, found in [*over_lists(rows).items(), *unused(rows).items()]
    ]


def _without_first(tags: list[dict[str, Any]], settings: Prune, reg: bool) -> list[dict[str, Any]]:
    """Hand-added tags that repeat what stands first anyway are not written twice."""
    first = _leads(settings)
    for tag in tags:
        if tag["fate"] in IN_CAPTION and tag_key(tag["tag"]) in first:
            where = "never stands in a class image's caption" if reg else "the caption has it already, once"
            tag.update(fate=PRUNED, rule=f"trigger: {where}")
    return tags


def _in_budget(tags: list[dict[str, Any]], settings: Prune, reg: bool) -> list[dict[str, Any]]:
    """Tags whose caption is over the token budget with those added by hand before what may fall off."""
    added = [tag for tag in tags if tag["fate"] == ADDED]
    if not added or caption_tokens(_caption(tags, Hand(), settings, reg)) <= settings.max_tokens:
        return tags

    def place(tag: dict[str, Any]) -> int:
        stands = group(tag["tag"], kind_of(tag["tag"], tag["category"]))
        return min(stands, GROUPS - 1) if tag["fate"] != ADDED else min(stands, GROUPS - 2)

    return sorted(tags, key=place)  # stable: the order within a group stays


def _told(tags: list[dict[str, Any]], caption: str) -> list[dict[str, Any]]:
    """Tags beside a caption that was written by hand: only what it says is in it."""
    for tag in tags:
        if tag["fate"] in IN_CAPTION and not says(caption, tag["tag"]):
            tag.update(fate=PRUNED, rule="not in the caption that was written by hand")
    return tags


def _caption(tags: list[dict[str, Any]], hand: Hand, settings: Prune, reg: bool) -> str:
    trigger = None if reg else settings.trigger
    if hand.caption is not None:
        text = one_line(hand.caption)
        if reg and settings.trigger is not None:
            return without_trigger(text, settings.trigger, settings.class_word)
        return hand_caption(text, trigger, settings.class_word)
    bare = reg and settings.reg_captions == "class" and settings.class_word is not None
    kept = [tag["tag"] for tag in tags if tag["fate"] == ADDED or (not bare and tag["fate"] == KEPT)]
    return caption_text(lead(trigger, settings.class_word), kept)
