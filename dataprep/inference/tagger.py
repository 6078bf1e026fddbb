"""A tagger: pictures in, one probability per tag out. Owns how WD and DeepDanbooru networks are fed.

Layout, size and number of tags are read from the graph; channel order, range and padding from the graph's own
notes or from pins.toml. Whatever contradicts another is an error, never a wrong tag.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.errors import ModelError
from dataprep.inference.onnx import Graph, open_graph
from dataprep.tags.vocabulary import CATEGORIES, CHARACTER, GENERAL, RATING, label_spelling

Layout = Literal["NHWC", "NCHW"]


@dataclass(frozen=True)
class Convention:
    """How a network wants its pictures.

    Attributes:
        layout: order of the input's sides.
        channels: RGB or BGR.
        scale, shift: a channel value is pixel (0..255) * scale + shift.
        pad: grey value of the square's padding, 0..255.
        logits: True if the output still needs a sigmoid.
    """

    layout: Layout = "NHWC"
    channels: Literal["RGB", "BGR"] = "BGR"
    scale: float = 1.0
    shift: float = 0.0
    pad: int = 255
    logits: bool = False


CONVENTIONS: Final[Mapping[str, Convention]] = {
    "wd": Convention(),
    "deepdanbooru": Convention(channels="RGB", scale=1 / 255, pad=0),
    # cl_tagger and other exports of PyTorch models: BGR, -1..1, logits
    "wd-nchw": Convention(layout="NCHW", scale=1 / 127.5, shift=-1.0, logits=True),
}


@dataclass(frozen=True)
class Labels:
    """A tagger's tags in the order of its outputs."""

    tags: tuple[str, ...]  # final spelling
    categories: tuple[str, ...]
    thresholds: Mapping[str, float]  # per tag, where the model ships them


