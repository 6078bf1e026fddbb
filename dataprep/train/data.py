"""The prepared folder as a trainer reads it: manifest, caption files and cached latents; never a picture.

Owns two decisions: how often each image comes in an epoch (sd-scripts' counting), and which latents are too
stale to train on.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from dataprep.errors import InputError
from dataprep.train.config import TrainConfig

COLUMNS = (
    "id",
    "sha256",
    "role",
    "state",
    "caption",
    "repeats",
    "folder",
    "bucket_width",
    "bucket_height",
    "box",
    "width",
    "height",
    "image_file",
    "caption_file",
    "latents_file",
    "latents_key",
)
Bucket = tuple[int, int]  # width, height, px


@dataclass(frozen=True)
class Image:
    """One image of the set: where it belongs and what is said of it."""

    file: str  # relative to the prepared folder, POSIX
    folder: str  # such as "10_sks girl"
    reg: bool
    repeats: int  # times an epoch, as planned
    bucket: Bucket
    lines: tuple[str, ...]  # caption lines, stripped, non-blank
    slot: int  # row in its bucket's tensors
    source: tuple[int, int]  # upright source width, height, px
    time_ids: tuple[float, ...]  # SDXL: original h, w, crop top, left, target h, w
    time_ids_flipped: tuple[float, ...]


@dataclass(frozen=True)
class Batch:
    """Images of one bucket, B of them, on the device that trains."""

    images: tuple[Image, ...]
    rows: tuple[int, ...]  # the images' numbers in Prepared.images
    latents: Tensor  # (B, 4, h, w), scaled
    weights: Tensor  # (B,)
    time_ids: Tensor  # (B, 6)
    masks: Tensor | None  # (B, 1, h, w), 0 to 1


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed, the same in every process: all randomness hangs on (seed, purpose, number)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def reg_repeats(train_total: int, repeats: list[int]) -> list[int]:
    """How often each regularization image comes in an epoch, so that together they match the training images.

    Args:
        train_total: training images times repeats.
        repeats: each regularization image's own repeats, in order.
    Returns:
        Repeats of each; 0 for those left out because the others suffice.
    Source: sd-scripts: each comes in with its own repeats until there are enough, then one more each in turn.
    """
    planned = [0] * len(repeats)
    total, first = 0, True
    while repeats and total < train_total:
        for i, own in enumerate(repeats):
            planned[i] += own if first else 1
            total += own if first else 1
            if total >= train_total:
                break
        first = False
    return planned


class Prepared:
    """A prepared folder, with every latent in memory (64 KiB an image at 512 px, 256 KiB at 1024 px)."""

    def __init__(self, directory: Path, config: TrainConfig) -> None:
        """Read manifest, captions and latents.

        Args:
            directory: what `dataprep run` left.
            config: the settings; flip, masked, use_reg and size_condition decide what is read.
        Raises:
            InputError: not a prepared folder; captions missing; latents missing, stale or not finite.
        """
        self.directory = directory
        self.config = config
        table, self.meta = _read_manifest(directory)
        self.manifest_sha256 = _table_sha256(table)
        rows = [row for row in table.to_pylist() if row["state"] == "active" and row["repeats"]]
        train = [row for row in rows if row["role"] == "train"]
        reg = [row for row in rows if row["role"] == "reg"] if config.use_reg else []
        if not train:
            raise InputError(
                f"{directory}: no active training image in the manifest; see `dataprep status {directory}`"
            )
        counts = [row["repeats"] for row in train]
        counts += reg_repeats(sum(counts), [row["repeats"] for row in reg])
        self.notes: list[str] = []
        self._load(train + reg, counts)

    def _load(self, rows: list[dict[str, Any]], counts: list[int]) -> None:
        arrays = _load_latents(self.directory, rows, self.config)
        captions = _read_captions(self.directory, rows, self.notes)
        buckets: dict[Bucket, list[dict[str, np.ndarray]]] = defaultdict(list)
        images = []
        for row, count, found, lines in zip(rows, counts, arrays, captions, strict=True):
            bucket = (row["bucket_width"], row["bucket_height"])
            images.append(_image(row, count, lines, len(buckets[bucket]), found, self.config))
            buckets[bucket].append(found)
        self.images = tuple(images)
        self.latents = {size: _stack(found, "latents") for size, found in buckets.items()}
        self.flipped = (
            {size: _stack(found, "latents_flipped") for size, found in buckets.items()}
            if self.config.flip
            else {}
        )
        self.masks = (
            {size: _masks(found, self.latents[size]) for size, found in buckets.items()}
            if self.config.masked
            else {}
        )

    def to(self, device: str, scaling_factor: float) -> None:
        """Scale the latents as the U-Net wants them and put everything on the device."""
        self.latents = {size: (found * scaling_factor).to(device) for size, found in self.latents.items()}
        self.flipped = {size: (found * scaling_factor).to(device) for size, found in self.flipped.items()}
        self.masks = {size: found.to(device) for size, found in self.masks.items()}

    @property
    def train_total(self) -> int:
        """Training images times repeats."""
        return sum(image.repeats for image in self.images if not image.reg)

    @property
    def reg_total(self) -> int:
        """Regularization images times repeats, as planned."""
        return sum(image.repeats for image in self.images if image.reg)

    def bucket_counts(self) -> dict[Bucket, int]:
        """Images times repeats in each bucket, smallest bucket first."""
        counts: dict[Bucket, int] = defaultdict(int)
        for image in self.images:
            counts[image.bucket] += image.repeats
        return {size: counts[size] for size in sorted(counts) if counts[size]}

    @property
    def batches_per_epoch(self) -> int:
        """Batches that hold every image times its repeats once; a bucket's last may be short."""
        return sum(-(-count // self.config.batch_size) for count in self.bucket_counts().values())

    def order(self, epoch: int) -> list[list[int]]:
        """The epoch's batches as numbers of images, each of one bucket, in a drawn order.

        Args:
            epoch: counted from 0.
        """
        draw = torch.Generator().manual_seed(seed_of(self.config.seed, "order", epoch))
        members: dict[Bucket, list[int]] = defaultdict(list)
        for number, image in enumerate(self.images):
            members[image.bucket] += [number] * image.repeats
        batches = []
        for bucket in sorted(members):
            numbers = members[bucket]
            shuffled = [numbers[i] for i in torch.randperm(len(numbers), generator=draw).tolist()]
            batches += [
                shuffled[i : i + self.config.batch_size]
                for i in range(0, len(shuffled), self.config.batch_size)
            ]
        return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]

    def batch(self, rows: list[int], draw: torch.Generator) -> Batch:
        """The tensors of one batch, each image mirrored with probability 1/2 where `flip` is on."""
        images = tuple(self.images[row] for row in rows)
        bucket = images[0].bucket
        slots = torch.tensor([image.slot for image in images])
        latents = self.latents[bucket]
        slots = slots.to(latents.device)
        chosen = latents[slots]
        masks = self.masks[bucket][slots] if self.masks else None
        flips = (
            (torch.rand(len(images), generator=draw) < 0.5)
            if self.flipped
            else torch.zeros(len(images), dtype=torch.bool)
        )
        if flips.any():
            mirrored = flips.to(latents.device).view(-1, 1, 1, 1)
            chosen = torch.where(mirrored, self.flipped[bucket][slots], chosen)
            masks = masks if masks is None else torch.where(mirrored, masks.flip(-1), masks)
        times = [
            image.time_ids_flipped if flip else image.time_ids
            for image, flip in zip(images, flips.tolist(), strict=True)
        ]
        weights = torch.tensor([self.config.prior_loss_weight if image.reg else 1.0 for image in images])
        device = latents.device
        return Batch(images, tuple(rows), chosen, weights.to(device), torch.tensor(times).to(device), masks)


def _read_manifest(directory: Path) -> tuple[pa.Table, dict[str, Any]]:
    path = directory / "manifest.parquet"
    if not path.is_file():
        raise InputError(
            f"{directory}: no manifest.parquet: not a prepared folder; `dataprep run RAW` makes one"
        )
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    missing = [name for name in COLUMNS if name not in table.schema.names]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; run `dataprep run` to the end (without --until)"
        )
    meta = json.loads((table.schema.metadata or {}).get(b"dataprep", b"{}"))
    return table.select(COLUMNS), meta


