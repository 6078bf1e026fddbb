"""What becomes of a caption at each step: sd-scripts' caption rules in its order, then CLIP token ids.

Every draw comes from a generator that the caller seeds by step and row, so that a resumed run reads the same
captions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dataprep.train.config import TrainConfig

CHUNK = 75


@dataclass(frozen=True)
class Moment:
    """Where in training a caption is read: the step of so many, and the epoch counted from 1."""

    step: int
    steps: int
    epoch: int


def read_caption(lines: Sequence[str], config: TrainConfig, moment: Moment, draw: random.Random) -> str:
    """The caption as it is trained at one moment.

    Args:
        lines: the caption file's stripped, non-blank lines; more than one matter with `wildcard` only.
        config: the caption settings.
        moment: step and epoch, for warm-up and periodic dropout.
        draw: seeded source of every choice.
    """
    texts = [
        " ".join(filter(None, (config.caption_prefix, line, config.caption_suffix))) for line in lines or [""]
    ]
    every = config.caption_dropout_every
    if draw.random() < config.caption_dropout or (every and moment.epoch % every == 0):
        return ""
    text = _wildcards(draw.choice(texts), draw) if config.wildcard else texts[0]
    if config.shuffle or config.warmup_tag_steps > 0 or config.tag_dropout > 0:
        text = _vary(text, config, moment, draw)
    if config.secondary_separator:
        text = text.replace(config.secondary_separator, config.separator)
    return text


def _wildcards(text: str, draw: random.Random) -> str:
    """Replace each {a|b} by one of its choices; {{ and }} stand for braces."""
    text = text.replace("{{", "\0").replace("}}", "\1")
    text = re.sub(r"\{([^{}]+)\}", lambda found: draw.choice(found[1].split("|")), text)
    return text.replace("\0", "{").replace("\1", "}")


def _vary(text: str, config: TrainConfig, moment: Moment, draw: random.Random) -> str:
    """Shuffle, warm up and drop the tags between a fixed beginning and a fixed end."""
    first, tags, last = _parts(text, config)
    if config.warmup_tag_steps > 0:
        tags = tags[: _warm_tags(len(tags), config, moment)]
    if config.shuffle:
        draw.shuffle(tags)
    if config.tag_dropout > 0:
        tags = [tag for tag in tags if draw.random() >= config.tag_dropout]
    return ", ".join([*first, *tags, *last])


def _parts(text: str, config: TrainConfig) -> tuple[list[str], list[str], list[str]]:
    def split(part: str) -> list[str]:
        return [tag.strip() for tag in part.split(config.separator)]

    mark = config.keep_tokens_separator
    if mark and mark in text:
        first, rest = text.split(mark, 1)
        middle, _, last = rest.partition(mark)
        return tuple([tag for tag in split(part) if tag] for part in (first, middle, last))  # type: ignore[return-value]
    tags = split(text.strip())
    return tags[: config.keep_tokens], tags[config.keep_tokens :], []


def _warm_tags(count: int, config: TrainConfig, moment: Moment) -> int:
    length = config.warmup_tag_steps
    length = length * moment.steps if length < 1 else length
    if moment.step >= length:
        return count
    return int(moment.step * ((count - config.warmup_tags) / length)) + config.warmup_tags


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
