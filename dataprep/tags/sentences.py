"""Sentences of a captioner as one more tag behind the others, which people remove and change like tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprep.curate.captions import spaced
from dataprep.tags.assemble import IN_CAPTION, KEPT, caption_text, without_trigger
from dataprep.tags.columns import TagColumns

if TYPE_CHECKING:
    from dataprep.stages.prune import Prune

_SPLITTERS: Final = re.compile(r"[,，、;\s]+")  # trainers split at commas; a sentence stays whole


def as_tag(sentence: str, trigger: str | None = None, class_word: str | None = None) -> str:
    """A sentence as one tag: no comma, line break or full stop in it, and never the trigger word."""
    plain = _SPLITTERS.sub(" ", sentence).strip(" .!")
    return spaced(without_trigger(plain, trigger, class_word) if trigger else plain)


def with_sentences(
    columns: TagColumns,
    captions: list[str],
    sentences: pa.ChunkedArray,
    wanted: NDArray[np.bool_],
    settings: Prune,
) -> TagColumns:
    """The tags with each picture's sentence behind those in the caption; writes it into `captions` too.

    Args:
        columns: the machine's tags.
        captions: the machine's captions, one per row; changed in place.
        sentences: one per row, null where there is none.
        wanted: which rows' captions may have one, shape (rows,).
        settings: trigger and class word.
    """
    changed: dict[int, list[dict[str, Any]]] = {}
    for row in np.flatnonzero(sentences.is_valid().to_numpy() & wanted).tolist():
        text = as_tag(sentences[row].as_py(), settings.trigger, settings.class_word)
        if text:
            captions[row] = caption_text(captions[row], [text])
            changed[row] = _behind(columns.of(row), text)
    return columns.replaced(changed) if changed else columns


def _behind(tags: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    told = {
        "tag": text, "score": None, "source": "caption", "category": "sentence", "fate": KEPT,
        "rule": "kept: what the captioner says",
    }  # fmt: skip
    place = sum(tag["fate"] in IN_CAPTION for tag in tags)
    return [*tags[:place], told, *tags[place:]]
