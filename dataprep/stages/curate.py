"""Read what people decided: captions edited in the prepared folder, decisions, captions of raw pictures.

Edits found in files are journalled before anything is written, so that a run that dies loses neither side.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.curate.decisions import Event, Hand, History, Image, append, image_of
from dataprep.curate.edits import Found, Lead, Plan, contents, plan
from dataprep.curate.encodings import EncodingName
from dataprep.curate.hand_copies import as_text
from dataprep.curate.heirs import (
    Before,
    before,
    by_copy,
    by_look,
    by_name,
    lost_edits,
    lost_text,
    remember,
    size_change,
)
from dataprep.curate.journal_guard import check_whole, keep, loss
from dataprep.curate.leads import Leads, known_leads, pairs
from dataprep.curate.raw_captions import RawCaptions, raw_hands, whole_caption
from dataprep.curate.snapshots import finish_undo, record
from dataprep.curate.taken import Taken, note_taken
from dataprep.errors import RowError
from dataprep.manifest import ACTIVE, BASE, BOX, DROPPED, conform
from dataprep.stage import Context, Row, Stage, TableFunction
from dataprep.stages.fingerprint import Fingerprint
from dataprep.store import disk_faults

log = logging.getLogger("dataprep.curate")

_NAMED = 5
_STAYS = "what was decided by hand stays with it"
_STAYS_OUT = 'it was left out by hand, and stays out ("state": "keep" in decisions.jsonl takes it in)'
_OTHER_PICTURE = 16  # Hamming distance, bits of 64: far beyond what saving again changes

HAND = pa.schema(
    [
        ("hand_state", pa.string()),  # keep | drop, null: not decided by hand
        ("hand_box", BOX),
        ("hand_added", pa.list_(pa.string())),  # oldest first, the raw caption's before all; null: none
        ("hand_removed", pa.list_(pa.string())),  # null: none
        ("hand_order", pa.list_(pa.string())),  # null: the machine's order
        ("hand_caption", pa.string()),  # the whole caption without the trigger word, null: made of tags
        ("hand_history", pa.string()),  # these decisions with their places in the journal, JSON; null: none
    ]
)
_COLUMNS = [
    "id",
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
    lost_decisions: Annotated[
        Literal["stop", "skip"],
        Field(
            description="where lines of decisions.jsonl are damaged or gone: stop: `dataprep undo` restores "
            "them; skip: go on without"
        ),
    ] = "stop"
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
            self._check_decisions(context)
            if not context.dry_run:
                finish_undo(context.out)
                record(context.out)
            known = before(context.out)
            planned, notes, lost = self._planned(context, rows, known)
            left = _triggers_left(rows, planned.hands, known_leads(context.out, self.lead))
            for note in [*notes, *planned.notes, *left, *_boxes_outside(rows, planned.hands)]:
                log.warning(note)
            for told in _read_as_prose(rows, self.captions):
                log.info(told)
            if not context.dry_run:
                append(context.out, planned.events)
                remember(context.out, lost, known)
                restore_names(context.out, planned.found)
                leads = known_leads(context.out, self.lead)
                taken = Taken(planned.lines, contents(planned.found), running=True, leads=pairs(leads.all))
                note_taken(context.out, taken)
                keep(context.out)
            return columns(rows, planned.hands, self.lead, raw_hands(rows, self.captions), planned.histories)

        return apply

    def _check_decisions(self, context: Context) -> None:
        if self.lost_decisions == "stop":
            check_whole(context.out)
        elif (found := loss(context.out)) is not None:
            log.warning("%s; went on without what is lost (curate.lost_decisions)", found)

    def _planned(
        self, context: Context, rows: list[Row], known: Before
    ) -> tuple[Plan, list[str], Mapping[str, bool]]:
        """What people decided, what to tell them of it, contents whose decisions nothing holds: if edited."""
        start, now = raw_hands(rows, self.captions), {row["sha256"] for row in rows}
        seen = {row["sha256"] for row in known.rows}

        def planned_with(pairs: list[tuple[Row, Row]]) -> Plan:
            moved = [(row["path"], old["sha256"], row["sha256"], size_change(old, row)) for old, row in pairs]
            return plan(context.out, self.lead, start, moved, self.caption_encoding)

        def lost_in(planned: Plan) -> list[Image]:
            return lost_edits(planned.histories, planned.passed_on, now, seen)

        changed = by_name(known, rows)
        planned = planned_with(changed)
        if lost := lost_in(planned):
            changed += by_look((sha256 for sha256, _ in lost), known, rows, partial(_look, context))
            planned = planned_with(changed)
        moved = {old["sha256"]: row["sha256"] for old, row in changed}
        raw = partial(_raw_hand, captions=self.captions)
        lost = lost_in(planned)
        copied = by_copy(lost, known, rows, moved, raw, planned.hands)
        planned = planned.with_heirs([event for *_, event in copied])
        out = {image for image, hand in planned.hands.items() if hand.state == "drop"}
        told = {event["image"] for event in planned.followed}
        notes = [_followed(context, old, row, out) for old, row in changed if row["sha256"] in told]
        notes += [
            f"{row['path']}: its copy {old['path']} is gone; {_inherited(event, lost, out)}"
            for old, row, event in copied
        ]
        gone: dict[str, bool] = {}
        for image in lost_in(planned):
            gone[image[0]] = gone.get(image[0], False) or planned.hands[image].says_something
        last = {row["sha256"] for row in known.last}
        # Once: `check` goes on telling.
        new = [sha256 for sha256, edited in gone.items() if edited and sha256 in last]
        return planned, [*notes, lost_text(new, known)] if new else notes, gone


def _raw_hand(row: Row, captions: RawCaptions) -> Hand:
    """What the caption beside a raw picture says."""
    (hand,) = raw_hands([{"view": "", "raw_caption": None} | row], captions).values() or [Hand()]
    return hand


def _inherited(event: Event, lost: Sequence[Image], out: AbstractSet[Image]) -> str:
    """For people: what a copy has of a picture that is gone; whether it has the same views, `split` tells."""
    image = str(event["heir_of"]), str(event.get("heir_view") or "")
    if image_of(event) in out:
        return _STAYS_OUT
    whole = image in lost or not any(sha256 == image[0] for sha256, _ in lost)
    return _STAYS if whole else "what was decided by hand on views of it goes to the same views of this one"


def _look(context: Context, row: Row) -> tuple[str, str] | None:
    """A raw picture's phash and thumb, as fingerprint will measure them; None: it cannot be decoded."""
    if row["pixels_key"] is None:  # a file that scan could not read
        return None
    measuring = Fingerprint()
    try:
        small = context.pixels.small(context.file(row), row["pixels_key"], measuring.short_side)
    except (RowError, FileNotFoundError):
        return None
    seen = measuring.measured(small)
    return seen["phash"], seen["thumb"]


