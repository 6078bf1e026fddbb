"""Encode each prepared view with the VAE and keep the result as a blob, in the form that export ships."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from dataprep.digest import digest
from dataprep.errors import ModelError, RowError
from dataprep.export.kohya_rules import (
    CACHE_STYLES,
    FLUX_SCALE,
    FLUX_SHIFT,
    Family,
    FamilySetting,
    is_whole,
    latent_arrays,
)
from dataprep.inference.vae import Latents as LatentArray
from dataprep.inference.vae import Pixels, Precision, Vae
from dataprep.inference.vae_files import load_vae, told_scaling
from dataprep.manifest import BOX
from dataprep.stage import Context, Row, Stage, TableFunction, per_batch
from dataprep.stages.mask import mask_view
from dataprep.store import disk_faults, write_table

if TYPE_CHECKING:
    from dataprep.models import Model
    from dataprep.store import Blobs

_LOG = logging.getLogger(__name__)
SUFFIX = ".npz"  # of the blobs
_FORMAT = ".format"  # of the note which number format was chosen
# The mark of families whose latents have as many channels; sdxl's VAE mended for fp16 has sdxl's.
_SCALINGS: Mapping[Family, float] = {
    "sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025, "sd3": 1.5305, "flux": FLUX_SCALE,
}  # fmt: skip
_OVERFLOW = {"error": "overflow: the VAE makes no finite latents of this picture, in float32 either"}


class View(NamedTuple):
    """What one row asks for: the key of its latents and, unless they are stored, its pixels."""

    key: str
    pixels: Pixels | None
    mask: LatentArray | None  # (H, W), 0..1


class Latents(Stage):
    """Settings of VAE encoding."""

    name: ClassVar[str] = "latents"
    scope: ClassVar[Literal["source", "row", "table", "sink"]] = "row"
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            ("pixels_key", pa.string()),
            ("box", BOX),
            ("bucket_width", pa.int32()),
            ("bucket_height", pa.int32()),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema([("latents_key", pa.string())])
    models: ClassVar[tuple[str, ...]] = ("vae",)

    family: FamilySetting = "sd1"
    precision: Annotated[
        Precision,
        Field(
            description="number format; auto: bf16 where a probe finds it faster and within 2%, else fp32; "
            "chosen once for a folder and its VAE"
        ),
    ] = "auto"
    posterior: Annotated[
        Literal["mean", "sample"],
        Field(description="what is kept of the VAE's distribution; a sample is one frozen draw"),
    ] = "mean"
    flip: Annotated[bool, Field(description="also keep the mirrored picture's latents, for flip_aug")] = False
    alpha_mask: Annotated[
        bool, Field(description="also keep transparency as a mask: what is transparent is not learned")
    ] = False
    tile_px: Annotated[
        int,
        Field(ge=256, le=16384, multiple_of=64, description="longer sides are encoded in tiles of it, px"),
    ] = 2048

    def open(self, context: Context) -> TableFunction:
        """Load the VAE. Raises ModelError."""
        model = context.models["vae"]
        precision = self._format(model, context.blobs)
        vae = Vae(lambda: load_vae(Path(model.path)), context.device, precision, self.tile_px)
        scaling = told_scaling(Path(model.path))
        if wrong := _not_of(self.family, vae.channels, scaling):
            raise ModelError(f"{model.path}: {wrong}")
        if scaling is None:
            _LOG.info(
                "%s: nothing in it tells which family this VAE is of; it is taken for %s's, as the settings "
                "(models, family) say", model.path, self.family,
            )  # fmt: skip

        def load(row: Row) -> View:
            if row["box"] is None or row["bucket_width"] is None:
                raise RowError("no-bucket", "the row has no box or bucket to encode")
            if row["bucket_width"] % vae.stride or row["bucket_height"] % vae.stride:
                raise RowError("bucket-size", f"a bucket side is no multiple of the VAE's {vae.stride} px")
            if vae.precision == "auto":
                chosen = vae.settle(np.asarray(context.view(row), np.uint8))
                context.blobs.put(_format_key(model), _FORMAT, partial(_write_format, chosen=chosen))
            key = self.latents_key(row, model, vae.precision)
            stored = context.blobs.has(key, SUFFIX)
            if stored:
                return View(key, None, None)
            mask = _opacity(context, row) if self.alpha_mask else None
            return View(key, np.asarray(context.view(row), np.uint8), mask)

        def encode(views: list[View]) -> list[Mapping[str, Any]]:
            fresh = {view.key: view for view in views if view.pixels is not None}
            failed: set[str] = set()
            for group in _by_shape(fresh.values()):
                failed |= self._encode(group, vae, context.blobs)
            return [_OVERFLOW if view.key in failed else {"latents_key": view.key} for view in views]

        return per_batch(self, load, encode)

    def _format(self, model: Model, blobs: Blobs) -> Precision:
        """The number format; what "auto" once chose for a VAE holds, so that one set has one format."""
        note = blobs.path(_format_key(model), _FORMAT)
        if self.precision != "auto" or not note.is_file():
            return self.precision
        known: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16"}
        return known.get(note.read_text("utf-8", "replace").strip(), "auto")

    def latents_key(self, row: Row, model: Model, precision: Precision) -> str:
        """Name of a row's latents: pixels, crop, bucket, VAE weights, number format and settings."""
        return digest(
            "latents",
            self.version,
            row["pixels_key"],
            row["box"],
            row["bucket_width"],
            row["bucket_height"],
            model.sha256,
            self.model_dump(mode="json", exclude={"family", "precision"}),
            precision,
            CACHE_STYLES[self.family].suffix,
        )

    def _encode(self, views: list[View], vae: Vae, blobs: Blobs) -> set[str]:
        """Encode pictures of one size and store them; returns the keys of those that overflow."""
        seeds = [int(view.key[:16], 16) for view in views] if self.posterior == "sample" else None
        pixels = [view.pixels for view in views if view.pixels is not None]
        latents = vae.encode(pixels, seeds)
        mirrored: LatentArray | None = None
        if self.flip:  # the VAE of the mirrored picture, which is not the mirrored latents
            mirrored = vae.encode([np.ascontiguousarray(picture[:, ::-1]) for picture in pixels], seeds)
        failed = set()
        for i, view in enumerate(views):
            flipped = None if mirrored is None else mirrored[i]
            if all(np.isfinite(array).all() for array in (latents[i], flipped) if array is not None):
                self._keep(view, latents[i], flipped, vae.stride, blobs)
            else:
                failed.add(view.key)
        return failed

    def _keep(
        self, view: View, latents: LatentArray, flipped: LatentArray | None, stride: int, blobs: Blobs
    ) -> None:
        if self.family == "flux":  # the only family whose cache holds scaled latents
            latents = (latents - FLUX_SHIFT) * FLUX_SCALE
            flipped = None if flipped is None else (flipped - FLUX_SHIFT) * FLUX_SCALE
        size = (latents.shape[2] * stride, latents.shape[1] * stride)
        # The picture file shipped beside it has the bucket's size already: its original size.
        arrays = latent_arrays(latents, size, size, view.key, self.family, flipped, view.mask)

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]

        blobs.put(view.key, SUFFIX, write)


