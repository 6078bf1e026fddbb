from __future__ import annotations

from pathlib import Path

import torch

from dataprep.inference.base import load_base
from dataprep.inference.tokens import encode_texts, token_ids
from dataprep.inference.word import WordTokenizer, with_word


def test_the_new_word_is_read_whole_and_nothing_else_changes(base_path: Path) -> None:
    plain = load_base(base_path, "cpu", torch.float32).tokenizers[0]
    worded = WordTokenizer(plain, "sks", [50000, 50001])
    for text in ("1girl, red hair", "skset and asks"):
        assert token_ids(worded, text, 1) == token_ids(plain, text, 1)
    known = token_ids(plain, "a, girl", 1)[0][0]
    assert token_ids(worded, "sks, girl", 1)[0][0][:5] == [49406, 50000, 50001, *known[2:4]]


def test_a_word_with_a_known_words_rows_is_told_as_that_word(base_path: Path) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    known = encode_texts(base, ["a girl, red hair"], 1).context
    girl = base.tokenizers[0]("girl", add_special_tokens=False)["input_ids"]
    rows = base.text_encoders[0].get_input_embeddings().weight[girl]
    worded, (embedding,) = with_word(base, "sks", [rows])
    assert torch.equal(encode_texts(worded, ["a SKS, red hair"], 1).context, known)
    assert not torch.equal(encode_texts(worded, ["a sksy, red hair"], 1).context, known)
    with torch.no_grad():
        embedding.rows.add_(1)
    assert not torch.equal(encode_texts(worded, ["a sks, red hair"], 1).context, known)
    assert torch.equal(encode_texts(worded, ["a girl, red hair"], 1).context, known)


def test_only_the_new_rows_learn(base_path: Path) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    worded, (embedding,) = with_word(base, "sks", [torch.zeros(2, 32)])
    encode_texts(worded, ["sks, hat"], 1).context.square().sum().backward()
    assert [name for name, p in worded.text_encoders[0].named_parameters() if p.grad is not None] == [
        "embeddings.token_embedding.rows"
    ]
    assert embedding.rows.grad is not None
    assert embedding.rows.grad.abs().sum() > 0
