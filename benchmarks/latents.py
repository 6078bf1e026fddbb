"""Latents of Stable Diffusion 1.5's VAE (its architecture, random weights) at 512 px, cached three ways.

    python -m benchmarks.latents [PICTURES]

One at a time in fp32 is what a plain script does: open, resize, encode, save, next. The bare encoder has its
batches ready in memory and saves nothing. The stage is the program's own: it decodes, cuts, encodes, checks
and stores. Rates are pictures a second in one run on one machine; the machine's noise shows in the repeats.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from dataprep.digest import file_sha256
from dataprep.export import kohya_caches
from dataprep.export.kohya_reader import differences, read_folder
from dataprep.inference.torch_compat import prepare_torch
from dataprep.inference.vae import Pixels, Vae
from dataprep.inference.vae_files import load_vae
from dataprep.manifest import BASE, BOX
from dataprep.models import Model, find
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.progress import Observer
from dataprep.rows import RowStage, run_rows
from dataprep.stage import Context
from dataprep.stages.export import Export
from dataprep.stages.latents import Latents
from dataprep.store import Blobs
from models.miniature.world import random_drawing, render

SIDE = 512  # px


def sd15_vae(folder: Path) -> Path:
    """A VAE of SD1.5's architecture with random weights, in diffusers layout."""
    prepare_torch()
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    model.save_pretrained(folder)
    return folder


def raw_rows(raw: Path, count: int) -> pa.Table:
    """JPEG drawings of 768 px and their manifest rows, placed in the bucket of 512."""
    rng = np.random.default_rng(2)
    rows = []
    raw.mkdir()
    for i in range(count):
        render(random_drawing(rng), 768, 768).save(raw / f"{i:03d}.jpg", quality=92)
        box = dict(zip(("left", "top", "right", "bottom"), (0, 0, 768, 768), strict=True))
        row = dict.fromkeys(BASE.names) | {"id": f"{i:032x}", "path": f"{i:03d}.jpg", "role": "train"}
        row |= {"pixels_key": f"{i:032x}", "state": "active", "box": box}
        rows.append(row | {"bucket_width": SIDE, "bucket_height": SIDE})
    sides = [("box", BOX), ("bucket_width", pa.int32()), ("bucket_height", pa.int32())]
    return pa.Table.from_pylist(rows, schema=pa.schema([*BASE, *sides]))


def one_at_a_time(raw: Path, vae: Path, out: Path) -> list[Any]:
    """What a plain script does. Returns the latents."""
    import torch

    model = load_vae(vae).eval()
    kept = []
    for path in sorted(raw.iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(
                image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32
            )
        tensor = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]
        with torch.no_grad():
            latents = model.encode(tensor).latent_dist.mean[0].numpy()
        np.savez(out / f"{path.stem}.npz", latents=latents)
        kept.append(latents)
    return kept


def through_the_stage(context: Context, table: pa.Table, precision: str) -> float:
    """The stage as a run calls it. Seconds, loading and probing left out as for the others."""
    stage = Latents.model_validate({"precision": precision})
    row_stage = RowStage(stage, precision, context.out / "store", context)
    first = table.slice(0, 1)
    run_rows([row_stage], first, Observer(), 1)  # loads the model, probes, warms up
    return timed(lambda: run_rows([row_stage], table.slice(1), Observer(), context.threads))


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(count: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        vae, table = sd15_vae(folder / "vae"), raw_rows(folder / "raw", count + 1)
        (folder / "plain").mkdir()
        context = Context(
            folder / "raw",
            folder / "out",
            PixelCache(PixelPolicy(), 2**28),
            Blobs(folder / "blobs"),
            models={"vae": Model("vae", "SD1.5's architecture, random", vae, "0" * 64)},
            threads=os.cpu_count() or 1,
        )
        stage_s = through_the_stage(context, table, "auto")
        encoder = Vae(lambda: load_vae(vae), precision="auto")
        views: list[Pixels] = [np.asarray(context.view(row)) for row in table.to_pylist()]
        encoder.encode(views[:1])
        bare_s = timed(lambda: encoder.encode(views[1:]))
        exact = Vae(lambda: load_vae(vae), precision="fp32").encode(views[:2])
        rough = encoder.encode(views[:2])
        error = float(np.linalg.norm(rough - exact) / np.linalg.norm(exact))
        plain_s = timed(lambda: one_at_a_time(folder / "raw", vae, folder / "plain"))
    plain = (count + 1) / plain_s
    way = f"bare encoder, {encoder.precision}, batches in memory"
    print(f"Pictures of {SIDE} px through the VAE of SD1.5's architecture, {count} of them:\n")
    print("| way | pictures/s | against one at a time |\n|---|---|---|")
    print(f"| one at a time, fp32 | {plain:.3f} | 1.00 |")
    print(f"| {way} | {count / bare_s:.3f} | {count / bare_s / plain:.2f} |")
    print(f"| the whole stage, decoding to storing | {count / stage_s:.3f} | {count / stage_s / plain:.2f} |")
    print(f"\nstage against bare encoder: {bare_s / stage_s:.2f}")
    print(f"relative error of the latents in {encoder.precision}: {error:.4f}")


def rerun(count: int) -> None:
    """Print what latents, export and reading back cost in a second run, and in one after an edit."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "raw").mkdir()
        rng = np.random.default_rng(3)
        rows = [noise_row(folder / "raw", i, rng) for i in range(count)]
        context = Context(
            folder / "raw",
            folder / "out",
            PixelCache(PixelPolicy(), 2**28),
            Blobs(folder / "out" / ".dataprep" / "blobs"),
            models={"vae": find("vae", "miniature")},
            threads=os.cpu_count() or 1,
        )

        def run() -> int:
            sides = [("box", BOX), ("bucket_width", pa.int32()), ("bucket_height", pa.int32())]
            table = pa.Table.from_pylist(rows, schema=pa.schema([*BASE, *sides]))
            stage = RowStage(Latents(), "key", context.out / "store", context)
            table = run_rows([stage], table, Observer(), context.threads)
            files = Export(trigger="sks").open(context)(table)
            for name in files.column_names:
                table = table.append_column(name, files[name])
            if wrong := differences(read_folder(context.out), table):
                raise SystemExit(f"not as planned: {wrong[0]}")
            return stage.report.computed

        print(f"\nLatents, export and reading back of {count} pictures, miniature VAE:\n")
        print("| run | encoded | seconds |\n|---|---|---|")
        for name in ("first", "nothing changed", "one picture edited"):
            if name == "one picture edited":
                rows[7] |= noise_row(folder / "raw", 7, rng)
            kohya_caches._read.cache_clear()  # as a program started anew
            started = time.perf_counter()
            print(f"| {name} | {run()} | {time.perf_counter() - started:.2f} |")


def noise_row(raw: Path, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A picture of 64 px of noise, written, and its row."""
    file = raw / f"{number:04d}.png"
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(file)
    row = dict.fromkeys(BASE.names) | {"id": f"{number:032x}", "path": file.name, "role": "train"}
    row |= {"sha256": file_sha256(file), "pixels_key": file_sha256(file), "state": "active", "view": ""}
    box = dict(zip(("left", "top", "right", "bottom"), (0, 0, 64, 64), strict=True))
    return row | {"box": box, "bucket_width": 64, "bucket_height": 64}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
    rerun(1000)
