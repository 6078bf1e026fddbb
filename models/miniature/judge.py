"""The judge: finds the three signature features. Trained apart from the tagger, on other pictures.

It decides whether a trained LoRA draws the signature, so it learns from random characters on which each
feature appears independently, half of them after the VAE, never from the signature character itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.miniature.classifier import Classifier, export_wd, squares, train_classifier
from models.miniature.data import rendered, signed_drawings
from models.miniature.drawing import Drawing
from models.miniature.tagger import probabilities, round_tripped

FEATURES = ("star hairpin", "streaked hair", "striped scarf")
PICTURES, ROUND_TRIPS, SEED_TRAIN = 2500, 400, 21_000
HELD_OUT, SEED_HELD_OUT = 200, 22_000


def feature_table(truths: list[Drawing]) -> NDArray[np.float32]:
    """0 or 1 for star, streak and scarf, (N, 3)."""
    return np.array([(t.star, t.streak, t.scarf) for t in truths], dtype=np.float32)


def train_judge(folder: Path, vae_folder: Path, scratch: Path, steps: int) -> None:
    """Train and export to `folder`, in the tagger's format."""
    truths = signed_drawings(PICTURES, SEED_TRAIN)
    pictures = rendered(scratch / "judge.npy", truths, 256, 256)
    plain = squares(scratch / "judge_squares.npy", [pictures])
    after_vae = round_tripped(scratch / "judge_vae.npy", vae_folder, pictures[:ROUND_TRIPS])
    table = feature_table(truths)
    rows = np.concatenate([table, table[:ROUND_TRIPS]])
    counts = [int(count) for count in rows.sum(axis=0)]
    train_classifier(
        "judge",
        Classifier(len(FEATURES), 12),
        np.concatenate([plain, after_vae]),
        rows,
        steps,
        seed=21,
        save=lambda classifier: export_wd(classifier, folder, FEATURES, [0] * len(FEATURES), counts),
    )
    print(f"judge: {measure_judge(folder, vae_folder, scratch)}", flush=True)


def measure_judge(folder: Path, vae_folder: Path, scratch: Path) -> dict[str, float]:
    """Accuracy per feature at 0.5 on held-out characters, before and after the VAE."""
    truths = signed_drawings(HELD_OUT, SEED_HELD_OUT)
    pictures = rendered(scratch / "judge_held_out.npy", truths, 256, 256)
    true = feature_table(truths) > 0.5
    measured = {}
    for name, stack in (
        ("drawn", squares(scratch / "judge_held_out_squares.npy", [pictures])),
        ("after the VAE", round_tripped(scratch / "judge_held_out_vae.npy", vae_folder, pictures)),
    ):
        right = ((probabilities(folder / "model.onnx", stack) > 0.5) == true).mean(axis=0)
        for feature, share in zip(FEATURES, right, strict=True):
            measured[f"{feature}, {name}"] = round(float(share), 4)
    return measured
