"""A tagger: pictures in, one probability per tag out. Owns how WD and DeepDanbooru networks are fed.

Layout, size and number of tags are read from the graph; channel order, range and padding from the graph's own
notes or from pins.toml. Whatever contradicts another is an error, never a wrong tag.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.errors import ModelError
from dataprep.inference.onnx import Graph, open_graph
from dataprep.tags.vocabulary import CATEGORIES, CHARACTER, GENERAL, RATING, label_spelling

log = logging.getLogger(__name__)

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

_MANY_TAGS: Final = 100
_WD_SIDE, _DEEPDANBOORU_SIDE = 448, 512  # px; each sort's networks have one size


@dataclass(frozen=True)
class Labels:
    """A tagger's tags in the order of its outputs."""

    tags: tuple[str, ...]  # final spelling
    categories: tuple[str, ...]
    thresholds: Mapping[str, float]  # per tag, where the model ships them
    category_thresholds: Mapping[str, float] = field(default_factory=dict)  # the same per category
    base_rates: Mapping[str, float] = field(default_factory=dict)  # share of the training pictures, 0..1


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
        pixels = squared(image, self.size_px, self.convention.pad)  # (H, W, C)
        if self.convention.channels == "BGR":
            pixels = np.ascontiguousarray(pixels[:, :, ::-1])  # while a pixel is three bytes, not twelve
        array = pixels.astype(np.float32)
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
            self._check_logits(out)
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

    def _check_logits(self, out: NDArray[np.float32]) -> None:
        # Of so many logits some are below 0; a second sigmoid would put every tag above a half.
        if out.shape[1] >= _MANY_TAGS and out.min() >= 0 and out.max() <= 1:
            raise ModelError(
                f"{self.graph.path}: gives probabilities, of which logits are assumed; {_say(logits=False)}"
            )

    def _checked(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if not np.isfinite(scores).all() or scores.min() < -1e-4 or scores.max() > 1 + 1e-4:
            raise ModelError(
                f"{self.graph.path}: scores from {scores.min():.3g} to {scores.max():.3g} are no "
                f"probabilities; if the network gives logits, {_say(logits=True)}"
            )
        return np.clip(scores, 0, 1)


def squared(image: Image.Image, size_px: int, pad: int) -> NDArray[np.uint8]:
    """The picture, padded to a square around its centre and scaled to `size_px`, as WD taggers learned.

    A square of `size_px` or more is averaged (cv2.INTER_AREA), a smaller one enlarged with Lanczos.

    Returns:
        Shape (size_px, size_px, 3), RGB.
    Source: kohya-ss/sd-scripts, the tagger most sets are made with; the model cards' own demo uses bicubic.
    """
    import cv2

    pixels = np.asarray(image)
    side = max(image.size)
    across, down = side - image.width, side - image.height
    if across or down:
        edges = (down // 2, down - down // 2, across // 2, across - across // 2)
        pixels = cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_CONSTANT, value=(pad, pad, pad))
    if side < size_px:
        small = Image.fromarray(pixels)
        pixels = np.asarray(small.resize((size_px, size_px), Image.Resampling.LANCZOS))
    elif side > size_px:
        pixels = cv2.resize(pixels, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(pixels, dtype=np.uint8)


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
    convention = _convention(folder, facts, graph, labels)
    rows, columns = _sides(graph, convention)
    stated = _own_config(folder, labels)
    if graph.classes is not None and graph.classes != len(labels.tags):
        raise ModelError(
            f"{graph.path}: gives {graph.classes} numbers, its list of tags has {len(labels.tags)}; the "
            "two files are not of the same model"
        )
    size = int(facts.get("size", 0)) or rows or stated
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


def _convention(folder: Path, facts: Mapping[str, Any], graph: Graph, labels: Labels) -> Convention:
    """The input convention: as stated, else assumed by the list of tags that lies beside the network."""
    stated = graph.notes.get("format") or facts.get("format") or _config(folder).get("format")
    name = str(stated or _assumed(folder, graph, labels))
    if name not in CONVENTIONS:
        raise ModelError(f"{graph.path}: format {name!r} is unknown; known are {', '.join(CONVENTIONS)}")
    convention = CONVENTIONS[name]
    logits = _config(folder).get("logits", facts.get("logits"))
    if logits is not None:
        convention = replace(convention, logits=bool(logits))
    return convention


def _assumed(folder: Path, graph: Graph, labels: Labels) -> str:
    """The format that the list of tags speaks for; said to people, for it decides what the network sees.

    Raises:
        ModelError: the network is of the other format.
    """
    listed = _tag_list(folder)
    wd, rated = _says_categories(listed), RATING in labels.categories
    sides = {side for side in graph.shape[1:] if side not in (3, None)}
    if not wd and (sides == {_WD_SIDE} or "pretrained_cfg" in _config(folder)):
        raise ModelError(_contradiction(listed, "DeepDanbooru's", graph, "WD's"))
    if wd and not rated and sides == {_DEEPDANBOORU_SIDE}:
        raise ModelError(_contradiction(listed, "WD's", graph, "DeepDanbooru's"))
    # Channels first is how PyTorch's exports are laid out, and those take -1..1 and give logits.
    name = ("wd-nchw" if graph.shape[1] == 3 != graph.shape[3] else "wd") if wd else "deepdanbooru"
    ratings = "categories and ratings" if rated else "categories, but no ratings"
    log.info(
        "%s: format %s is assumed, for %s has %s; config.json beside it may say another: %s",
        graph.path.name,
        name,
        listed.name,
        ratings if wd else "no categories",
        f'{{"format": "{"deepdanbooru" if wd else "wd"}"}}',
    )
    return name


def _say(**told: str | bool) -> str:
    """How people say what a network is like, which neither the graph nor its files tell."""
    return f"say so in config.json beside it: {json.dumps(told)}"


def _contradiction(listed: Path, lists: str, graph: Graph, takes: str) -> str:
    return (
        f"{graph.path}: {listed.name} is a list of {lists} kind, but an input of {graph.shape} is {takes}; "
        f'put the list of the same model beside it, or say which in config.json: {{"format": "wd"}} or '
        '{"format": "deepdanbooru"}'
    )


def _config(folder: Path) -> Mapping[str, Any]:
    """What `config.json` beside the network says; empty if there is none."""
    path = (folder.parent if folder.is_file() else folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _own_config(folder: Path, labels: Labels) -> int | None:
    """Side of the input, px, as `config.json` beside the network says; None if it doesn't.

    Raises:
        ModelError: it speaks of another number of tags.
    """
    path = (folder.parent if folder.is_file() else folder) / "config.json"
    config = _config(folder)
    own = config.get("pretrained_cfg")
    classes, sides = config.get("num_classes"), own.get("input_size") if isinstance(own, dict) else None
    if isinstance(classes, int) and classes != len(labels.tags):
        raise ModelError(
            f"{path}: speaks of {classes} tags, the list beside it has {len(labels.tags)}; the two files are "
            "not of the same model"
        )
    return int(sides[-1]) if isinstance(sides, list) and sides else None


def _sides(graph: Graph, convention: Convention) -> tuple[int | None, int | None]:
    """Height and width of the input; checks that the channels are where the convention has them."""
    channel = 3 if convention.layout == "NHWC" else 1
    if graph.shape[channel] not in (3, None):
        raise ModelError(
            f"{graph.path}: its input is {graph.shape}, but {convention.layout} with 3 channels was "
            f"expected; {_say(format='wd-nchw')}, or another of {', '.join(CONVENTIONS)}"
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
    """The tags beside a network: `selected_tags.csv` (WD) or `tags.txt` (DeepDanbooru). Raises ModelError."""
    path = _tag_list(folder)
    try:
        text = path.read_text(encoding="utf-8-sig")
        labels = _csv_labels(text, path) if path.suffix == ".csv" else _text_labels(text, path.parent)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: cannot be read as a list of tags: {error!r}") from error
    try:
        return _with_tables(labels, path.parent)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path.parent}/thresholds: wanted a number for each tag: {error!r}") from error


def _says_categories(path: Path) -> bool:
    """Whether a list of tags has danbooru's categories, as WD's has and DeepDanbooru's has not."""
    if path.suffix != ".csv":
        return False
    with path.open(encoding="utf-8-sig") as file:
        return "category" in file.readline().strip().split(",")


def _csv_labels(text: str, path: Path) -> Labels:
    reader = csv.DictReader(text.splitlines())
    lines = [(reader.line_num, row) for row in reader]
    rows = [row for _, row in lines]
    column = next((name for name in ("name", "tag", "tag_name") if rows and name in rows[0]), "name")
    for line, row in lines:
        _check_line(row, column, f"{path}, line {line}")
    names = [row[column] for row in rows]
    tags = tuple(label_spelling(name) for name in names)
    categories = tuple(
        CATEGORIES.get(int(row["category"]), GENERAL) if "category" in row else _category(name)
        for name, row in zip(names, rows, strict=True)
    )
    # "best_threshold" is the column that models with calibrated thresholds ship
    own = {
        tag: float(value)
        for tag, row in zip(tags, rows, strict=True)
        if (value := row.get("best_threshold") or row.get("threshold"))
    }
    counts = [int(row.get("count") or 0) for row in rows]
    return Labels(tags, categories, own, base_rates=_base_rates(tags, categories, counts))


def _check_line(row: Mapping[str, str | None], column: str, where: str) -> None:
    """Raise ModelError where a line of a list of tags is none: a tag's number is the number of its line."""
    wrong = "no tag" if column in row and not (row[column] or "").strip() else None
    for name in ("category", "count"):
        text = row.get(name, "0")
        if text is None or (not text.strip().isdecimal() and (text or name == "category")):
            wrong = wrong or f"{name} {text!r}, wanted a whole number"
    if wrong:
        raise ModelError(
            f"{where}: {wrong}; the lines stand for the network's outputs in order, so none can be left out: "
            "get this file again (`dataprep models get`), or mend the line"
        )


def _base_rates(tags: Sequence[str], categories: Sequence[str], counts: Sequence[int]) -> dict[str, float]:
    # Every picture has exactly one rating, so the ratings' counts add up to the number of pictures.
    pictures = sum(count for count, category in zip(counts, categories, strict=True) if category == RATING)
    if pictures == 0:
        return {}
    return {tag: min(1.0, count / pictures) for tag, count in zip(tags, counts, strict=True)}


def _category(name: str, characters: Collection[str] = ()) -> str:
    return RATING if name.startswith("rating:") else CHARACTER if name in characters else GENERAL


def _text_labels(text: str, folder: Path) -> Labels:
    names = [line.strip() for line in text.splitlines() if line.strip()]
    characters = folder / "tags-character.txt"
    known = set(characters.read_text(encoding="utf-8").split()) if characters.is_file() else set()
    categories = tuple(_category(name, known) for name in names)
    return Labels(tuple(label_spelling(name) for name in names), categories, {})


def _with_tables(labels: Labels, folder: Path) -> Labels:
    """With `thresholds.json` (tag: number) and `thresholds.csv` (name, threshold; of tags or categories)."""
    given: dict[str, float] = {}
    if (folder / "thresholds.json").is_file():
        table = json.loads((folder / "thresholds.json").read_text(encoding="utf-8"))
        given |= {str(name): float(value) for name, value in table.items()}
    if (folder / "thresholds.csv").is_file():
        with (folder / "thresholds.csv").open(encoding="utf-8-sig", newline="") as file:
            given |= {row.get("name") or row["tag"]: float(row["threshold"]) for row in csv.DictReader(file)}
    of_categories = {name: value for name, value in given.items() if name in CATEGORIES.values()}
    per_tag = {label_spelling(n): value for n, value in given.items() if n not in of_categories}
    return replace(labels, thresholds={**labels.thresholds, **per_tag}, category_thresholds=of_categories)
