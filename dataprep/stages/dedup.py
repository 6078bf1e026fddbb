"""Decide which pictures are copies of another, and which copy is kept."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from dataprep.duplicates import Copy, find_copies
from dataprep.manifest import ACTIVE, DROPPED
from dataprep.stage import Context, Row, Stage, TableFunction


class Dedup(Stage, frozen=True):
    """Settings of the duplicate search."""

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 2
    scope = "table"
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("role", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("bytes", pa.int64()),
            ("format", pa.string()),
            ("phash", pa.string()),
            ("trim_phash", pa.string()),
            ("mirror_phash", pa.string()),
            ("thumb", pa.string()),
            ("trim_thumb", pa.string()),
            ("trim_share", pa.float32()),
            ("hand_state", pa.string()),
            ("raw_caption", pa.string()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("duplicate_of", pa.string()),  # id of the copy that is kept
            ("distance", pa.int32()),  # to it, bits
            ("similar_to", pa.string()),  # id of a picture that is nearly near enough: look for yourself
            ("similar_distance", pa.int32()),  # to it, bits
        ]
    )

    max_distance: Annotated[int, Field(ge=0, le=16, description="Hamming distance of copies, of 64 bits")] = 8
    review_distance: Annotated[
        int, Field(ge=0, le=20, description="pictures up to this distance are reported, not dropped, bits")
    ] = 10
    mirrored: Annotated[bool, Field(description="whether mirror images count as copies")] = False

    def open(self, context: Context) -> TableFunction:
        """Rows of each role are compared among themselves."""

        def dedup(table: pa.Table) -> pa.Table:
            rows = table.to_pylist()
            for row in rows:
                row.update(dict.fromkeys(self.adds.names))
            for role in ("train", "reg"):
                self._mark([row for row in rows if row["role"] == role and row["state"] == ACTIVE])
            columns = [*self.adds, table.schema.field("state"), table.schema.field("reason")]
            return pa.table(
                {field.name: pa.array([row[field.name] for row in rows], field.type) for field in columns}
            )

        return dedup

    def _mark(self, rows: list[Row]) -> None:
        for copy in find_copies(rows, self.max_distance, mirrored=self.mirrored):
            _drop(rows, copy)
        if self.review_distance <= self.max_distance:
            return
        rest = [row for row in rows if row["state"] == ACTIVE]
        for near in find_copies(rest, self.review_distance, mirrored=self.mirrored):
            rest[near.row].update(similar_to=rest[near.of]["id"], similar_distance=near.distance)


def _drop(rows: list[Row], copy: Copy) -> None:
    row, kept = rows[copy.row], rows[copy.of]
    row.update(duplicate_of=kept["id"], distance=copy.distance, state=DROPPED)
    unused = "; its caption was not used" if row["raw_caption"] and not kept["raw_caption"] else ""
    row["reason"] = (
        f"dedup:duplicate: of {kept['path']}, distance {copy.distance}; that one is {copy.why}{unused}"
    )
