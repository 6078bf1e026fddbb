from __future__ import annotations

import random

import pytest

from dataprep.inference.text import clip_tokenizer
from dataprep.tags.tokens import caption_tokens, token_count, tokenizer, words
from dataprep.tags.vocabulary import KAOMOJI

LETTERS = "abcdefghij klmnop_'-,.!()<>|^0123456789éßÄ少女ハ½² \u3000\t"
TEXTS = [
    "sks girl, 1girl, very long hair, looking at viewer",
    "saber (fate), k-on!, t-shirt, don't, it's",
    "少女、長い髪, naïve café, e\u0301, 😀",
    *sorted(KAOMOJI),
]


def random_texts(count: int) -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 30))) for _ in range(count)]


def test_ids_are_those_of_clips_own_tokenizer() -> None:
    reference, ours = clip_tokenizer(), tokenizer()
    for text in [*TEXTS, *random_texts(300)]:
        ids = [ours.ids[piece] for word in words(text) for piece in ours.pieces(word)]
        assert ids == reference(text, add_special_tokens=False)["input_ids"], text


@pytest.mark.parametrize("caption", ["sks girl, 1girl, saber (fate), :d, x", "one", "", "a (b), (c), d!"])
def test_a_caption_counts_as_many_tokens_as_its_whole_text(caption: str) -> None:
    assert caption_tokens(caption) == token_count(caption)


def test_common_words_have_low_ranks_and_rare_ones_high() -> None:
    clip = tokenizer()
    ranks = [clip.rank(clip.pieces(word)[0]) for word in ("girl", "hugging", "sks")]
    assert ranks == sorted(ranks)
    assert clip.rank("a") == 0
