"""Text to CLIP token ids in passes of 75, with the weighted syntax of Stable Diffusion's web UI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from dataprep.inference.base import CHUNK, Base, Conditioning


def encode_texts(
    base: Base, texts: Sequence[str], chunks: int, clip_skip: int | None = None, weighted: bool = False
) -> Conditioning:
    """Texts as the U-Net is told them: context (B, 75 chunks + 2, C), pooled (B, P) for SDXL.

    Args:
        base: whose tokenizers and text encoders are asked.
        texts: each is cut off after 75 x chunks tokens.
        chunks: 1, 2 or 3 passes.
        clip_skip: see `Base.encode`.
        weighted: see `token_ids`.
    """
    device = base.text_encoders[0].device
    ids, weights = [], []
    for tokenizer in base.tokenizers:
        rows = [token_ids(tokenizer, text, chunks, weighted) for text in texts]
        ids.append(torch.tensor([row[0] for row in rows], device=device))  # (B, n, 77)
        weights.append(torch.tensor([row[1] for row in rows], device=device))  # (B, 75 n + 2)
    return base.encode(tuple(ids), clip_skip, tuple(weights) if weighted else None)


def token_ids(
    tokenizer: Any,  # noqa: ANN401 - transformers is untyped
    text: str,
    chunks: int,
    weighted: bool = False,
) -> tuple[list[list[int]], list[float]]:
    """Token ids of one text in passes of 75, and each token's weight.

    Args:
        tokenizer: transformers.CLIPTokenizer.
        text: the caption; cut off after 75 x chunks tokens.
        chunks: 1, 2 or 3 passes.
        weighted: read (a), (a:1.2) and [b] as weights; else brackets are text.
    Returns:
        ids (chunks, 77): BOS, up to 75 tokens, EOS, padding; weights (75 chunks + 2), 1 but for the tokens'.
    """
    parsed = parse_weights(text) if weighted else [(text, 1.0)]
    tokens = [(token, weight) for part, weight in parsed for token in plain_ids(tokenizer, part)][
        : CHUNK * chunks
    ]
    ids = []
    for start in range(0, CHUNK * chunks, CHUNK):
        body = [token for token, _ in tokens[start : start + CHUNK]]
        row = [tokenizer.bos_token_id, *body, tokenizer.eos_token_id]
        ids.append(row + [tokenizer.pad_token_id] * (CHUNK + 2 - len(row)))
    weights = [1.0, *(weight for _, weight in tokens)]
    return ids, weights + [1.0] * (CHUNK * chunks + 2 - len(weights))


@lru_cache(maxsize=65_536)
def plain_ids(tokenizer: Any, text: str) -> tuple[int, ...]:  # noqa: ANN401 - as above
    """Token ids of a text of any length, without BOS and EOS."""
    # model_max_length would be warned about, not enforced, on the texts over 77 tokens that chunks are for.
    return tuple(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])


# One piece of weighted syntax: an escaped character, a bracket, ":1.2)", or plain text.
_PIECE = re.compile(r"\\[\\()\[\]]|\\|[(\[]|:([+-]?[.\d]+)\)|[)\]]|[^\\()\[\]:]+|:")
_ROUND, _SQUARE = 1.1, 1 / 1.1


def parse_weights(text: str) -> list[tuple[str, float]]:
    """Split weighted syntax into texts and weights: (x) is 1.1, [x] 1/1.1, (x:1.3) 1.3; nested ones multiply.

    Source: the syntax that Stable Diffusion's web UI documents; backslash escapes a bracket.
    """
    parts: list[tuple[str, float]] = []
    open_round: list[int] = []
    open_square: list[int] = []

    def scale(start: int, factor: float) -> None:
        parts[start:] = [(part, weight * factor) for part, weight in parts[start:]]

    for found in _PIECE.finditer(text):
        piece = found[0]
        if piece == "(":
            open_round.append(len(parts))
        elif piece == "[":
            open_square.append(len(parts))
        elif found[1] is not None and open_round:
            scale(open_round.pop(), float(found[1]))
        elif piece == ")" and open_round:
            scale(open_round.pop(), _ROUND)
        elif piece == "]" and open_square:
            scale(open_square.pop(), _SQUARE)
        else:
            parts.append((piece[1:] if piece[0] == "\\" and len(piece) > 1 else piece, 1.0))
    for start in open_round:
        scale(start, _ROUND)
    for start in open_square:
        scale(start, _SQUARE)
    return _merged(parts) or [("", 1.0)]


def _merged(parts: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Join neighbours of equal weight, so that a word broken by an escape is tokenized whole."""
    merged: list[tuple[str, float]] = []
    for part, weight in parts:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + part, weight)
        else:
            merged.append((part, weight))
    return merged
