"""Read what people decided: captions edited in the prepared folder, decisions, captions of raw pictures.

Edits found in files are journalled before anything is written, so that a run that dies loses neither side.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from dataprep.captions import decode, is_prose, tags_of
from dataprep.decisions import Hand, Image, append
from dataprep.edits import Found, Lead, contents, plan
from dataprep.encodings import EncodingName
from dataprep.errors import RowError
from dataprep.hashing import phash
from dataprep.manifest import ACTIVE, BASE, BOX, DROPPED, conform
from dataprep.snapshots import finish_undo, record
from dataprep.stage import Context, Row, Stage, TableFunction
from dataprep.store import disk_faults
from dataprep.taken import Taken, note_taken

log = logging.getLogger("dataprep.curate")

_OTHER_PICTURE = 16  # Hamming distance, bits of 64: far beyond what saving again changes

HAND = pa.schema(
    [
        ("hand_state", pa.string()),  # keep | drop, null: not decided by hand
        ("hand_box", BOX),
        ("hand_added", pa.list_(pa.string())),  # oldest first, the raw caption's before all; null: none
        ("hand_removed", pa.list_(pa.string())),  # null: none
        ("hand_order", pa.list_(pa.string())),  # null: the machine's order
        ("hand_caption", pa.string()),  # the whole caption without the trigger word, null: made of tags
    ]
)
_COLUMNS = [
    "path",
    "sha256",
    "pixels_key",
    "view",
    "role",
    "raw_caption",
    "state",
    "reason",
    "width",
    "height",
]
RawCaptions = Literal["merge", "keep", "ignore"]


def raw_hands(rows: Iterable[Row], captions: RawCaptions) -> dict[Image, Hand]:
    """Captions that came with the raw pictures, as decisions that precede all others.

    Args:
        rows: with sha256, view and raw_caption.
        captions: merge: tags count as added by hand, sentences as the whole caption; keep: the text is the
            whole caption; ignore: nothing.
    """
    hands: dict[Image, Hand] = {}
    for row in rows:
        text = decode((row["raw_caption"] or "").encode("utf-8", "surrogatepass")).text
        if not text or captions == "ignore":
            continue
        hand = hands.setdefault((row["sha256"], row["view"] or ""), Hand())
        if captions == "keep" or is_prose(text):
            hand.caption = hand.caption or text
        else:
            hand.apply({"added": tags_of(text)})
    return hands


class Curate(Stage, frozen=True):
    """Hand-made decisions as columns: they outrank machines through re-tagging, thresholds and pruning."""

    name: ClassVar[str] = "curate"
    scope: ClassVar[Literal["source", "row", "table", "sink"]] = "source"
    needs: ClassVar[pa.Schema] = BASE
    adds: ClassVar[pa.Schema] = HAND

    captions: Annotated[
        RawCaptions,
        Field(
            description="captions beside raw pictures: merge: their tags are kept and the machine's added; "
            "keep: used as they are, no tags added; ignore: not used"
        ),
    ] = "merge"
    caption_encoding: Annotated[
        EncodingName,
        Field(description="encoding of caption files that are not UTF-8; default: told by bytes"),
    ] = None
    trigger: Annotated[str | None, Field(description="word that captions start with")] = None
    class_word: Annotated[str | None, Field(description="word that follows the trigger word")] = None

    @property
    def lead(self) -> Lead:
        """What training captions start with."""
        return Lead(self.trigger, self.class_word)

    def open(self, context: Context) -> TableFunction:
        """The function reads OUT as it is when called, and journals edits unless the run is a dry one."""

        def apply(table: pa.Table) -> pa.Table:
            rows = table.select(_COLUMNS).to_pylist()
            if not context.dry_run:
                finish_undo(context.out)
                record(context.out)
            changed = rewritten(context.out, rows)
            moved = [(row["path"], old["sha256"], row["sha256"]) for old, row in changed]
            planned = plan(
                context.out, self.lead, raw_hands(rows, self.captions), moved, self.caption_encoding
            )
            told = {event["image"] for event in planned.followed}
            notes = [_followed(context, old, row) for old, row in changed if row["sha256"] in told]
            for note in [*notes, *planned.notes, *_boxes_outside(rows, planned.hands)]:
                log.warning(note)
            if not context.dry_run:
                append(context.out, planned.events)
                restore_names(context.out, planned.found)
                note_taken(context.out, Taken(planned.lines, contents(planned.found), running=True))
            return columns(rows, planned.hands, self.lead)

        return apply


def _boxes_outside(rows: list[Row], hands: Mapping[Image, Hand]) -> Iterator[str]:
    """For people: which crops that were set by hand show nothing of their picture."""
    for row in rows:
        box = hands.get((row["sha256"], row["view"] or ""), Hand()).box
        if box and row["width"] and (box["left"] >= row["width"] or box["top"] >= row["height"]):
            yield (
                f"{row['path']}: the box set by hand, {list(box.values())}, lies outside the picture of "
                f"{row['width']}x{row['height']} px, and is not used"
            )


def rewritten(out: Path, rows: list[Row]) -> list[tuple[Row, Row]]:
    """Raw files that kept their path but not their bytes: the last manifest's row and the row of now.

    Content that is still somewhere under RAW, or was there before, was renamed, not rewritten.

    Args:
        out: the prepared folder; may not exist yet.
        rows: of now, with path, role and sha256.
    """
    manifest = out / "manifest.parquet"
    wanted = ("path", "role", "sha256", "phash")
    try:
        names = [name for name in wanted if name in pq.read_schema(manifest).names]
        table = pq.read_table(manifest, columns=names)
    except (pa.ArrowInvalid, OSError):
        return []  # none yet; a damaged one is reported by those who need it
    before: dict[tuple[str, str], Row] = {}
    for row in table.to_pylist():
        before.setdefault((row["role"], row["path"]), row)
    now = {row["sha256"] for row in rows}
    known = {row["sha256"] for row in before.values()}
    pairs: dict[tuple[str, str], tuple[Row, Row]] = {}
    for row in rows:
        old = before.get((row["role"], row["path"]))
        if (
            old
            and row["sha256"]
            and old["sha256"]
            and old["sha256"] not in now
            and row["sha256"] not in known
        ):
            pairs.setdefault((row["role"], row["path"]), (old, row))
    return list(pairs.values())


def _followed(context: Context, old: Row, row: Row) -> str:
    """For people: that a file has new bytes and its decisions stay, and whether it is another picture."""
    head = f"{row['path']}: the file has new bytes since the last run"
    try:
        seen = phash(context.image(row)) if old.get("phash") else None
    except (RowError, FileNotFoundError):
        seen = None
    if seen is not None and (int(seen, 16) ^ int(old["phash"], 16)).bit_count() > _OTHER_PICTURE:
        return (
            f"{head} and shows another picture; what was decided by hand for the old one is kept: look at "
            "its caption, and at its crop if you set one"
        )
    return f"{head}; what was decided by hand stays with it"


def restore_names(out: Path, found: Iterable[Found]) -> None:
    """Give prepared files that people renamed their names back, where nothing else is there.

    Raises:
        DiskError: the disk is full, read-only or failing.
    """
    for item in found:
        if item.at is not None and not (out / item.file).exists():
            with disk_faults(out / item.file):
                (out / item.at).rename(out / item.file)


def columns(rows: list[Row], hands: Mapping[Image, Hand], lead: Lead) -> pa.Table:
    """The columns HAND, state and reason for rows with sha256, view, role, state and reason.

    The trigger word is nobody's tag. A picture left out by hand is dropped before anything is computed of it.
    """
    cells = [_cells(hands.get((row["sha256"], row["view"] or ""), Hand()), lead, row["role"]) for row in rows]
    for row, cell in zip(rows, cells, strict=True):
        left_out = cell["hand_state"] == "drop" and row["state"] == ACTIVE
        cell["state"] = DROPPED if left_out else row["state"]
        cell["reason"] = "curate:by-hand: left out by hand" if left_out else row["reason"]
    schema = pa.schema([*HAND, BASE.field("state"), BASE.field("reason")])
    return conform({name: [cell[name] for cell in cells] for name in schema.names}, schema, "curate")


def _cells(hand: Hand, lead: Lead, role: str) -> dict[str, Any]:
    def own(tags: Iterable[str]) -> list[str] | None:
        return [tag for tag in tags if lead.tags(tag, role)] or None

    return {
        "hand_state": hand.state,
        "hand_box": hand.box,
        "hand_added": own(hand.added.values()),
        "hand_removed": own(hand.removed.values()),
        "hand_order": None if hand.order is None else own(hand.order),
        "hand_caption": None if hand.caption is None else lead.prose(hand.caption, role),
    }
