"""Measure each picture: perceptual hashes and thumbs for the duplicate search, detail and sharpness."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from dataprep.copies import hashing
from dataprep.copies.fine import fine
from dataprep.copies.hashing import Hash
from dataprep.copies.likeness import edges, may_be_page, thumb
from dataprep.copies.pages import page
from dataprep.stage import Context, Row, Stage, TableFunction, per_row


class Fingerprint(Stage, frozen=True):
    """Settings of the measurements."""

    name: ClassVar[str] = "fingerprint"
    version: ClassVar[int] = 8
    scope = "row"
    needs: ClassVar[pa.Schema] = pa.schema([("pixels_key", pa.string())])
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("phash", pa.string()),  # 16 hex digits, imagehash's order; setting `hash` says which hash
            ("trim_phash", pa.string()),  # the same without uniform borders
            ("mirror_phash", pa.string()),  # of the mirrored picture
            ("mirror_trim_phash", pa.string()),  # the same without uniform borders
            ("thumb", pa.string()),  # 8x8 mean colours, base64
            ("trim_thumb", pa.string()),  # the same without uniform borders
            ("trim_share", pa.float32()),  # share of the area within the borders, 1 if there are none
            ("detail", pa.float32()),  # 0 flat .. 127 black and white, grey levels
            ("sharpness", pa.float32()),  # variance of the Laplacian at short_side
            ("edges", pa.string()),  # 8x8 means of the Laplacian, base64: what a watermark changes
            ("page", pa.string()),  # 40x40 cells of ink, base64; null for what is no page of text
            ("fine", pa.string()),  # 48x48 grey means, base64: what tells another expression
            ("features", pa.string()),  # corners by which cut-outs are found; null unless asked for
        ]
    )

    short_side: Annotated[
        int, Field(ge=32, le=4096, description="measured at this short side or up to twice it, px")
    ] = 256

    hash: Annotated[
        Hash, Field(description="the perceptual hash, imagehash's function of this name; whash is slow")
    ] = "phash"
    crops: Annotated[
        bool, Field(description="also measure what finds pictures that are cut out of others")
    ] = False

    def open(self, context: Context) -> TableFunction:
        """Measures from a reduced decode, which is several times faster than a whole one."""

        def measure(row: Row) -> dict[str, Any]:
            return self.measured(context.pixels.small(context.file(row), row["pixels_key"], self.short_side))

        return per_row(self, measure)

    def measured(self, image: Image.Image) -> dict[str, Any]:
        """The columns of one picture, mode RGB, reduced to about `short_side`."""
        light = image.convert("L")  # once for all that look at it
        inner = hashing.trimmed(image, light)
        grey, texture = hashing.grey_thumbnail(light), hashing.texture(light)
        whole = trimmed = (*self._hashes(light, grey), thumb(image))
        inner_light = light
        if inner is not image:
            inner_light = inner.convert("L")
            trimmed = (*self._hashes(inner_light, hashing.grey_thumbnail(inner_light)), thumb(inner))
        columns = {"phash": whole[0], "mirror_phash": whole[1], "thumb": whole[2]}
        columns |= {"trim_phash": trimmed[0], "mirror_trim_phash": trimmed[1], "trim_thumb": trimmed[2]}
        busy = edges(texture)
        return {
            **columns,
            "trim_share": inner.width * inner.height / (image.width * image.height),
            "detail": hashing.detail(grey),
            "sharpness": texture.sharpness,
            "edges": busy,
            "page": page(light, inner_light) if may_be_page(trimmed[2], busy) else None,
            "fine": fine(light, inner_light),
            "features": self._features(image),
        }

    def _hashes(self, light: Image.Image, grey: NDArray[np.uint8]) -> tuple[str, str]:
        """Of the picture and of its mirror image."""
        if self.hash == "phash":  # the mirrored thumbnail is that of the mirrored picture
            both = hashing.phash_bits(np.stack([grey, grey[:, ::-1]]))
            return hashing.hex_of(both[0]), hashing.hex_of(both[1])
        pictures = light, light.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        whole, mirror = (hashing.hex_of(hashing.bits_of(picture, self.hash)) for picture in pictures)
        return whole, mirror

    def _features(self, image: Image.Image) -> str | None:
        if not self.crops:
            return None
        from dataprep.copies.crops import features  # imports OpenCV

        return features(image)
