"""Read what people decided: captions edited in the prepared folder, decisions, captions of raw pictures.

Edits found in files are journalled before anything is written, so that a run that dies loses neither side.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.captions import decode, is_prose, tags_of
from dataprep.decisions import Hand, Image, append
from dataprep.edits import Lead, contents, plan
from dataprep.manifest import ACTIVE, BASE, BOX, DROPPED, conform
from dataprep.snapshots import finish_undo, record
from dataprep.stage import Context, Row, Stage, TableFunction
from dataprep.taken import Taken, note_taken

log = logging.getLogger("dataprep.curate")

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
    trigger: Annotated[str | None, Field(description="word that captions start with")] = None
    class_word: Annotated[str | None, Field(description="word that follows the trigger word")] = None

    @property
    def lead(self) -> Lead:
        """What training captions start with."""
        return Lead(self.trigger, self.class_word)

    def open(self, context: Context) -> TableFunction:
        """The function reads OUT as it is when called, and journals edits unless the run is a dry one."""

        def apply(table: pa.Table) -> pa.Table:
            names = ["sha256", "view", "role", "raw_caption", "state", "reason"]
            rows = table.select(names).to_pylist()
            if not context.dry_run:
                finish_undo(context.out)
                record(context.out)
            planned = plan(context.out, self.lead, raw_hands(rows, self.captions))
            for note in planned.notes:
                log.warning(note)
            if not context.dry_run:
                append(context.out, planned.events)
                note_taken(context.out, Taken(planned.lines, contents(planned.found), running=True))
            return columns(rows, planned.hands, self.lead)

        return apply


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
