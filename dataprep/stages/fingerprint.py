"""Measure each picture: perceptual hashes and thumbs for the duplicate search, detail and sharpness."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pyarrow as pa
from pydantic import Field

from dataprep import hashing
from dataprep.likeness import thumb
from dataprep.stage import Context, Row, Stage, TableFunction, per_row


class Fingerprint(Stage, frozen=True):
    """Settings of the measurements."""

    name: ClassVar[str] = "fingerprint"
    version: ClassVar[int] = 2
    scope = "row"
    needs: ClassVar[pa.Schema] = pa.schema([("pixels_key", pa.string())])
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("phash", pa.string()),  # 16 hex digits, imagehash's order
            ("trim_phash", pa.string()),  # the same without uniform borders
            ("mirror_phash", pa.string()),  # of the mirrored picture
            ("thumb", pa.string()),  # 8x8 mean colours, base64
            ("trim_thumb", pa.string()),  # the same without uniform borders
            ("trim_share", pa.float32()),  # share of the area within the borders, 1 if there are none
            ("detail", pa.float32()),  # 0 flat .. 127 black and white, grey levels
            ("sharpness", pa.float32()),  # variance of the Laplacian at short_side
        ]
    )

    short_side: Annotated[
        int, Field(ge=32, le=4096, description="measured at this short side or up to twice it, px")
    ] = 256

    def open(self, context: Context) -> TableFunction:
        """Measures from a reduced decode, which is several times faster than a whole one."""

        def measure(row: Row) -> dict[str, Any]:
            image = context.pixels.small(context.file(row), row["pixels_key"], self.short_side)
            grey = hashing.grey_thumbnail(image)
            inner = hashing.trimmed(image)
            whole, coarse = hashing.hex_of(hashing.phash_bits(grey)), thumb(image)
            return {
                "phash": whole,
                "trim_phash": whole if inner is image else hashing.phash(inner),
                "mirror_phash": hashing.hex_of(hashing.phash_bits(grey[:, ::-1])),
                "thumb": coarse,
                "trim_thumb": coarse if inner is image else thumb(inner),
                "trim_share": inner.width * inner.height / (image.width * image.height),
                "detail": hashing.detail(grey),
                "sharpness": hashing.sharpness(image),
            }

        return per_row(self, measure)