def _read_as_prose(rows: list[Row], captions: RawCaptions) -> Iterator[str]:
    """For people: which captions beside raw pictures count as sentences, and so get no machine's tags."""
    hands = raw_hands(rows, captions) if captions == "merge" else {}
    found = [row for row in rows if hands.get((row["sha256"], row["view"] or ""), Hand()).caption]
    if found:
        names = sorted({str(row["path"]) for row in found})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield (
            f"{len(names)} of the captions beside raw pictures read as sentences, not as tags: they stand as "
            f"they are, without the machine's tags: {', '.join(names[:3])}{more}"
        )


def _triggers_left(rows: list[Row], hands: Mapping[Image, Hand], leads: Leads) -> Iterator[str]:
    """For people: which captions written by hand still say the trigger word of an earlier run."""
    said: dict[str, list[str]] = {}
    for row in rows:
        text = hands.get((row["sha256"], row["view"] or ""), Hand()).caption
        old = leads.left_in(leads.prose(text, "train", leads.of(text))) if text else None
        if old is not None and row["role"] == "train":
            said.setdefault(old, []).append(row["path"])
    for old, paths in said.items():
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        yield (
            f"{', '.join(paths[:_NAMED])}{more}: the caption written by hand still says {old!r}, the trigger "
            "word of an earlier run: change it in the caption file"
        )


