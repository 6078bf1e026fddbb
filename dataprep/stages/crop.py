"""Say where each picture's subject is; the bucket stage cuts around it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.manifest import BOX
from dataprep.stage import Context, Row, Stage, TableFunction, per_row

_SHORT_SIDE = 256  # px of the picture that is looked at; the one that fingerprint measured


class Crop(Stage, frozen=True):
    """Settings of the search for the subject."""

    name: ClassVar[str] = "crop"
    version: ClassVar[int] = 2
    scope = "row"
    needs: ClassVar[pa.Schema] = pa.schema(
        [("pixels_key", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("subject", BOX),  # what must stay in the frame, null if nothing stands out
            ("focus_x", pa.float32()),  # the point to keep near the middle, share of the width
            ("focus_y", pa.float32()),
        ]
    )

    focus: Annotated[
        Literal["subject", "saliency", "center"],
        Field(description="subject: keep it whole where the bucket allows; saliency: only lean towards it"),
    ] = "subject"

    def open(self, context: Context) -> TableFunction:
        """The subject and focus of each picture, found on a reduced decode."""
        from dataprep.saliency import find_focus

        def find(row: Row) -> dict[str, Any]:
            if self.focus == "center":
                return {"subject": None, "focus_x": 0.5, "focus_y": 0.5}
            image = context.pixels.small(context.file(row), row["pixels_key"], _SHORT_SIDE)
            focus = find_focus(image, row["width"], row["height"])
            keep = focus.subject is not None and self.focus == "subject"
            return {
                "subject": focus.subject.as_dict() if keep and focus.subject is not None else None,
                "focus_x": focus.x,
                "focus_y": focus.y,
            }

        return per_row(self, find)
