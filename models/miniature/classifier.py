"""A small convolutional classifier, trained on known truths and saved as a WD-format ONNX file.

Owns what the tagger and the judge share: the network, the degradations it learns to see through, the export.
The graph takes what WD taggers take: NHWC, float32, BGR, 0..255; it gives probabilities.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.miniature.data import Pixels
from models.miniature.learning import Average, Log, channels_last, cosine, replace_file, set_rate

INPUT_SIDE = 128
BATCH = 64
RATINGS = ("general", "sensitive", "questionable", "explicit")
RATING_CATEGORY = 9


class Classifier(nn.Module):
    """RGB (B, 3, 128, 128) in -1..1 to logits (B, outputs); `width` channels at the first resolution."""

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        sizes = (width, 2 * width, 4 * width, 5 * width)
        layers: list[nn.Module] = [convolution(3, width, 2)]
        for before, after in pairwise(sizes):
            layers += [convolution(before, after, 2), Residual(after)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(2 * sizes[-1], outputs)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits from the mean and the maximum over places of the last feature map."""
        features = self.body(pictures)  # (B, C, 8, 8)
        logits: Tensor = self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1))
        return logits


def convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, SiLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.SiLU(inplace=True)
    )


class Residual(nn.Module):
    """Two convolutions around a short cut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(convolution(channels, channels // 2), convolution(channels // 2, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Same shape out as in."""
        out: Tensor = features + self.inner(features)
        return out


class Wd(nn.Module):
    """The exported graph: WD's input convention around a classifier."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:
        """BGR (B, 128, 128, 3) in 0..255 to probabilities (B, outputs)."""
        rgb = torch.cat([pixels[..., 2:3], pixels[..., 1:2], pixels[..., 0:1]], dim=-1)
        return torch.sigmoid(self.classifier(rgb.permute(0, 3, 1, 2) / 127.5 - 1))


def square(picture: Pixels, side: int = INPUT_SIDE) -> Pixels:
    """The picture on a white square, bicubic to `side` px, as WD taggers want it."""
    height, width = picture.shape[:2]
    longest = max(width, height)
    canvas = Image.new("RGB", (longest, longest), (255, 255, 255))
    canvas.paste(Image.fromarray(picture), ((longest - width) // 2, (longest - height) // 2))
    return np.asarray(canvas.resize((side, side), Image.Resampling.BICUBIC))


def squares(cache: Path, sources: Sequence[Pixels]) -> Pixels:
    """All pictures of all sources as squares, uint8 (N, 128, 128, 3), kept in `cache`."""
    if not cache.exists():
        stack = np.stack([square(picture) for source in sources for picture in source])
        np.save(cache, stack)
    loaded: Pixels = np.load(cache, mmap_mode="r")
    return loaded


def degraded(pictures: Pixels, rng: np.random.Generator) -> Tensor:
    """A batch as it might come: shifted, scaled, blurred, noisy, darker; (B, 3, 128, 128), -1..1."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    count = len(x)
    theta = np.zeros((count, 2, 3), dtype=np.float32)
    zoom = rng.uniform(0.9, 1.03, count)
    theta[:, 0, 0], theta[:, 1, 1] = zoom, zoom
    theta[:, :, 2] = rng.uniform(-0.06, 0.06, (count, 2))
    grid = F.affine_grid(torch.from_numpy(theta), [count, 3, INPUT_SIDE, INPUT_SIDE], align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    blurry = torch.from_numpy(rng.random(count) < 0.3)
    x[blurry] = F.avg_pool2d(x[blurry], 3, 1, 1)
    gain = torch.from_numpy(rng.uniform(0.88, 1.1, (count, 1, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.uniform(0, 0.08, (count, 1, 1, 1)).astype(np.float32))
    return ((x + 1) * gain - 1 + noise * torch.randn_like(x)).clamp(-1, 1)


def train_classifier(
    name: str,
    classifier: Classifier,
    pictures: Pixels,
    truths: NDArray[np.float32],
    steps: int,
    seed: int,
    save: Callable[[Classifier], None],
) -> None:
    """Train with binary cross-entropy and hand the averaged weights to `save`.

    Args:
        name: for the log.
        classifier: untrained.
        pictures: uint8 (N, 128, 128, 3).
        truths: 0 or 1, (N, outputs).
        steps: of BATCH pictures.
        seed: of the order and the degradations.
        save: called once, at the end.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    channels_last(classifier).train()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=0.0, weight_decay=0.02, fused=True)
    average, log = Average(classifier, 0.99), Log(name, 100)
    for step in range(steps):
        set_rate(optimiser, cosine(step, steps, 3e-3, 50))
        rows = np.sort(rng.integers(0, len(pictures), BATCH))
        batch = degraded(pictures[rows], rng).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = classifier(batch)
        loss = F.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(truths[rows]))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(classifier)
        log.add(step, loss.item())
    average.copy_to(classifier)
    save(classifier.eval())


def export_wd(
    classifier: Classifier,
    folder: Path,
    names: Sequence[str],
    categories: Sequence[int],
    counts: Sequence[int],
) -> None:
    """Write model.onnx and selected_tags.csv (tag_id,name,category,count; names with underscores)."""
    example = torch.zeros(2, INPUT_SIDE, INPUT_SIDE, 3)
    wd = Wd(classifier).eval()

    def write_graph(path: Path) -> None:
        with warnings.catch_warnings():
            # The exporter that needs no further package is deprecated in favour of one that does.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                wd,
                (example,),
                str(path),
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
                opset_version=17,
                dynamo=False,
            )

    def write_tags(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("tag_id", "name", "category", "count"))
            for index, row in enumerate(zip(names, categories, counts, strict=True)):
                writer.writerow((index, row[0].replace(" ", "_"), *row[1:]))

    replace_file(write_graph, folder / "model.onnx")
    replace_file(write_tags, folder / "selected_tags.csv")
