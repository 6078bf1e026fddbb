"""The miniature's CLIP: an open_clip model with a small residual tower, trained on drawings and captions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from models.miniature.base import BUCKETS, bucket_truths
from models.miniature.captions import some
from models.miniature.classifier import INPUT_SIDE, degraded, square, squares
from models.miniature.data import Pixels, drawings, rendered
from models.miniature.drawing import Drawing, tags
from models.miniature.learning import Average, Log, channels_last, cosine, replace_file, set_rate

BATCH = 96
HELD_OUT, SEED_HELD_OUT = 600, 9_000
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
MODEL = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": INPUT_SIDE,
        "layers": [1, 1, 1, 1],
        "width": 12,
        "head_width": 48,
        "patch_size": None,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 2},
}
CONFIG = {
    "model_cfg": MODEL,
    "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"},
}


def new_clip() -> Any:  # noqa: ANN401
    """An untrained open_clip.CLIP."""
    return open_clip.model.CLIP(**MODEL)


def phrase(truth: Drawing, rng: np.random.Generator, share: float) -> str:
    """A random part of the drawing's tags in random order, never empty."""
    words = some(tags(truth), rng, share) or tags(truth)[:3]
    rng.shuffle(words)
    return ", ".join(words)


def train_clip(folder: Path, scratch: Path, steps: int) -> None:
    """Train with the symmetric contrastive loss and save what open_clip loads from a folder."""
    torch.manual_seed(31)
    rng = np.random.default_rng(31)
    truths = [truth for bucket in BUCKETS for truth in bucket_truths(*bucket)]
    stack = squares(
        scratch / "tagger_squares.npy",
        [rendered(scratch / f"base_{w}x{h}.npy", bucket_truths(w, h, n), w, h) for w, h, n in BUCKETS],
    )
    model = channels_last(new_clip()).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    average, log = Average(model, 0.99), Log("clip", 100)
    for step in range(steps):
        set_rate(optimiser, cosine(step, steps, 2e-3, 100))
        rows = np.sort(rng.choice(len(truths), BATCH, replace=False))
        pictures = degraded(stack[rows], rng)
        texts = [phrase(truths[row], rng, float(rng.uniform(0.15, 1))) for row in rows]
        loss = contrastive_loss(model, pictures, open_clip.tokenize(texts))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        average.update(model)
        log.add(step, loss.item())
    average.copy_to(model)
    save_clip(model, folder)
    print(f"clip: retrieval@1 {measure_clip(folder, scratch)}", flush=True)


def contrastive_loss(model: Any, pictures: Tensor, ids: Tensor) -> Tensor:  # noqa: ANN401
    """Cross-entropy both ways over the batch's cosine similarities."""
    with torch.autocast("cpu", torch.bfloat16):
        image, text, scale = model(pictures.to(memory_format=torch.channels_last), ids)
    logits = scale.float() * image.float() @ text.float().T  # (B, B)
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def save_clip(model: Any, folder: Path) -> None:  # noqa: ANN401
    """Write open_clip_config.json and open_clip_model.safetensors (fp16)."""
    weights = {
        name: value.detach()
        .to(torch.float16 if value.is_floating_point() else value.dtype)
        .contiguous()
        .clone()
        for name, value in model.state_dict().items()
    }
    replace_file(
        lambda path: save_file(weights, path, metadata={"format": "pt"}),
        folder / "open_clip_model.safetensors",
    )
    text = json.dumps(CONFIG, indent=2) + "\n"
    replace_file(lambda path: _write(path, text), folder / "open_clip_config.json")


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


@torch.no_grad()
def measure_clip(folder: Path, scratch: Path) -> dict[str, float]:
    """Share of held-out drawings whose own whole caption is the nearest of 100, and the other way round."""
    model = new_clip()
    open_clip.load_checkpoint(model, str(folder / "open_clip_model.safetensors"))
    model.eval()
    truths = drawings(HELD_OUT, SEED_HELD_OUT)
    pictures = rendered(scratch / "tagger_held_out.npy", truths, 256, 256)
    image = F.normalize(model.encode_image(_prepared(pictures)), dim=1)
    text = F.normalize(model.encode_text(open_clip.tokenize([", ".join(tags(t)) for t in truths])), dim=1)
    hits = []
    for start in range(0, HELD_OUT, 100):
        scores = image[start : start + 100] @ text[start : start + 100].T
        own = torch.arange(100)
        hits.append(((scores.argmax(1) == own).float().mean(), (scores.argmax(0) == own).float().mean()))
    to_text, to_image = (
        round(float(torch.stack(list(column)).mean()), 3) for column in zip(*hits, strict=True)
    )
    return {"image to text of 100": to_text, "text to image of 100": to_image}


def _prepared(pictures: Pixels) -> Tensor:
    stack = np.stack([square(p) for p in pictures])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 127.5 - 1
