"""Heads and upper bodies as further views: rows of their own, each behind that of its picture."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.curate.decisions import History, Image, base_view, read_journal, same_view, scaled, summed
from dataprep.curate.edits import Lead
from dataprep.curate.heirs import box_scale
from dataprep.curate.inherited import image_of_row, no_place_text
from dataprep.digest import digest
from dataprep.expand import PARENT
from dataprep.framing.boxes import Box, box_within
from dataprep.framing.subjects import upper_body
from dataprep.manifest import ACTIVE, BASE, BOX, conform
from dataprep.stage import Context, Row, Stage, TableFunction
from dataprep.stages.curate import HAND
from dataprep.stages.curate import columns as hand_columns

log = logging.getLogger("dataprep.split")

View = Literal["head", "upper-body"]

_OWN = pa.schema(
    [
        BASE.field("id"),
        BASE.field("view"),
        BASE.field("raw_caption"),
        ("subject", BOX),
        ("head", BOX),
        ("focus_x", pa.float32()),
        ("focus_y", pa.float32()),
        ("duplicate_group", pa.string()),
        ("similar_to", pa.string()),
        ("similar_distance", pa.int32()),
    ]
)


class Split(Stage, frozen=True):
    """Which further views there are. Off by default: a picture is one row."""

    name: ClassVar[str] = "split"
    scope = "source"  # it reads what people decided about the views
    expands: ClassVar[bool] = True
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            *BASE,
            *HAND,
            *(field for field in _OWN if field.name not in BASE.names),
            ("duplicate_of", pa.string()),
            ("distance", pa.int32()),
            ("trim_share", pa.float32()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("region", BOX),  # what a further view shall show, px of the original; null for whole pictures
            *(field for field in _OWN if field.name not in BASE.names),
            *HAND,
        ]
    )

    views: Annotated[
        tuple[View, ...], Field(description="views that are cut out as further rows: head, upper-body")
    ] = ()
    min_side: Annotated[
        int, Field(ge=16, le=4096, description="views with a shorter side in the original are left out, px")
    ] = 256
    trigger: Annotated[str | None, Field(description="word that captions start with")] = None
    class_word: Annotated[str | None, Field(description="word that follows the trigger word")] = None

    def open(self, context: Context) -> TableFunction:
        """The function gives every row back, with the views of active training pictures behind each."""

        def split(table: pa.Table) -> pa.Table:
            schema = pa.schema([PARENT, *(f for f in BASE if f.name in _RESULT), *self.adds])
            further = _further(read_journal(context.out).histories())
            rows = table.to_pylist() if self.views or further else []
            children = [(i, child) for i, row in enumerate(rows) for child in self._children(row)]
            decided = _of_copies(rows, further)
            there = {image_of_row(child) for _, child in children}
            said = [image for image, history in decided.items() if summed(history).says_something]
            if lost := [image for image in said if image not in there]:
                paths = {row["sha256"]: str(row["path"]) for row in reversed(rows)}
                log.warning(no_place_text([f"{paths[sha256]} ({view})" for sha256, view in lost]))
            whole = pa.table({"parent": range(table.num_rows)}).append_column(BASE.field("id"), table["id"])
            whole = whole.append_column(self.adds.field("region"), pa.nulls(table.num_rows, BOX))
            for name in [name for name in schema.names if name not in whole.schema.names]:
                whole = whole.append_column(schema.field(name), table[name])
            if not children:
                return whole.select(schema.names)
            cut = self._decided(children, decided, schema)
            both = pa.concat_tables([whole.select(schema.names).cast(schema), cut])
            return both.sort_by([("parent", "ascending")])  # stable: each row before its children

        return split

    def _decided(
        self, children: list[tuple[int, Row]], decided: Mapping[Image, History], schema: pa.Schema
    ) -> pa.Table:
        """The children with what people decided about each of them."""
        rows = [{**child, "parent": i} for i, child in children]
        lead = Lead(self.trigger, self.class_word)
        sums = {image: summed(history) for image, history in decided.items()}
        hands = hand_columns(rows, sums, lead).to_pylist()
        rows = [{**row, **hand} for row, hand in zip(rows, hands, strict=True)]
        return conform({name: [row[name] for row in rows] for name in schema.names}, schema, self.name)

    def _children(self, row: Row) -> list[Row]:
        if row["state"] != ACTIVE or row["role"] != "train" or row["head"] is None:
            return []
        width, height = row["width"], row["height"]
        head = box_within(row["head"], width, height)
        subject = None if row["subject"] is None else box_within(row["subject"], width, height)
        if head is None:
            return []
        boxes = {"head": head, "upper-body": upper_body(head, subject, width, height)}
        return [
            _child(row, view, box)
            for view in dict.fromkeys(self.views)
            if (box := boxes[view]) is not None and min(box.width, box.height) >= self.min_side
        ]


def _further(histories: Mapping[Image, History]) -> dict[Image, History]:
    """The decisions on views that are cut from a picture or a frame of it."""
    return {image: history for image, history in histories.items() if base_view(image[1]) != image[1]}


def _of_copies(rows: list[Row], further: Mapping[Image, History]) -> dict[Image, History]:
    """The decisions on views of each active picture, those on views of its copies included."""
    by_picture: dict[Image, list[str]] = defaultdict(list)
    for sha256, view in further:
        by_picture[sha256, base_view(view)].append(view)
    active = {row["id"]: row for row in rows if row["state"] == ACTIVE and row["role"] == "train"}
    merged: dict[Image, History] = {}
    for row in rows if further else ():
        kept, image = active.get(row["duplicate_of"] or row["id"]), image_of_row(row)
        if kept is None:
            continue
        scale = (1.0, 1.0) if kept is row else box_scale(row, kept)
        for view in by_picture.get(image, ()):
            at = kept["sha256"], same_view(view, image[1], kept["view"] or "") or ""
            known = merged.get(at, {})
            handed = {number: scaled(what, scale) for number, what in further[image[0], view].items()}
            merged[at] = known | handed if kept is row else handed | known
    return merged


_RESULT = ("id", "view", "raw_caption", "state", "reason")


def _child(row: Row, view: str, box: Box) -> Row:
    """The row of a view. What was written beside the picture speaks of the whole of it."""
    name = f"{row['view']}-{view}" if row["view"] else view
    return {
        **dict.fromkeys(_OWN.names),
        "id": digest(row["role"], row["path"], name),
        "sha256": row["sha256"],
        "role": row["role"],
        "view": name,
        "state": ACTIVE,
        "reason": None,
        "region": box.as_dict(),
        "focus_x": (box.left + box.right) / 2 / row["width"],
        "focus_y": (box.top + box.bottom) / 2 / row["height"],
    }
