"""Captions that the miniature base model reads."""

from __future__ import annotations

from collections import Counter

import numpy as np

from dataprep.inference.text import clip_merges, clip_tokenizer, clip_vocabulary
from models.miniature.captions import caption_of, stray_words
from models.miniature.drawing import Drawing, random_drawing, tags

STRAYS = ("zzq", "xkc")


def test_forms_come_up_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    drawing = Drawing()
    forms = Counter(
        "empty" if not caption else "class word" if "girl" in caption.split(", ") else "tags"
        for caption in (caption_of(drawing, rng, STRAYS) for _ in range(4000))
    )
    assert abs(forms["empty"] / 4000 - 0.10) < 0.02
    assert abs(forms["class word"] / 4000 - 0.15) < 0.02


def test_a_caption_says_nothing_false() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        drawing = random_drawing(rng)
        words = {word for word in caption_of(drawing, rng, STRAYS).split(", ") if word}
        assert words <= {*tags(drawing), "girl" if drawing.count == "1girl" else "boy", *STRAYS}


def test_the_longest_caption_fits_into_77_tokens() -> None:
    rng = np.random.default_rng(2)
    captions = [", ".join([*tags(random_drawing(rng)), "sks"]) for _ in range(400)]
    assert max(len(ids) for ids in clip_tokenizer()(captions).input_ids) <= 77


def test_stray_words_are_single_tokens_and_include_the_usual_trigger() -> None:
    words = stray_words(clip_vocabulary(clip_merges()))
    assert "sks" in words
    assert all(len(ids) == 3 for ids in clip_tokenizer()(words[:500]).input_ids)