def _table_sha256(table: pa.Table) -> str:
    """Names the set's content: a resumed run must see the same images, boxes and latents in one order."""
    cells = table.drop_columns(["caption"]).to_pylist()
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def _read_captions(directory: Path, rows: list[dict[str, Any]], notes: list[str]) -> list[tuple[str, ...]]:
    """Each row's caption lines from its .txt file, which people edit; the manifest's is only compared."""
    texts, missing, edited = [], [], 0
    for row in rows:
        path = directory / (row["caption_file"] or "")
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8; save it as UTF-8") from error
        except OSError:
            missing.append(str(row["caption_file"] or row["image_file"]))
            text = ""
        texts.append(tuple(line.strip() for line in text.splitlines() if line.strip()))
        edited += text.strip() != (row["caption"] or "").strip()
    if missing:
        raise InputError(
            f"{directory}: {len(missing)} images have no caption file: {', '.join(missing[:5])}; "
            "`dataprep run` writes them (an image without words has an empty line in its file)"
        )
    if edited:
        notes.append(f"{edited} caption files were edited since the last run; the files are what is trained")
    return texts


def _load_latents(
    directory: Path, rows: list[dict[str, Any]], config: TrainConfig
) -> list[dict[str, np.ndarray]]:
    wrong: dict[str, list[str]] = defaultdict(list)
    arrays = []
    for row in rows:
        found, reason = _load_one(directory, row, config)
        arrays.append(found)
        if reason:
            wrong[reason].append(row["latents_file"] or row["image_file"])
    if wrong:
        kinds = "; ".join(
            f"{len(names)} {reason} ({', '.join(names[:3])})" for reason, names in wrong.items()
        )
        raise InputError(
            f"{directory}: latents do not match the manifest: {kinds}. "
            f"Run `dataprep run RAW --out {directory}` again: it encodes only what changed"
        )
    return arrays


