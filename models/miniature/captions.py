"""What the text-to-image model reads of a drawing: whole and partial tag lists, the class word, nothing.

Owns the mixture. Partial captions teach that what is unsaid may vary; the class word alone is what class
images are drawn from; a stray word now and then teaches that an unknown word changes nothing, so that a
trigger starts out meaning nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.miniature.drawing import Drawing, tags

EMPTY, CLASS_WORD, WHOLE, FEW, STRAY = 0.1, 0.15, 0.35, 0.15, 0.08
CLASS_WORDS = {"1girl": "girl", "1boy": "boy"}


def caption_of(drawing: Drawing, rng: np.random.Generator, strays: Sequence[str]) -> str:
    """One random caption of the drawing, at most about 60 tokens long.

    Args:
        drawing: the truth.
        rng: decides the form, and which tags stay.
        strays: words that mean nothing here; one is put in now and then.
    """
    form = rng.random()
    if form < EMPTY:
        return ""
    words = tags(drawing)
    if form < EMPTY + CLASS_WORD:
        rest = [] if rng.random() < 0.35 else some(words[2:], rng, float(rng.uniform(0.1, 1)))
        words = [CLASS_WORDS[drawing.count], *rest]
    elif form < EMPTY + CLASS_WORD + FEW:
        words = [words[0], *some(words[2:], rng, 0.2)]
    elif form < 1 - WHOLE:
        words = some(words, rng, float(rng.uniform(0.4, 1))) or words[:1]
    if rng.random() < 0.4:
        head, tail = words[:1], words[1:]
        rng.shuffle(tail)
        words = head + tail
    if rng.random() < STRAY:
        words.insert(int(rng.integers(0, len(words) + 1)), strays[int(rng.integers(0, len(strays)))])
    return ", ".join(words)


def some(words: list[str], rng: np.random.Generator, share: float) -> list[str]:
    """Each word with probability `share`, in order."""
    return [word for word in words if rng.random() < share]


def stray_words(vocabulary: dict[str, int]) -> list[str]:
    """CLIP's whole-word tokens of three or four plain letters (`sks` is one of some thousands)."""
    ends = "</w>"
    words = (token.removesuffix(ends) for token in vocabulary if token.endswith(ends))
    return [word for word in words if len(word) in (3, 4) and word.isascii() and word.isalpha()]
