"""The miniature's tagger: a WD-format ONNX file over this world's vocabulary, and its measured thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import diffusers
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from models.miniature.base import BUCKETS, bucket_truths
from models.miniature.classifier import (
    RATING_CATEGORY,
    RATINGS,
    Classifier,
    export_wd,
    square,
    squares,
    train_classifier,
)
from models.miniature.data import Pixels, drawings, jpeg, pixels, rendered, signed_drawings, strewn
from models.miniature.drawing import VOCABULARY, Drawing, tags
from models.miniature.vae import to_pixels, to_tensor

ROUND_TRIPS = 600
STREWN = 1000  # pictures seen a second time with shapes on them that no tag names
SIGNED, SEED_SIGNED = 2400, 7_000  # characters with signature features, which no tag names either
WIDTH = 24
HELD_OUT, SEED_HELD_OUT = 600, 9_000


def truth_table(truths: Sequence[Drawing]) -> NDArray[np.float32]:
    """One row per drawing: the four ratings (always general), then each tag of the vocabulary, 0 or 1."""
    names = list(VOCABULARY)
    table = np.zeros((len(truths), len(RATINGS) + len(names)), dtype=np.float32)
    table[:, 0] = 1
    for row, truth in enumerate(truths):
        for tag in tags(truth):
            table[row, len(RATINGS) + names.index(tag)] = 1
    return table


@torch.no_grad()
def round_trips(vae: diffusers.AutoencoderKL, pictures: Pixels) -> Pixels:
    """The pictures after encoding and decoding, uint8 like them."""
    parts = []
    for start in range(0, len(pictures), 8):
        with torch.autocast("cpu", torch.bfloat16):
            latent = vae.encode(to_tensor(pictures[start : start + 8])).latent_dist.mean
            parts.append(to_pixels(vae.decode(latent).sample))
    return np.concatenate(parts)


def round_tripped(cache: Path, vae_folder: Path, pictures: Pixels) -> Pixels:
    """As `round_trips`, kept in `cache` as squares."""
    if not cache.exists():
        vae = diffusers.AutoencoderKL.from_pretrained(vae_folder).float().eval()
        np.save(cache, np.stack([square(p) for p in round_trips(vae, pictures)]))
    loaded: Pixels = np.load(cache)
    return loaded


def training_set(scratch: Path, vae_folder: Path) -> tuple[Pixels, NDArray[np.float32]]:
    """The base model's pictures as squares, some of them again after the VAE, after JPEG, and under shapes of
    any colour; others with signature features. What no tag names must not be taken for what comes nearest."""
    truths = [bucket_truths(*bucket) for bucket in BUCKETS]
    pictures = [
        rendered(scratch / f"base_{width}x{height}.npy", t, width, height)
        for t, (width, height, _) in zip(truths, BUCKETS, strict=True)
    ]
    plain = squares(scratch / "tagger_squares.npy", pictures)
    after_vae = round_tripped(scratch / "tagger_vae.npy", vae_folder, pictures[0][:ROUND_TRIPS])
    rng = np.random.default_rng(5)
    repeated = plain[ROUND_TRIPS : 2 * ROUND_TRIPS]
    after_jpeg = np.stack([jpeg(p, int(rng.integers(30, 90))) for p in repeated])
    under_shapes = np.stack([square(strewn(p, rng)) for p in pictures[0][:STREWN]])
    signed = signed_drawings(SIGNED, SEED_SIGNED)
    with_signature = [square(p) for p in rendered(scratch / "tagger_signed.npy", signed, 256, 256)]
    table = truth_table([t for bucket in truths for t in bucket])
    stack = np.concatenate([plain, after_vae, after_vae, after_jpeg, under_shapes, np.stack(with_signature)])
    rows = np.concatenate(
        [
            table,
            table[:ROUND_TRIPS],
            table[:ROUND_TRIPS],
            table[ROUND_TRIPS : 2 * ROUND_TRIPS],
            table[:STREWN],
            truth_table(signed),
        ]
    )
    return stack, rows


def train_tagger(folder: Path, vae_folder: Path, scratch: Path, steps: int) -> None:
    """Train and export to `folder`."""
    stack, rows = training_set(scratch, vae_folder)
    names = [*RATINGS, *VOCABULARY]
    categories = [RATING_CATEGORY] * len(RATINGS) + list(VOCABULARY.values())
    counts = [int(count) for count in rows.sum(axis=0)]
    train_classifier(
        "tagger",
        Classifier(len(names), WIDTH),
        stack,
        rows,
        steps,
        seed=5,
        save=lambda classifier: export_wd(classifier, folder, names, categories, counts),
    )
    print(f"tagger: {measure_tagger(folder, scratch)}", flush=True)


def probabilities(model: Path, stack: Pixels) -> NDArray[np.float32]:
    """The ONNX file's probabilities for RGB squares, (N, outputs)."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [
        session.run(None, {name: stack[start : start + 64, :, :, ::-1].astype(np.float32)})[0]
        for start in range(0, len(stack), 64)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class TaggerMeasure:
    """Held-out scores: the threshold where precision equals recall, F1 there, and each tag's own F1."""

    threshold: float
    f1: float
    tag_f1: dict[str, float]

    def __str__(self) -> str:
        worst = sorted(self.tag_f1.items(), key=lambda item: item[1])[:8]
        return f"P=R threshold {self.threshold:.3f}, F1 {self.f1:.4f}, worst {worst}"


def measure_tagger(folder: Path, scratch: Path) -> TaggerMeasure:
    """Score the exported file on drawings it has never seen."""
    truths = drawings(HELD_OUT, SEED_HELD_OUT)
    pictures = rendered(scratch / "tagger_held_out.npy", truths, 256, 256, pixels)
    given = probabilities(folder / "model.onnx", np.stack([square(p) for p in pictures]))[:, len(RATINGS) :]
    true = truth_table(truths)[:, len(RATINGS) :] > 0.5
    thresholds = np.linspace(0.05, 0.95, 181)
    gaps = [abs(int((given > t).sum()) - int(true.sum())) for t in thresholds]
    threshold = float(thresholds[int(np.argmin(gaps))])
    said = given > threshold
    scores = f1_scores(said, true)
    return TaggerMeasure(threshold, float(2 * (said & true).sum() / (said.sum() + true.sum())), scores)


def f1_scores(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Each tag's F1, 1 for a tag that was neither true nor said."""
    hits = 2 * (said & true).sum(axis=0)
    total = said.sum(axis=0) + true.sum(axis=0)
    return {
        tag: round(float(h / n) if n else 1.0, 3) for tag, h, n in zip(VOCABULARY, hits, total, strict=True)
    }