def _load_one(
    directory: Path, row: dict[str, Any], config: TrainConfig
) -> tuple[dict[str, np.ndarray], str | None]:
    """One image's cached arrays, and what is wrong with them or None."""
    wanted = ["latents", "fingerprint", "original_size", "crop_ltrb"]
    wanted += ["latents_flipped"] if config.flip else []
    try:
        # Opened here: np.load leaves the file open when it is no archive.
        with (
            (directory / (row["latents_file"] or "")).open("rb") as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            found = {name: file[name] for name in [*wanted, "alpha_mask"] if name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}, "missing or unreadable"
    absent = [name for name in wanted if name not in found]
    if absent == ["latents_flipped"]:
        return found, "without mirrored latents (set latents.flip = true, or flip = false here)"
    if absent:
        return found, f"without {', '.join(absent)}"
    if str(found["fingerprint"]) != row["latents_key"]:
        return found, "stale"
    latents = found["latents"]
    if latents.shape[1:] != (row["bucket_height"] // 8, row["bucket_width"] // 8):
        return found, "of another bucket's size"
    return found, None if np.isfinite(latents).all() else "with values that are not finite"


def _image(
    row: dict[str, Any],
    count: int,
    lines: tuple[str, ...],
    slot: int,
    found: dict[str, np.ndarray],
    config: TrainConfig,
) -> Image:
    bucket = (row["bucket_width"], row["bucket_height"])
    plain, mirrored = size_conditions(row, found, config.size_condition)
    return Image(
        file=row["image_file"],
        folder=row["folder"],
        reg=row["role"] == "reg",
        repeats=count,
        bucket=bucket,
        lines=lines,
        slot=slot,
        source=(row["width"], row["height"]),
        time_ids=plain,
        time_ids_flipped=mirrored,
    )


def size_conditions(
    row: dict[str, Any], found: dict[str, np.ndarray], kind: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """SDXL's time ids (original h, w, crop top, left, target h, w), as it is and mirrored.

    Args:
        row: manifest row; its box is in px of the upright source.
        found: the latents file, whose original_size and crop_ltrb follow sd-scripts (letterbox geometry).
        kind: "true" for what was really cut, in px of the resized source, "sd-scripts", or "zero".
    """
    width, height = float(row["bucket_width"]), float(row["bucket_height"])
    if kind == "sd-scripts":
        source_w, source_h = (float(side) for side in found["original_size"])
        left, top, right, _ = (float(side) for side in found["crop_ltrb"])
        return (source_h, source_w, top, left, height, width), (
            source_h,
            source_w,
            top,
            width - right,
            height,
            width,
        )
    source_w, source_h, box = float(row["width"]), float(row["height"]), row["box"]
    if kind == "zero" or box is None:
        same = (source_h, source_w, 0.0, 0.0, height, width)
        return same, same
    scale = width / (box["right"] - box["left"])
    top, left, right = (round(side * scale) for side in (box["top"], box["left"], source_w - box["right"]))
    return (source_h, source_w, top, left, height, width), (source_h, source_w, top, right, height, width)


def _stack(found: list[dict[str, np.ndarray]], name: str) -> Tensor:
    return torch.from_numpy(np.stack([arrays[name] for arrays in found]).astype(np.float32))  # (N, 4, h, w)


def _masks(found: list[dict[str, np.ndarray]], latents: Tensor) -> Tensor:
    """Alpha masks at latent size, (N, 1, h, w); images without one count whole."""
    size = latents.shape[-2:]
    masks = []
    for arrays in found:
        mask = arrays.get("alpha_mask")
        whole = torch.ones(1, 1, *size)
        masks.append(
            whole
            if mask is None
            else torch.nn.functional.interpolate(
                torch.from_numpy(mask.astype(np.float32))[None, None], size=size, mode="area"
            )
        )
    return torch.cat(masks)
