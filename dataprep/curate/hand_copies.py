"""What people decided about copies of one picture: no decision is lost with the copy that it was made on.

A copy that people worked on is kept, unless another is much larger; then that one takes its decisions over.
The copies of a picture that people left out are left out too, except those they say `keep` of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from dataprep.curate.captions import tag_key, tags_of
from dataprep.curate.heirs import same_shape
from dataprep.errors import RowError
from dataprep.manifest import BOX, DROPPED
from dataprep.stage import Context
from dataprep.stages.fingerprint import Fingerprint

Row = dict[str, Any]

# Columns of curate that are handed over, beside hand_added.
COLUMNS: Final = (
    ("hand_removed", pa.list_(pa.string())),
    ("hand_order", pa.list_(pa.string())),
    ("hand_caption", pa.string()),
    ("hand_box", BOX),
)
HANDED: Final = "edited by hand"  # why a copy is kept, where it is not larger
_MUCH_LARGER: Final = 4  # quarters of an octave in pixels: a copy of twice the pixels is kept all the same
_SAME_TRIM: Final = 0.02  # share of the area within uniform borders by which two copies may differ


def head_start(row: Row) -> int:
    """By how many quarters of an octave, in pixels, a copy that was edited by hand counts as larger."""
    return _MUCH_LARGER if is_edited(row) else 0


def is_edited(row: Row) -> bool:
    """Whether people decided anything on this copy, beside what came with the raw picture."""
    decided = any(
        row.get(name) is not None for name in ("hand_removed", "hand_order", "hand_box", "hand_copies")
    )
    return decided or bool(_added(row)) or _caption(row) is not None


def _added(row: Row) -> list[str]:
    """Tags added by hand, without those of the caption beside the raw picture."""
    beside = {tag_key(tag) for tag in tags_of(row.get("raw_caption") or "")}
    return [tag for tag in row.get("hand_added") or () if tag_key(tag) not in beside]


def _caption(row: Row) -> str | None:
    """The whole caption by hand, None where it is the one beside the raw picture."""
    caption = row.get("hand_caption")
    beside = " ".join((row.get("raw_caption") or "").split())
    return caption if caption and not beside.endswith(" ".join(caption.split())) else None


def why_kept(why: str, kept: Row, dropped: Row) -> str:
    """Why one copy was kept, for people: the reason `larger` may stand for the work of hands."""
    larger = kept["width"] * kept["height"] > dropped["width"] * dropped["height"]
    return HANDED if why == "larger" and is_edited(kept) and not larger else why


def is_settled(dropped: Row, others: Iterable[Row]) -> bool:
    """Whether another copy had this one's decisions when it was edited: what stands there is newer."""
    return any(dropped.get("sha256") in (row.get("hand_copies") or ()) for row in others)


def newest_first(group: Sequence[Row], kept: Row) -> list[Row]:
    """Copies of one picture in the order in which `hand_over` wants them."""
    return sorted(group, key=lambda row: not is_settled(kept, [row]))


def hand_over(dropped: Row, kept: Row, others: Sequence[Row] = ()) -> str:
    """Give the kept copy what people decided on the dropped one; what they decided on it itself stays.

    What was decided after the decisions of copies had been taken over is newer than these, and stands alone.

    Args:
        dropped: with hand columns, sha256, raw_caption, width, height, trim_share and distance.
        kept: the same, changed in place.
        others: dropped for the same one.
    Returns:
        What was done, for people; "" if nothing was.
    """
    if is_settled(dropped, [kept, *others]):
        return "; that one stands as it was edited by hand since"
    if is_settled(kept, [dropped]):
        for name in ("hand_added", "hand_removed", "hand_order", "hand_caption"):
            kept[name] = dropped.get(name)
        _hand_over_box(dropped, kept)
        return "; that one has what was decided by hand on this one since"
    told = [*_hand_over_caption(dropped, kept), *_hand_over_box(dropped, kept)]
    return f"; that one has its {' and '.join(told)} by hand now" if told else ""


def _hand_over_caption(dropped: Row, kept: Row) -> list[str]:
    caption = _caption(dropped)
    if caption is not None:
        if is_edited(kept):
            return []  # two people's work on one caption: that of the kept one
        kept["hand_caption"] = caption
        return ["caption"]
    if kept.get("hand_caption") is not None:
        return []
    own = {tag_key(tag) for tag in [*_added(kept), *(kept.get("hand_removed") or ())]}
    removed = [tag for tag in dropped.get("hand_removed") or () if tag_key(tag) not in own]
    added = [tag for tag in _added(dropped) if tag_key(tag) not in own]
    order = dropped.get("hand_order") if kept.get("hand_order") is None else None
    gone = {tag_key(tag) for tag in removed}
    kept["hand_added"] = _joined([t for t in kept.get("hand_added") or () if tag_key(t) not in gone], added)
    kept["hand_removed"] = _joined(kept.get("hand_removed") or (), removed)
    kept["hand_order"] = order or kept.get("hand_order")
    return ["tags"] if removed or added or order else []


def _joined(own: Sequence[str], more: Sequence[str]) -> list[str] | None:
    known = {tag_key(tag) for tag in own}
    return [*own, *(tag for tag in more if tag_key(tag) not in known)] or None


def _hand_over_box(dropped: Row, kept: Row) -> list[str]:
    box, trims = dropped.get("hand_box"), [row.get("trim_share") or 1.0 for row in (dropped, kept)]
    is_whole = dropped.get("distance") is not None and abs(trims[0] - trims[1]) <= _SAME_TRIM
    if box is None or kept.get("hand_box") is not None or not is_whole or not same_shape(dropped, kept):
        return []
    across, down = (kept[side] / dropped[side] for side in ("width", "height"))
    sides = {"left": across, "right": across, "top": down, "bottom": down}
    kept["hand_box"] = {side: round(box[side] * scale) for side, scale in sides.items()}
    return ["crop"]


def left_out(rows: Sequence[Row], context: Context) -> list[Row]:
    """The rows that people left out, measured as the others were, to find their copies by.

    Args:
        rows: of one role, with state and hand_state.
        context: of the run; each is decoded.
    """
    measured = []
    for row in rows:
        if row["state"] == DROPPED and row.get("hand_state") == "drop" and row.get("pixels_key"):
            seen = _measured(row, context)
            # As if it were to be kept: copies are told from it, never it from them.
            measured += [] if seen is None else [{**row, **seen, "hand_state": "keep"}]
    return measured


def _measured(row: Row, context: Context) -> Row | None:
    measuring = Fingerprint()
    try:
        small = context.pixels.small(context.file(row), row["pixels_key"], measuring.short_side)
    except (RowError, FileNotFoundError):
        return None
    return measuring.measured(small)


def drop_copies_of(
    out: Sequence[Row], rows: Sequence[Row], find: Callable[[list[Row]], Sequence[Any]]
) -> None:
    """Drop the copies of what people left out, those apart that they say `keep` of.

    Args:
        out: as `left_out` gives them.
        rows: active ones; changed in place.
        find: copies among rows, each with `row` and `of` (indices) and `distance`.
    """
    if not out or not rows:
        return
    for copy in find([*out, *rows]):
        if copy.of < len(out) <= copy.row:
            row, gone = rows[copy.row - len(out)], out[copy.of]
            row.update(state=DROPPED, distance=copy.distance)
            why = f"copy of {gone['path']}, distance {copy.distance}, which was taken out by hand"
            row["reason"] = f"dedup:left-out: {why}"