class Tagger:
    """An opened tagger. `scores` may be called by several threads at once."""

    def __init__(self, graph: Graph, labels: Labels, convention: Convention, size_px: int) -> None:
        self.graph = graph
        self.labels = labels
        self.convention = convention
        self.size_px = size_px

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """One picture as the network wants it: shape (H, W, C) or (C, H, W), float32.

        Args:
            image: RGB; transparency is already resolved.
        """
        square = squared(image, self.size_px, self.convention.pad)
        array = np.asarray(square, dtype=np.float32)  # (H, W, C)
        if self.convention.channels == "BGR":
            array = array[:, :, ::-1]
        if (self.convention.scale, self.convention.shift) != (1.0, 0.0):
            array = array * np.float32(self.convention.scale) + np.float32(self.convention.shift)
        if self.convention.layout == "NCHW":
            array = array.transpose(2, 0, 1)
        return np.ascontiguousarray(array)

    def scores(self, pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probability of every tag in every prepared picture, shape (pictures, tags).

        Raises:
            ModelError: the network's output does not fit its list of tags, or is no probability.
        """
        batch = np.stack(pictures).astype(self.graph.dtype, copy=False)
        fixed = self.graph.shape[0]
        out = self.graph.run(batch) if fixed is None else self._in_fixed_batches(batch, fixed)
        out = out.reshape(len(batch), -1)
        if out.shape[1] != len(self.labels.tags):
            raise ModelError(
                f"{self.graph.path}: gives {out.shape[1]} numbers for {len(self.labels.tags)} tags; the "
                "network and its list of tags are not of the same model"
            )
        if self.convention.logits:
            out = np.asarray(1 / (1 + np.exp(-out)), dtype=np.float32)
        return self._checked(out)

    def _in_fixed_batches(self, batch: NDArray[Any], size: int) -> NDArray[np.float32]:
        outs = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            short = size - len(part)
            full = np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) if short else part
            outs.append(self.graph.run(full)[: len(part)])
        return np.concatenate(outs)

    def _checked(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if not np.isfinite(scores).all() or scores.min() < -1e-4 or scores.max() > 1 + 1e-4:
            raise ModelError(
                f"{self.graph.path}: scores from {scores.min():.3g} to {scores.max():.3g} are no "
                "probabilities; if the network gives logits, say logits = true for it in pins.toml"
            )
        return np.clip(scores, 0, 1)


def squared(image: Image.Image, size_px: int, pad: int) -> Image.Image:
    """The picture, padded to a square around its centre and scaled to `size_px`, as WD taggers learned.

    A square of `size_px` or more is averaged (cv2.INTER_AREA), a smaller one enlarged with Lanczos.
    Source: kohya-ss/sd-scripts, the tagger most sets are made with; the model cards' own demo uses bicubic.
    """
    side = max(image.size)
    if image.size != (side, side):
        square = Image.new("RGB", (side, side), (pad, pad, pad))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = square
    if side == size_px:
        return image
    if side < size_px:
        return image.resize((size_px, size_px), Image.Resampling.LANCZOS)
    import cv2

    return Image.fromarray(cv2.resize(np.asarray(image), (size_px, size_px), interpolation=cv2.INTER_AREA))


def open_tagger(folder: Path, facts: Mapping[str, Any], device: str = "cpu", threads: int = 0) -> Tagger:
    """Open a tagger's folder: one ONNX file and its list of tags.

    Args:
        folder: with `*.onnx` and `selected_tags.csv` or `tags.txt`.
        facts: what pins.toml says of it; may be empty.
        device: auto, cpu or cuda.
        threads: that one batch may use; 0 lets ONNX Runtime decide.
    Raises:
        ModelError: files are missing, or do not fit together or with `facts`.
    """
    labels = read_labels(folder)
    graph = open_graph(_onnx_file(folder), device, threads)
    convention = _convention(folder, facts, graph)
    rows, columns = _sides(graph, convention)
    if graph.classes is not None and graph.classes != len(labels.tags):
        raise ModelError(
            f"{graph.path}: gives {graph.classes} numbers, its list of tags has {len(labels.tags)}; the "
            "two files are not of the same model"
        )
    size = int(facts.get("size", rows or 0)) or rows
    if size is None or (rows is not None and (rows != size or columns != size)):
        raise ModelError(
            f"{graph.path}: takes {rows}x{columns} px; wanted a square of {size or 'a stated size'}"
        )
    return Tagger(graph, labels, convention, size)


def _onnx_file(folder: Path) -> Path:
    if folder.is_file():
        return folder
    found = sorted(folder.glob("*.onnx"))
    if len(found) > 1 and (folder / "model.onnx") in found:
        return folder / "model.onnx"
    if len(found) != 1:
        raise ModelError(f"{folder}: {len(found)} ONNX files were found; wanted one, or one named model.onnx")
    return found[0]


def _convention(folder: Path, facts: Mapping[str, Any], graph: Graph) -> Convention:
    """The input convention: pins.toml's format, else by the list of tags that lies beside the network."""
    listed = "wd" if _tag_list(folder).suffix == ".csv" else "deepdanbooru"
    name = str(graph.notes.get("format") or facts.get("format") or listed)
    if name not in CONVENTIONS:
        raise ModelError(f"{graph.path}: format {name!r} is unknown; known are {', '.join(CONVENTIONS)}")
    convention = CONVENTIONS[name]
    if "logits" in facts:
        convention = replace(convention, logits=bool(facts["logits"]))
    return convention


def _sides(graph: Graph, convention: Convention) -> tuple[int | None, int | None]:
    """Height and width of the input; checks that the channels are where the convention has them."""
    channel = 3 if convention.layout == "NHWC" else 1
    if graph.shape[channel] not in (3, None):
        raise ModelError(
            f"{graph.path}: its input is {graph.shape}, but {convention.layout} with 3 channels was "
            f"expected; set format in pins.toml to one of {', '.join(CONVENTIONS)}"
        )
    height, width = (side for i, side in enumerate(graph.shape) if i not in (0, channel))
    return height, width


def _tag_list(folder: Path) -> Path:
    base = folder.parent if folder.is_file() else folder
    for name in ("selected_tags.csv", "tags.csv", "tags.txt"):
        if (base / name).is_file():
            return base / name
    raise ModelError(f"{base}: no list of tags; wanted selected_tags.csv (WD) or tags.txt (DeepDanbooru)")


def read_labels(folder: Path) -> Labels:
    """The list of tags beside a network: `selected_tags.csv` (WD) or `tags.txt` (DeepDanbooru).

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    path = _tag_list(folder)
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _csv_labels(text) if path.suffix == ".csv" else _text_labels(text, path.parent)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: cannot be read as a list of tags: {error!r}") from error


def _csv_labels(text: str) -> Labels:
    rows = list(csv.DictReader(text.splitlines()))
    tags = tuple(label_spelling(row["name"]) for row in rows)
    categories = tuple(CATEGORIES.get(int(row["category"]), GENERAL) for row in rows)
    # "best_threshold" is the column that models with calibrated thresholds ship
    own = {
        tag: float(value)
        for tag, row in zip(tags, rows, strict=True)
        if (value := row.get("best_threshold") or row.get("threshold"))
    }
    return Labels(tags, categories, own)


def _text_labels(text: str, folder: Path) -> Labels:
    names = [line.strip() for line in text.splitlines() if line.strip()]
    characters = folder / "tags-character.txt"
    known = set(characters.read_text(encoding="utf-8").split()) if characters.is_file() else set()
    categories = tuple(
        RATING if name.startswith("rating:") else CHARACTER if name in known else GENERAL for name in names
    )
    return Labels(tuple(label_spelling(name) for name in names), categories, _json_thresholds(folder))


def _json_thresholds(folder: Path) -> dict[str, float]:
    path = folder / "thresholds.json"
    if not path.is_file():
        return {}
    return {label_spelling(tag): float(value) for tag, value in json.loads(path.read_text("utf-8")).items()}
