"""Write masks beside the pictures where the alpha policy is `mask`: white is learned, black is not."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
from PIL import Image, PngImagePlugin

from dataprep.digest import digest
from dataprep.errors import RowError
from dataprep.manifest import BOX
from dataprep.pictures.pixels import frame_of, load_mask
from dataprep.stage import Context, Row, Stage, TableFunction
from dataprep.store import write_bytes

_LOG = logging.getLogger(__name__)
FOLDER = "mask"
_KEY = "dataprep"  # text chunk that says what a mask was made of, and that it is ours


class Mask(Stage, frozen=True):
    """OUT/mask mirrors OUT/img: same folders and names, grey PNG of the same size."""

    name: ClassVar[str] = "mask"
    scope = "sink"
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            ("pixels_key", pa.string()),
            ("box", BOX),
            ("bucket_width", pa.int32()),
            ("bucket_height", pa.int32()),
            ("image_file", pa.string()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema([("mask_file", pa.string())])

    def open(self, context: Context) -> TableFunction:
        """Writes what differs and removes masks of its own that are no longer wanted."""

        def write(table: pa.Table) -> pa.Table:
            masked = context.pixels.policy.alpha == "mask"
            rows = table.to_pylist() if masked else [{}] * table.num_rows
            files = [_written(row, context) if row.get("image_file") else None for row in rows]
            _remove_others(context.out, {file for file in files if file})
            return pa.table([pa.array(files, pa.string())], schema=self.adds)

        return write


def _written(row: Row, context: Context) -> str | None:
    file = f"{FOLDER}/{row['image_file'].partition('/')[2]}"
    path = context.out / file
    key = digest("mask", row["pixels_key"], row["box"], row["bucket_width"], row["bucket_height"])
    if _key_of(path) != key:
        about = PngImagePlugin.PngInfo()
        about.add_text(_KEY, key)
        buffer = io.BytesIO()
        try:
            mask_view(context, row).save(buffer, "PNG", pnginfo=about)
        except RowError as error:
            _LOG.warning("%s: no mask: %s", row["path"], error)
            return None
        write_bytes(path, buffer.getvalue())
    return file


def mask_view(context: Context, row: Row) -> Image.Image:
    """Opacity of a row's view at bucket size, mode L; white where the file has no transparency.

    Raises:
        RowError: the file cannot be decoded.
    """
    size = row["bucket_width"], row["bucket_height"]
    mask = load_mask(context.file(row), context.pixels.policy, frame_of(row["pixels_key"]))
    if mask is None:
        return Image.new("L", size, 255)
    box = row["box"]
    edges = (box["left"], box["top"], box["right"], box["bottom"])
    return mask.resize(size, Image.Resampling.BOX, box=edges)


def _key_of(path: Path) -> str | None:
    """What a mask was made of; None if there is none, or it is somebody else's."""
    try:
        with Image.open(path) as image:
            found = image.info.get(_KEY)
    except (OSError, SyntaxError, ValueError):
        return None
    return found if isinstance(found, str) else None


def _remove_others(out: Path, wanted: set[str]) -> None:
    for path in (out / FOLDER).glob("*/*.png"):
        if path.relative_to(out).as_posix() not in wanted and _key_of(path) is not None:
            path.unlink()
