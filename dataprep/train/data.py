"""The prepared folder in memory, and the batches that are drawn from it.

Owns one decision: how often each image comes in an epoch (sd-scripts' counting).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataprep.errors import InputError
from dataprep.train.config import TrainConfig
from dataprep.training.cached import Arrays, read_captions, read_latents, read_manifest
from dataprep.training.watch import typed

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
    time_ids: tuple[tuple[float, ...], tuple[float, ...]]  # as it is and mirrored, see size_conditions


@dataclass(frozen=True)
class Batch:
    """Images of one bucket, B of them, on the device that trains."""

    images: tuple[Image, ...]
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
        """Read manifest, captions and latents; flip, masked, use_reg and size_condition decide what is read.

        Raises:
            InputError: not a prepared folder; captions missing; latents missing, stale or not finite.
        """
        self.directory, self.config = directory, config
        table, self.meta = read_manifest(directory)
        # Names the set's content: a resumed run must see the same images, boxes and latents in one order.
        cells = json.dumps(table.drop_columns(["caption"]).to_pylist(), sort_keys=True)
        self.manifest_sha256 = hashlib.sha256(cells.encode()).hexdigest()
        rows = [row for row in table.to_pylist() if row["state"] == "active" and row["repeats"]]
        train = [row for row in rows if row["role"] == "train"]
        reg = [row for row in rows if row["role"] == "reg" and config.use_reg]
        if not train:
            raise InputError(
                f"{directory}: no active training image in the manifest; "
                f"see `dataprep status {typed(directory)}`"
            )
        self.train_total = sum(row["repeats"] for row in train)  # training images times repeats
        counts = reg_repeats(self.train_total, [row["repeats"] for row in reg])
        self.reg_total = sum(counts)  # regularization images times repeats, as planned
        self.notes: list[str] = []
        self._epoch_order = lru_cache(maxsize=1)(self.order)
        self._load(train + reg, [row["repeats"] for row in train] + counts)

    def _load(self, rows: list[dict[str, Any]], counts: list[int]) -> None:
        arrays = read_latents(self.directory, rows, self.config.flip)
        captions = read_captions(self.directory, rows, self.notes)
        buckets: dict[Bucket, list[Arrays]] = defaultdict(list)
        images = []
        for row, count, found, lines in zip(rows, counts, arrays, captions, strict=True):
            bucket = (row["bucket_width"], row["bucket_height"])
            image = Image(
                file=row["image_file"],
                folder=row["folder"],
                reg=row["role"] == "reg",
                repeats=count,
                bucket=bucket,
                lines=lines,
                slot=len(buckets[bucket]),
                source=(row["width"], row["height"]),
                time_ids=size_conditions(row, found, self.config.size_condition),
            )
            images.append(image)
            buckets[bucket].append(found)
        self.images = tuple(images)
        self.masked = sum("alpha_mask" in found for found in arrays)  # images that have a mask
        stacks, config = buckets.items(), self.config
        self.latents = {size: _stack(found, "latents") for size, found in stacks}  # each (N, 4, h, w)
        self.flipped = {s: _stack(found, "latents_flipped") for s, found in stacks if config.flip}
        self.masks = {s: _masks(found, self.latents[s]) for s, found in stacks if config.masked}
        # Batches that hold every image times its repeats once; a bucket's last may be short.
        self.batches_per_epoch = sum(-(-n // config.batch_size) for n in self.bucket_counts().values())

    def to(self, device: str, scaling_factor: float) -> None:
        """Scale the latents as the U-Net wants them and put everything on the device."""
        self.latents = {size: (found * scaling_factor).to(device) for size, found in self.latents.items()}
        self.flipped = {size: (found * scaling_factor).to(device) for size, found in self.flipped.items()}
        self.masks = {size: found.to(device) for size, found in self.masks.items()}

    def bucket_counts(self) -> dict[Bucket, int]:
        """Images times repeats in each bucket, smallest bucket first."""
        counts: dict[Bucket, int] = defaultdict(int)
        for image in self.images:
            counts[image.bucket] += image.repeats
        return {size: counts[size] for size in sorted(counts) if counts[size]}

    def order(self, epoch: int) -> list[list[int]]:
        """The epoch's (from 0) batches as numbers of images, each of one bucket, in a drawn order."""
        draw = torch.Generator().manual_seed(seed_of(self.config.seed, "order", epoch))
        members: dict[Bucket, list[int]] = defaultdict(list)
        for number, image in enumerate(self.images):
            members[image.bucket] += [number] * image.repeats
        batches, size = [], self.config.batch_size
        for bucket in sorted(members):
            numbers = members[bucket]
            shuffled = [numbers[i] for i in torch.randperm(len(numbers), generator=draw).tolist()]
            batches += [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]

    def rows(self, number: int) -> list[int]:
        """Numbers of the images in one batch of the whole run, batches counted from 0."""
        epoch, i = divmod(number, self.batches_per_epoch)
        return self._epoch_order(epoch)[i]

    def batch(self, rows: list[int], draw: torch.Generator) -> Batch:
        """The tensors of one batch, each image mirrored with probability 1/2 where `flip` is on."""
        images = tuple(self.images[row] for row in rows)
        bucket, count = images[0].bucket, len(images)
        device = self.latents[bucket].device
        slots = torch.tensor([image.slot for image in images]).to(device)
        latents = self.latents[bucket][slots]  # (B, 4, h, w)
        masks = self.masks[bucket][slots] if self.masks else None  # (B, 1, h, w)
        flips = torch.zeros(count, dtype=torch.bool)
        if self.flipped:
            flips = torch.rand(count, generator=draw) < 0.5
            mirrored = flips.to(device).view(-1, 1, 1, 1)
            latents = torch.where(mirrored, self.flipped[bucket][slots], latents)
            masks = masks if masks is None else torch.where(mirrored, masks.flip(-1), masks)
        times = [image.time_ids[flip] for image, flip in zip(images, flips.tolist(), strict=True)]
        weights = [self.config.prior_loss_weight if image.reg else 1.0 for image in images]
        return Batch(images, latents, torch.tensor(weights).to(device), torch.tensor(times).to(device), masks)


