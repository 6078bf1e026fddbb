"""Decide which pictures are copies of another, and which copy is kept."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.copies.duplicates import find_copies
from dataprep.curate.hand_copies import (
    COLUMNS,
    HISTORY,
    LOOK,
    drop_copies_of,
    hand_over,
    hand_over_raw,
    left_out,
    why_kept,
)
from dataprep.errors import ConfigError
from dataprep.manifest import ACTIVE, DROPPED
from dataprep.stage import Context, Row, Stage, TableFunction


class Dedup(Stage, frozen=True):
    """Settings of the duplicate search."""

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 9
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
            ("mirror_trim_phash", pa.string()),
            ("thumb", pa.string()),
            ("trim_thumb", pa.string()),
            ("trim_share", pa.float32()),
            ("edges", pa.string()),
            ("page", pa.string()),
            ("fine", pa.string()),
            ("features", pa.string()),
            ("hand_state", pa.string()),
            ("hand_added", pa.list_(pa.string())),
            *COLUMNS,
            (HISTORY, pa.string()),
            ("sha256", pa.string()),
            ("raw_caption", pa.string()),
            ("pixels_key", pa.string()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("duplicate_of", pa.string()),  # id of the copy that is kept
            ("distance", pa.int32()),  # to it, bits
            ("duplicate_group", pa.string()),  # id of the kept one, for it and all its copies
            ("similar_to", pa.string()),  # id of a picture that is nearly near enough: look for yourself
            ("similar_distance", pa.int32()),  # to it, bits
            ("hand_added", pa.list_(pa.string())),  # as curate found them, and those of dropped copies
            *COLUMNS,  # and so are these
            (HISTORY, pa.string()),
            *((name, pa.string()) for name in LOOK),  # of pictures left out by hand too
        ]
    )

    max_distance: Annotated[int, Field(ge=0, le=16, description="Hamming distance of copies, of 64 bits")] = 8
    review_distance: Annotated[
        int, Field(ge=0, le=20, description="pictures up to this distance are reported, not dropped, bits")
    ] = 10
    mirrored: Annotated[bool, Field(description="whether mirror images count as copies")] = False
    crops: Annotated[
        bool, Field(description="whether pictures cut out of others, at any size, count as copies")
    ] = False
    captions: Annotated[
        Literal["merge", "report"],
        Field(description="tags that came with a dropped copy: merge: given to the kept one; report: named"),
    ] = "merge"

    def open(self, context: Context) -> TableFunction:
        """Rows of each role are compared among themselves."""

        def dedup(table: pa.Table) -> pa.Table:
            rows = table.to_pylist()
            added = dict.fromkeys(name for name in self.adds.names if name not in self.needs.names)
            for row in rows:
                row.update(added)
            for role in ("train", "reg"):
                own = [row for row in rows if row["role"] == role]
                alive = [row for row in own if row["state"] == ACTIVE]
                drop_copies_of(
                    left_out(own, context),
                    alive,
                    lambda among: find_copies(among, self.max_distance, mirrored=self.mirrored),
                    self._give,
                )
                self._mark([row for row in alive if row["state"] == ACTIVE])
            columns = [*self.adds, table.schema.field("state"), table.schema.field("reason")]
            return pa.table(
                {field.name: pa.array([row[field.name] for row in rows], field.type) for field in columns}
            )

        return dedup

    def _mark(self, rows: list[Row]) -> None:
        groups: dict[int, dict[str, str]] = {}
        for copy in find_copies(rows, self.max_distance, mirrored=self.mirrored):
            row, kept = rows[copy.row], rows[copy.of]
            row.update(distance=copy.distance)
            why = why_kept(copy.why, kept, row)
            told = f"duplicate: of {kept['path']}, distance {copy.distance}; that one is {why}"
            groups.setdefault(copy.of, {})[row["id"]] = told
        by_id = {row["id"]: row for row in rows}
        for of, told_of in groups.items():
            for row in sorted((by_id[name] for name in told_of), key=lambda row: str(row["path"])):
                self._drop(row, rows[of], told_of[row["id"]])
        rest = [row for row in rows if row["state"] == ACTIVE]
        if self.crops:
            self._drop_crops(rest)
            _lead_to_kept(rows)
        if self.review_distance <= self.max_distance:
            return
        rest = [row for row in rest if row["state"] == ACTIVE]
        for near in find_copies(rest, self.review_distance, mirrored=self.mirrored, lenient=True):
            rest[near.row].update(similar_to=rest[near.of]["id"], similar_distance=near.distance)

    def _drop_crops(self, rows: list[Row]) -> None:
        from dataprep.copies.crops import find_crops  # imports OpenCV

        if any(row["features"] is None for row in rows):
            raise ConfigError(
                "dedup.crops: the pictures were not measured for it; set crops = true at the top of "
                "dataprep.toml (or --set crops=true), which fingerprint and dedup both read"
            )
        for cut in sorted(find_crops([row["features"] for row in rows]), key=lambda cut: cut.share):
            row, kept = rows[cut.row], rows[cut.of]
            if kept["state"] == ACTIVE and row["hand_state"] != "keep":
                self._drop(row, kept, f"crop: of {kept['path']}, shows {cut.share:.0%} of it")

    def _drop(self, row: Row, kept: Row, why: str) -> None:
        row.update(duplicate_of=kept["id"], duplicate_group=kept["id"], state=DROPPED)
        kept["duplicate_group"] = kept["id"]
        row["reason"] = f"dedup:{why}{self._give(row, kept)}"

    def _give(self, row: Row, kept: Row) -> str:
        """Hand over what was decided on a row and what came with it; says what was done, for people."""
        return hand_over(row, kept) + hand_over_raw(row, kept, merge=self.captions == "merge")


def _lead_to_kept(rows: list[Row]) -> None:
    """Let copies of a picture that was dropped as a cut-out lead to the one that is kept for it."""
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        first = last = row["duplicate_of"]
        while last is not None and by_id[last]["duplicate_of"] is not None:
            last = by_id[last]["duplicate_of"]
        if last != first:
            row.update(duplicate_of=last, duplicate_group=last, distance=None)
            row["reason"] += f"; that one was dropped as a cut-out of {by_id[last]['path']}"
