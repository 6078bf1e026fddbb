"""What people decided about copies of one picture: no decision is lost with the copy that it was made on.

Decisions belong to all copies together: each picture brings its history along, the kept one has them all, and
the newest on each tag, and the newest caption, order and box, stand. A copy that people worked on is kept,
unless another is much larger.
The copies of a picture that people left out are left out too, except those they say `keep` of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from dataprep.curate.captions import Lead, same_prose, tag_key
from dataprep.curate.decisions import Event, Hand, History, scaled, summed
from dataprep.curate.heirs import box_scale
from dataprep.curate.raw_captions import whole_caption
from dataprep.errors import RowError
from dataprep.manifest import BOX, DROPPED
from dataprep.stage import Context
from dataprep.stages.fingerprint import Fingerprint
from dataprep.tags.rivals import contradicts

Row = dict[str, Any]

# Columns of curate that are handed over, beside hand_added.
COLUMNS: Final = (
    ("hand_removed", pa.list_(pa.string())),
    ("hand_order", pa.list_(pa.string())),
    ("hand_caption", pa.string()),
    ("hand_box", BOX),
)
LOOK: Final = ("phash", "thumb")  # what a picture that is gone is known by
HISTORY: Final = "hand_history"  # the decisions themselves, with their places in the journal
HANDED: Final = "edited by hand"  # why a copy is kept, where it is not larger
_TOLD: Final = {
    "hand_caption": "caption",
    "hand_added": "tags",
    "hand_removed": "tags",
    "hand_order": "tags",
    "hand_box": "crop",
}
RAW: Final = -1  # the place of what came with the raw picture: before the journal
_UNUSED: Final = "; its caption was not used"
_MUCH_LARGER: Final = 4  # quarters of an octave in pixels: a copy of twice the pixels is kept all the same


def as_text(history: History, start: Hand, lead: Lead, role: str) -> str | None:
    """A history as a cell of the table, None if it is empty. The trigger word is nobody's tag.

    Args:
        history: decisions with their places in the journal.
        start: what came with the raw picture; it precedes all.
        lead: what captions start with.
        role: of the picture.
    """
    if not history and start == Hand():
        return None
    raw: Event = {"added": [*start.added.values()]} | ({"caption": start.caption} if start.caption else {})
    told = {number: _without_lead(what, lead, role) for number, what in {RAW: raw, **history}.items()}
    return _as_cell({number: what for number, what in told.items() if what})


def _without_lead(event: Event, lead: Lead, role: str) -> Event:
    what: Event = {}
    for name in ("added", "removed", "order"):
        if event.get(name):
            what[name] = [tag for tag in event[name] if lead.tags(tag, role)]
    what = {name: tags for name, tags in what.items() if tags}
    for name in ("order", "caption", "box"):
        if name in event and name not in what and (name != "order" or event[name] is None):
            what[name] = lead.prose(event[name], role) if name == "caption" and event[name] else event[name]
    for name, belongs_to in (("old", "caption"), ("from_raw", "added")):
        if belongs_to in what and name in event:
            what[name] = event[name]  # in view of what it was written; whether it came with a raw picture
    return what


def _as_cell(history: History) -> str | None:
    return json.dumps(sorted(history.items()), ensure_ascii=False) if history else None


def history_of(row: Mapping[str, Any]) -> History:
    """What was decided on a picture and its copies, as `as_text` wrote it."""
    return {number: what for number, what in json.loads(row.get(HISTORY) or "[]")}


def head_start(row: Row) -> int:
    """By how many quarters of an octave, in pixels, a copy that was edited by hand counts as larger."""
    return _MUCH_LARGER if is_edited(row) else 0


def is_edited(row: Row) -> bool:
    """Whether people decided anything on this copy, beside what came with the raw picture."""
    return any(number != RAW for number in history_of(row))


def why_kept(why: str, kept: Row, dropped: Row) -> str:
    """Why one copy was kept, for people: the reason `larger` may stand for the work of hands."""
    larger = kept["width"] * kept["height"] > dropped["width"] * dropped["height"]
    return HANDED if why == "larger" and is_edited(kept) and not larger else why


def hand_over(dropped: Row, kept: Row) -> str:
    """Give the kept copy the decisions made on the dropped one: the newer of both on each thing stand.

    Args:
        dropped: with the history, width, height, trim_share, duplicate_of and distance.
        kept: the same, with hand columns; changed in place.
    Returns:
        What was done, for people; "" if nothing was.
    """
    own, theirs = history_of(kept), history_of(dropped)
    scale = box_scale(dropped, kept)
    newer = {n: scaled(what, scale) for n, what in theirs.items() if n != RAW and n not in own}
    if not newer:
        return ""
    before = {name: kept.get(name) for name in _TOLD}
    _set(kept, own | newer)
    told = dict.fromkeys(what for name, what in _TOLD.items() if kept[name] != before[name])
    if not told or max(newer) < max(own, default=RAW):
        return "; that one stands as it was edited by hand since"
    return f"; that one has its {' and '.join(told)} by hand now"


def hand_over_raw(dropped: Row, kept: Row, *, merge: bool) -> str:
    """Give the kept copy the caption beside the dropped one, as far as it has none that contradicts it.

    Args:
        dropped: with the history.
        kept: the same, with hand columns; changed in place.
        merge: whether anything is given at all, not only named.
    Returns:
        What becomes of that caption, for people; "" if there is none, or the kept copy has all of it.
    """
    history = history_of(kept)
    raw, own = history_of(dropped).get(RAW), history.get(RAW)
    if not raw:
        return _UNUSED if dropped.get("raw_caption") and not kept.get("raw_caption") else ""
    if raw.get("caption"):
        if own and own.get("caption") and same_prose(own["caption"], raw["caption"]):
            return ""
        if own or not merge:
            return _UNUSED
        _set(kept, history | {RAW: raw})
        counts = summed(history).caption is None and kept["hand_caption"] is not None
        return "; its caption went to that one" if counts else _UNUSED
    decided = summed(history)
    tags = [tag for tag in raw.get("added", ()) if tag_key(tag) not in {*decided.added, *decided.removed}]
    if not tags:
        return ""
    if not merge or decided.caption is not None:
        return f"; its tags were not used: {', '.join(tags)}"
    known = [*decided.added.values()]
    against = [tag for tag in tags if contradicts(tag, known)]
    given = [tag for tag in tags if tag not in against]
    _set(kept, history | {RAW: {"added": [*(own or {}).get("added", ()), *given]}})
    note = f"; its tags went to that one: {', '.join(given)}" if given else ""
    contradict = "; these of its tags contradict those of that one and were not used"
    return note + (f"{contradict}: {', '.join(against)}" if against else "")


def _set(row: Row, history: History) -> None:
    """Put a history into a row, and what it adds up to."""
    hand, raw = summed(history), summed({RAW: history.get(RAW, {})})
    caption = None if hand.caption is None else whole_caption(hand.caption, hand, raw, history)
    row.update(
        {
            HISTORY: _as_cell(history),
            "hand_added": [*hand.added.values()] or None,
            "hand_removed": [*hand.removed.values()] or None,
            "hand_order": list(hand.order or ()) or None,
            "hand_caption": caption,
            "hand_box": hand.box,
        }
    )


def left_out(rows: Sequence[Row], context: Context) -> list[Row]:
    """The rows that people left out, measured as the others were, to find their copies by.

    Args:
        rows: of one role, with state and hand_state; changed in place, so that the manifest tells what a
            picture looks like whose file may be gone when something like it comes.
        context: of the run; each is decoded.
    """
    out = []
    for row in rows:
        if row["state"] == DROPPED and row.get("hand_state") == "drop" and row.get("pixels_key"):
            seen = _measured(row, context)
            if seen is not None:
                row.update(seen)
                out.append(row)
    return out


def _measured(row: Row, context: Context) -> Row | None:
    measuring = Fingerprint()
    try:
        small = context.pixels.small(context.file(row), row["pixels_key"], measuring.short_side)
    except (RowError, FileNotFoundError):
        return None
    return measuring.measured(small)


def drop_copies_of(
    out: Sequence[Row],
    rows: Sequence[Row],
    find: Callable[[list[Row]], Sequence[Any]],
    give: Callable[[Row, Row], str],
) -> None:
    """Drop the copies of what people left out, those apart that they say `keep` of, and copies of these.

    Args:
        out: as `left_out` gives them; changed in place.
        rows: active ones; changed in place.
        find: copies among rows, each with `row` and `of` (indices) and `distance`.
        give: hands the decisions on one row over to another, and tells of it.
    """
    if not out or not rows:
        return
    spared = _copies_of_kept(out, rows, find, give)
    rest = [row for row in rows if row["id"] not in spared]
    # As if they were to be kept: copies are told from them, never they from copies.
    for copy in find([*({**row, "hand_state": "keep"} for row in out), *rest]):
        if copy.of < len(out) <= copy.row:
            row, gone = rest[copy.row - len(out)], out[copy.of]
            row.update(state=DROPPED, distance=copy.distance, duplicate_of=gone["id"])
            why = f"copy of {gone['path']}, distance {copy.distance}, which was taken out by hand"
            row["reason"] = f"dedup:left-out: {why}"


def _copies_of_kept(
    out: Sequence[Row],
    rows: Sequence[Row],
    find: Callable[[list[Row]], Sequence[Any]],
    give: Callable[[Row, Row], str],
) -> set[str]:
    """Ids of the copies of what people say `keep` of, which has the decisions on those they left out."""
    kept = [row for row in rows if row["hand_state"] == "keep"]
    others = [row for row in rows if row["hand_state"] != "keep"]
    if not kept:
        return set()
    spared, first = set[str](), len(kept) + len(out)
    for copy in find([*kept, *({**row, "hand_state": None} for row in out), *others]):
        if copy.of < len(kept) <= copy.row:
            if copy.row >= first:
                spared.add(others[copy.row - first]["id"])
                continue
            row, heir = out[copy.row - len(kept)], kept[copy.of]
            row.update(distance=copy.distance, duplicate_of=heir["id"])
            row["reason"] += f"; its copy {heir['path']} is kept by hand{give(row, heir)}"
    return spared