def _not_of(family: Family, channels: int, scaling: float | None) -> str:
    """Why a VAE is not of a family of base models, "" as far as it can be.

    Args:
        family: as set.
        channels: of its latents.
        scaling: its scaling factor, None where nothing tells it.
    """
    wanted = CACHE_STYLES[family].channels
    fitting = [name for name, style in CACHE_STYLES.items() if style.channels == channels]
    told = [name for name in fitting if scaling is not None and abs(scaling - _SCALINGS[name]) < 1e-4]
    if channels == wanted and (not told or family in told):
        return ""
    name = " or ".join(told or fitting)
    said = f"makes {channels} latent channels, family {family} has {wanted}" * (channels != wanted)
    if told:
        marks = ", ".join(filter(None, [f"scaling_factor {scaling:g}", said]))
        said = f"is {name}'s ({marks}), latents.family is {family}"
    way = f"name the family of your base model, models = '..., family={name}'; " * bool(name)
    return f"this VAE {said}: {way}or choose the VAE that belongs to the base model"


def _format_key(model: Model) -> str:
    return digest("number format", model.sha256)


def _write_format(path: Path, chosen: Precision) -> None:
    path.write_text(chosen, "utf-8")


def forget_lost(folder: Path, blobs: Blobs, column: str = "latents_key", suffix: str = SUFFIX) -> int:
    """Forget every stored result whose blob is gone or damaged, so that the next pass makes it anew.

    Args:
        folder: stored results of this stage, under all its keys.
        blobs: where the blobs are; damaged files are removed.
        column: of the results that names the blob.
        suffix: of the blobs.
    Returns:
        How many were forgotten.
    Raises:
        DiskError: a file cannot be written or removed.
    """
    forgotten = 0
    for part in sorted(folder.glob("*/*.parquet")):
        table = pq.read_table(part)
        lost = [key is not None and not _kept(blobs.path(key, suffix)) for key in table[column].to_pylist()]
        if any(lost):
            write_table(part, table.filter(pa.array([not gone for gone in lost])))
            forgotten += sum(lost)
    return forgotten


def _kept(path: Path) -> bool:
    if path.is_file() and is_whole(path.read_bytes()):
        return True
    with disk_faults(path):
        path.unlink(missing_ok=True)
    return False


def _opacity(context: Context, row: Row) -> LatentArray:
    return np.asarray(np.asarray(mask_view(context, row), np.float32) / 255, np.float32)


def _by_shape(views: Iterable[View]) -> list[list[View]]:
    groups: dict[tuple[int, ...], list[View]] = {}
    for view in views:
        if view.pixels is not None:
            groups.setdefault(view.pixels.shape, []).append(view)
    return list(groups.values())
