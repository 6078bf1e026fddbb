"""Concepts for CLIP: what is asked for by default, and how a probability is made of similarities."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from dataprep.curate.captions import unique
from dataprep.errors import ConfigError
from dataprep.tags.vocabulary import CATEGORIES, GENERAL, label_spelling

# What taggers trained on drawings name badly or not at all, and what no trigger should bind by accident.
CONCEPTS: Final = (
    "photo",
    "illustration",
    "pencil sketch",
    "oil painting",
    "watercolor painting",
    "3d render",
    "pixel art",
    "line art",
    "comic page",
    "screenshot of a video game",
    "poster with text",
    "black and white picture",
    "blurry picture",
    "beach",
    "forest",
    "city street",
    "mountains",
    "snow",
    "night",
    "sunset",
    "interior of a room",
    "stage with lights",
    "swimming pool",
    "crowd",
)
TEMPLATES: Final = ("{}", "a picture of {}", "a drawing of {}")
NULL_PROMPTS: Final = ("a picture", "an image", "a drawing", "a photo", "something")


def softmax_probability(
    concepts: NDArray[np.float32], nulls: NDArray[np.float32], scale: float
) -> NDArray[np.float32]:
    """Probability that a concept's words fit a picture better than words that say nothing.

    For each concept, the softmax over it and the mean null prompt, so that .5 means: no better than nothing.

    Args:
        concepts: cosine similarity of pictures and concepts, shape (B, N).
        nulls: cosine similarity of pictures and null prompts, shape (B, M).
        scale: the model's logit scale, the inverse temperature (100 for CLIP).
    Returns:
        Shape (B, N), 0..1.
    """
    logits = scale * concepts
    null = _log_mean_exp(scale * nulls)  # (B, 1)
    return np.asarray(1 / (1 + np.exp(np.clip(null - logits, -60, 60))), dtype=np.float32)


def sigmoid_probability(concepts: NDArray[np.float32], scale: float, bias: float) -> NDArray[np.float32]:
    """A SigLIP model's own probability that words and picture belong together, shape (B, N)."""
    return np.asarray(1 / (1 + np.exp(np.clip(-(scale * concepts + bias), -60, 60))), dtype=np.float32)


def _log_mean_exp(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    top = logits.max(axis=1, keepdims=True)
    return np.asarray(top + np.log(np.exp(logits - top).mean(axis=1, keepdims=True)), dtype=np.float32)


_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
ScoreKind = Literal["softmax against null prompts", "sigmoid"]


def read_words(file: Path) -> tuple[str, ...]:
    """A vocabulary's words: of a text file with one a line (# starts a remark), or of a table of tags.

    A table (.csv, .tsv) has a column `name`, `tag` or `tag_name`. Where it has a `category` too, as a
    tagger's `selected_tags.csv`, only general tags are words, as with `vocabulary = "tagger"`: ratings and
    names are the tagger's own business.

    Raises:
        ConfigError: the file cannot be read, or has no words.
    """
    try:
        text = file.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"clip.vocabulary: {file}: cannot be read as UTF-8 text ({error})") from error
    if (delimiter := _DELIMITERS.get(file.suffix.lower())) is not None:
        names = _general_names(csv.DictReader(text.splitlines(), delimiter=delimiter))
    else:
        names = [line.partition("#")[0].strip() for line in text.splitlines()]
    words = unique(label_spelling(name) for name in names if name and not name.startswith("rating:"))
    if not words:
        raise ConfigError(
            f"clip.vocabulary: {file}: no words; wanted one a line, or a .csv with a column name (and, where "
            "it has a column category, with tags of category 0)"
        )
    return words


def _general_names(reader: csv.DictReader[str]) -> list[str]:
    columns = reader.fieldnames or ()
    column = next((name for name in ("name", "tag", "tag_name") if name in columns), "name")
    return [row[column] for row in reader if row.get(column) and _is_general(row.get("category"))]


def _is_general(category: str | None) -> bool:
    """Whether a category is that of general tags, by danbooru's number or by name, or says nothing."""
    if category is None or not category.strip():
        return True
    number = category.strip()
    name = CATEGORIES.get(int(number)) if number.isdecimal() else number.lower()
    return name == GENERAL
