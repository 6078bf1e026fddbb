"""Say where each picture's subject is; the bucket stage cuts around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.manifest import BOX
from dataprep.stage import Context, Row, Stage, TableFunction, per_row

if TYPE_CHECKING:
    from PIL import Image

    from dataprep.boxes import Box
    from dataprep.saliency import Focus

_SHORT_SIDE = 256  # px of the picture that is looked at; the one that fingerprint measured


class Crop(Stage, frozen=True):
    """Settings of the search for the subject."""

    name: ClassVar[str] = "crop"
    version: ClassVar[int] = 3
    scope = "row"
    needs: ClassVar[pa.Schema] = pa.schema(
        [("pixels_key", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("subject", BOX),  # what must stay in the frame, null if nothing stands out
            ("head", BOX),  # of the largest face, or of a standing figure by proportion; null if none
            ("focus_x", pa.float32()),  # the point to keep near the middle, share of the width
            ("focus_y", pa.float32()),
        ]
    )

    focus: Annotated[
        Literal["subject", "saliency", "center"],
        Field(description="subject: keep it whole where the bucket allows; saliency: only lean towards it"),
    ] = "subject"
    faces: Annotated[
        bool,
        Field(description="also keep faces in the frame, of photographs; needs opencv-python-headless<5"),
    ] = False

    def open(self, context: Context) -> TableFunction:
        """The subject and focus of each picture, found on a reduced decode."""
        from dataprep.saliency import find_focus
        from dataprep.subjects import face_finder

        faces = face_finder() if self.faces else None

        def find(row: Row) -> dict[str, Any]:
            if self.focus == "center":
                return {"subject": None, "head": None, "focus_x": 0.5, "focus_y": 0.5}
            image = context.pixels.small(context.file(row), row["pixels_key"], _SHORT_SIDE)
            focus = find_focus(image, row["width"], row["height"])
            return self._with_heads(row, focus, _heads(faces(image), image, row) if faces else [])

        return per_row(self, find)

    def _with_heads(self, row: Row, focus: Focus, heads: list[Box]) -> dict[str, Any]:
        from dataprep.subjects import head_of_figure, union

        found = [*heads, *([] if focus.subject is None else [focus.subject])]
        head = heads[0] if heads else None
        if head is None and focus.subject is not None:
            head = head_of_figure(focus.subject, row["width"], row["height"])
        x, y = focus.x, focus.y
        if heads and focus.subject is None:  # nothing else stands out: the faces are the subject
            middle = union(heads)
            x = (middle.left + middle.right) / 2 / row["width"]
            y = (middle.top + middle.bottom) / 2 / row["height"]
        keep = union(found).as_dict() if found and self.focus == "subject" else None
        return {
            "subject": keep,
            "head": None if head is None else head.as_dict(),
            "focus_x": x,
            "focus_y": y,
        }


def _heads(faces: list[Box], image: Image.Image, row: Row) -> list[Box]:
    from dataprep.subjects import head_around, scaled

    by = row["width"] / image.width, row["height"] / image.height
    heads = [head_around(face, image.width, image.height) for face in faces]
    return [scaled(head, by, row["width"], row["height"]) for head in heads]
