"""CLIP's picture tower in bf16 beside fp32: rate and agreement, as the start-up probe finds them.

A ViT-B/32 with random weights (time and rounding need no trained ones). Autocast is measured too, to show why
it is never used: it turns the weights at every call.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dataprep.inference.clip import Clip
from dataprep.inference.torch_compat import prepare_torch

BATCH = 8


def random_clip(name: str) -> Clip:
    """An open_clip model of this architecture with random weights."""
    prepare_torch()
    import open_clip
    import torch

    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None).eval()
    return Clip(model, None, None, "cpu")


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def autocast(clip: Clip, pictures: list[Any]) -> None:
    """Encode with torch's autocast to bf16."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16):
        clip.encode_images(pictures)


def main() -> None:
    """Print the table."""
    import torch

    name = sys.argv[1] if len(sys.argv) > 1 else "ViT-B-32"
    torch.set_num_threads(1)  # threads that wait for each other spin, which would count as work
    exact, half = random_clip(name), random_clip(name)
    half.use_bf16()
    side = exact.model.visual.image_size[0]
    noise = np.random.default_rng(0).standard_normal((BATCH, 3, side, side)).astype(np.float32)
    pictures = list(noise)
    cosine = float((exact.encode_images(pictures) * half.encode_images(pictures)).sum(axis=1).min())
    ways: dict[str, Callable[[], object]] = {
        "fp32": partial(exact.encode_images, pictures),
        "bf16": partial(half.encode_images, pictures),
        "fp32 under autocast": partial(autocast, exact, pictures),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(5):
        for way, work in ways.items():
            times[way].append(seconds(work))
    base = min(times["fp32"])
    exact.choose_precision()
    print("| way | ms CPU a picture | times fp32's rate | least cosine |\n|---|---|---|---|")
    for way, taken in times.items():
        agreement = f"{cosine:.5f}" if way == "bf16" else ""
        each_ms, rate = 1000 * min(taken) / BATCH, base / min(taken)
        print(f"| {name}, {way} | {each_ms:.0f} | {rate:.2f} | {agreement} |")
    print(f"\nThe probe at start chooses {exact.precision} here (aim: 1.7 times at .999).")


if __name__ == "__main__":
    main()