def size_conditions(
    row: dict[str, Any], found: Arrays, kind: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """SDXL's time ids (original h, w, crop top, left, target h, w), as it is and mirrored.

    Args:
        row: manifest row; its box is in px of the upright source.
        found: the latents file, whose original_size and crop_ltrb follow sd-scripts (letterbox geometry).
        kind: "true" for what was really cut, in px of the resized source, "sd-scripts", or "zero".
    """
    source_w, source_h, box = float(row["width"]), float(row["height"]), row["box"]
    width, height = float(row["bucket_width"]), float(row["bucket_height"])
    top = left = mirrored_left = 0.0
    if kind == "sd-scripts":
        source_w, source_h = (float(side) for side in found["original_size"])
        left, top, right, _ = (float(side) for side in found["crop_ltrb"])
        mirrored_left = width - right
    elif kind == "true" and box is not None:
        scale = width / (box["right"] - box["left"])
        cut = box["top"], box["left"], source_w - box["right"]
        top, left, mirrored_left = (float(round(side * scale)) for side in cut)
    plain = (source_h, source_w, top, left, height, width)
    return plain, (source_h, source_w, top, mirrored_left, height, width)


def _stack(found: list[Arrays], name: str) -> Tensor:
    return torch.from_numpy(np.stack([arrays[name] for arrays in found]).astype(np.float32))


def _masks(found: list[Arrays], latents: Tensor) -> Tensor:
    """Alpha masks at latent size, (N, 1, h, w); images without one count whole."""
    size = latents.shape[-2:]
    whole = np.ones(size, np.float32)
    masks = [torch.from_numpy(arrays.get("alpha_mask", whole).astype(np.float32)) for arrays in found]
    return torch.cat([F.interpolate(mask[None, None], size=size, mode="area") for mask in masks])
