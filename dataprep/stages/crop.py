"""Say where each picture's subject is; the bucket stage cuts around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from dataprep.digest import digest
from dataprep.manifest import BOX
from dataprep.stage import Context, Row, Stage, TableFunction, per_row

if TYPE_CHECKING:
    from PIL import Image

    from dataprep.framing.boxes import Box
    from dataprep.framing.saliency import Focus
    from dataprep.framing.subjects import People

_SHORT_SIDE = 256  # px of the picture that is looked at; the one that fingerprint measured


class Crop(Stage, frozen=True):
    """Settings of the search for the subject.

    What stands out from the ground is found in any picture, drawn ones too. Faces and standing people are
    found in photographs, by the detectors that OpenCV ships; for drawn faces no well-kept package ships one.
    """

    name: ClassVar[str] = "crop"
    version: ClassVar[int] = 7
    scope = "row"
    needs: ClassVar[pa.Schema] = pa.schema(
        [("pixels_key", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("subject", BOX),  # null if nothing stands out, or nobody looked
            ("subject_may_be_cut", pa.bool_()),  # the frame only leans to it
            ("head", BOX),  # of the largest face, else of a standing figure by proportion; null if none
            ("focus_x", pa.float32()),  # the point to keep near the middle, share of the width
            ("focus_y", pa.float32()),
        ]
    )

    focus: Annotated[
        Literal["subject", "saliency", "center"],
        Field(
            description="subject: keep it whole where the bucket allows; saliency: only lean towards it; "
            "center: do not look for it"
        ),
    ] = "subject"
    faces: Annotated[
        bool,
        Field(
            description="also look for faces and people, of photographs, to keep them whole; drawn ones are "
            "kept by what stands out; needs opencv-python-headless<5"
        ),
    ] = True

    def key(self) -> str:
        """Other detectors give other boxes."""
        if not self._detects():
            return super().key()
        from dataprep.framing.subjects import detector_version

        return digest(super().key(), detector_version())

    def _detects(self) -> bool:
        return self.faces and self.focus != "center"

    def open(self, context: Context) -> TableFunction:
        """The subject and focus of each picture, found on a reduced decode."""
        from dataprep.framing.saliency import find_focus
        from dataprep.framing.subjects import People, people_finder

        find_people = people_finder() if self._detects() else None

        def find(row: Row) -> dict[str, Any]:
            if self.focus == "center":
                return dict.fromkeys(self.adds.names) | {"focus_x": 0.5, "focus_y": 0.5}
            image = context.pixels.small(context.file(row), row["pixels_key"], _SHORT_SIDE)
            focus = find_focus(image, row["width"], row["height"])
            people = find_people(image) if find_people else People()
            return self._measured(row, focus, _in_original(people, image, row))

        return per_row(self, find)

    def _measured(self, row: Row, focus: Focus, people: People) -> dict[str, Any]:
        from dataprep.framing.subjects import believed, head_around, head_of_figure, union

        size = row["width"], row["height"]
        heads = [head_around(face, *size) for face in believed(people.faces, focus.subject)]
        bodies = believed(people.bodies, focus.subject)
        found = [*heads, *bodies, *([] if focus.subject is None else [focus.subject])]
        subject = union(found) if found else None
        head = heads[0] if heads else None
        if head is None and subject is not None:
            head = head_of_figure(subject, *size)
        x, y = _point(focus, heads, bodies, size)
        return {
            "subject": None if subject is None else subject.as_dict(),
            "subject_may_be_cut": self.focus == "saliency",
            "head": None if head is None else head.as_dict(),
            "focus_x": x,
            "focus_y": y,
        }


def _point(focus: Focus, heads: list[Box], bodies: list[Box], size: tuple[int, int]) -> tuple[float, float]:
    """The point to keep near the middle: of the heads, else of the largest person's upper half."""
    from dataprep.framing.subjects import union

    if heads:
        middle = union(heads)
        return (middle.left + middle.right) / 2 / size[0], (middle.top + middle.bottom) / 2 / size[1]
    if bodies and focus.subject is None:
        body = bodies[0]
        return (body.left + body.right) / 2 / size[0], (body.top + body.height / 4) / size[1]
    return focus.x, focus.y


def _in_original(people: People, image: Image.Image, row: Row) -> People:
    from dataprep.framing.subjects import People, scaled

    size = row["width"], row["height"]
    by = size[0] / image.width, size[1] / image.height
    faces, bodies = (
        tuple(scaled(box, by, *size) for box in boxes) for boxes in (people.faces, people.bodies)
    )
    return People(faces, bodies)