def _boxes_outside(rows: list[Row], hands: Mapping[Image, Hand]) -> Iterator[str]:
    """For people: which crops that were set by hand show nothing of their picture."""
    for row in rows:
        box = hands.get((row["sha256"], row["view"] or ""), Hand()).box
        if box and row["width"] and (box["left"] >= row["width"] or box["top"] >= row["height"]):
            yield (
                f"{row['path']}: the box set by hand, {list(box.values())}, lies outside the picture of "
                f"{row['width']}x{row['height']} px, and is not used"
            )


def _followed(context: Context, old: Row, row: Row, out: AbstractSet[Image]) -> str:
    """For people: that a file has new bytes and its decisions stay, and whether it is another picture."""
    moved = row["path"] != old["path"]
    head = f"{row['path']}: " + (
        f"the file has the place of {old['path']}, which is gone"
        if moved
        else "the file has new bytes since the last run"
    )
    seen = _look(context, row) if old.get("phash") else None
    far = seen is not None and (int(seen[0], 16) ^ int(old["phash"], 16)).bit_count() > _OTHER_PICTURE
    lost_crop = size_change(old, row).get("box_scale", ()) is None
    but = ", but for a crop by hand: it has another shape" if lost_crop else ""
    if far:
        return (
            f"{head} and shows another picture; what was decided by hand for the old one is kept{but}: look "
            "at its caption, and at its crop if you set one"
        )
    return f"{head}; {_STAYS_OUT if (row['sha256'], row['view'] or '') in out else _STAYS}{but}"


def restore_names(out: Path, found: Iterable[Found]) -> None:
    """Give prepared files that people renamed their names back, where nothing else is there.

    Raises:
        DiskError: the disk is full, read-only or failing.
    """
    for item in found:
        if item.at is not None and not (out / item.file).exists():
            with disk_faults(out / item.file):
                (out / item.at).rename(out / item.file)


def columns(
    rows: list[Row],
    hands: Mapping[Image, Hand],
    lead: Lead,
    raw: Mapping[Image, Hand] | None = None,
    histories: Mapping[Image, History] | None = None,
) -> pa.Table:
    """The columns HAND, state and reason for rows with sha256, view, role, state and reason.

    The trigger word is nobody's tag. A picture left out by hand is dropped before anything is computed of it.
    A whole caption has the tags added by hand that it was not written in view of.
    """
    images = [(row["sha256"], row["view"] or "") for row in rows]
    cells = [
        _cells(
            hands.get(image, Hand()),
            lead,
            row["role"],
            (raw or {}).get(image, Hand()),
            (histories or {}).get(image, {}),
        )
        for row, image in zip(rows, images, strict=True)
    ]
    for row, cell in zip(rows, cells, strict=True):
        left_out = cell["hand_state"] == "drop" and row["state"] == ACTIVE
        cell["state"] = DROPPED if left_out else row["state"]
        cell["reason"] = "curate:by-hand: left out by hand" if left_out else row["reason"]
    schema = pa.schema([*HAND, BASE.field("state"), BASE.field("reason")])
    return conform({name: [cell[name] for cell in cells] for name in schema.names}, schema, "curate")


def _cells(hand: Hand, lead: Lead, role: str, raw: Hand, history: History) -> dict[str, Any]:
    def own(tags: Iterable[str]) -> list[str] | None:
        return [tag for tag in tags if lead.tags(tag, role)] or None

    caption = None if hand.caption is None else lead.prose(hand.caption, role)
    if caption is not None:
        tags = {key: tag for key, tag in hand.added.items() if own([tag])}
        caption = whole_caption(caption, replace(hand, added=tags), raw, history)
    return {
        "hand_state": hand.state,
        "hand_box": hand.box,
        "hand_added": own(hand.added.values()),
        "hand_removed": own(hand.removed.values()),
        "hand_order": None if hand.order is None else own(hand.order),
        "hand_caption": caption,
        "hand_history": as_text(history, raw, lead, role),
    }
