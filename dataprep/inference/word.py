"""A learned word in a base model: its tokenizers read it as new tokens, its text encoders embed those.

Owns one decision: new tokens are numbered from the end of the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dataprep.inference.base import Base
from dataprep.inference.tokens import plain_ids


class WordTokenizer:
    """A CLIP tokenizer that reads one word as new tokens."""

    def __init__(self, tokenizer: Any, word: str, ids: list[int]) -> None:  # noqa: ANN401 - transformers
        """Wrap a tokenizer; where the word stands between characters other than letters it is `ids`."""
        self.inner, self.ids = tokenizer, ids
        self.word = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
        self.bos_token_id, self.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.pad_token_id = tokenizer.pad_token_id

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:  # noqa: ANN401 - transformers
        """Token ids, without BOS and EOS."""
        ids: list[int] = []
        for i, part in enumerate(self.word.split(text)):
            ids += [*(self.ids if i else []), *plain_ids(self.inner, part)]
        return {"input_ids": ids}


class WordEmbedding(nn.Module):
    """A frozen token embedding (V, C) with rows (n, C) appended that learn."""

    def __init__(self, frozen: nn.Embedding, start: Tensor) -> None:
        """Append rows that begin as `start`, (n, C)."""
        super().__init__()
        self.frozen = frozen
        self.rows = nn.Parameter(start.detach().clone().float())

    @property
    def weight(self) -> Tensor:
        """The frozen rows, which transformers looks at for device and type."""
        return self.frozen.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids (B, T), those from V on by the new rows: (B, T, C)."""
        size = self.frozen.num_embeddings
        known = self.frozen(ids.clamp(max=size - 1))
        new = self.rows[(ids - size).clamp(min=0)].to(known.dtype)
        return torch.where((ids >= size).unsqueeze(-1), new, known)


def with_word(base: Base, word: str, rows: Sequence[Tensor]) -> tuple[Base, list[WordEmbedding]]:
    """The base model with a word of its own in it, and the embeddings that hold it.

    Args:
        base: its text encoders are changed in place.
        word: what is read as the new tokens wherever it stands by itself, in any case.
        rows: the word's token embeddings, (n, C) for each text encoder.
    """
    tokenizers, embeddings = [], []
    for encoder, tokenizer, start in zip(base.text_encoders, base.tokenizers, rows, strict=True):
        embedding = WordEmbedding(encoder.get_input_embeddings(), start.to(encoder.device))
        ids = [embedding.frozen.num_embeddings + j for j in range(len(start))]
        encoder.set_input_embeddings(embedding)
        embeddings.append(embedding)
        tokenizers.append(WordTokenizer(tokenizer, word, ids))
    return replace(base, tokenizers=tuple(tokenizers)), embeddings
