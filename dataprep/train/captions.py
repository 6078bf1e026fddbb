"""What the U-Net is told at each step: sd-scripts' caption rules in its order, then the text encoders.

Every draw comes from a generator seeded by batch and row, so that a resumed run reads the same captions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from dataprep.inference.base import CHUNK, Base, Conditioning
from dataprep.inference.tokens import token_ids
from dataprep.train.config import TrainConfig
from dataprep.train.data import Batch, seed_of

REMEMBERED_BYTES = 2**30  # for the conditions of captions: 4,600 of SD1.5's, 1,700 of SDXL's


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
    ends = (config.caption_prefix, config.caption_suffix)
    texts = [" ".join(filter(None, (ends[0], line, ends[1]))) for line in lines or [""]]
    every = config.caption_dropout_every
    if draw.random() < config.caption_dropout or (every and moment.epoch % every == 0):
        return ""
    text = _wildcards(draw.choice(texts), draw) if config.wildcard else texts[0]
    if config.shuffle or config.warmup_tag_steps > 0 or config.tag_dropout > 0:
        text = _vary(text, config, moment, draw)
    return text.replace(config.secondary_separator or config.separator, config.separator)


def _wildcards(text: str, draw: random.Random) -> str:
    """Replace each {a|b} by one of its choices; {{ and }} stand for braces."""
    text = text.replace("{{", "\0").replace("}}", "\1")
    text = re.sub(r"\{([^{}]+)\}", lambda found: draw.choice(found[1].split("|")), text)
    return text.replace("\0", "{").replace("\1", "}")


def _vary(text: str, config: TrainConfig, moment: Moment, draw: random.Random) -> str:
    """Warm up, shuffle and drop the tags between a fixed beginning and a fixed end."""
    first, tags, last = _parts(text, config)
    if config.warmup_tag_steps > 0:
        tags = tags[: _warm_tags(len(tags), config, moment)]
    if config.shuffle:
        draw.shuffle(tags)
    if config.tag_dropout > 0:
        tags = [tag for tag in tags if draw.random() >= config.tag_dropout]
    return ", ".join([*first, *tags, *last])


def _parts(text: str, config: TrainConfig) -> tuple[list[str], list[str], list[str]]:
    """Tags of the fixed beginning, of the middle, and of the fixed end, which only a mark can set off."""
    mark = config.keep_tokens_separator
    if mark and mark in text:
        first, rest = text.split(mark, 1)
        parts = [first, *rest.partition(mark)[::2]]
        begin, middle, end = ([tag.strip() for tag in part.split(config.separator)] for part in parts)
        return [*filter(None, begin)], [*filter(None, middle)], [*filter(None, end)]
    tags = [tag.strip() for tag in text.strip().split(config.separator)]
    return tags[: config.keep_tokens], tags[config.keep_tokens :], []


def _warm_tags(count: int, config: TrainConfig, moment: Moment) -> int:
    length = config.warmup_tag_steps
    length = length * moment.steps if length < 1 else length
    if moment.step >= length:
        return count
    return int(moment.step * ((count - config.warmup_tags) / length)) + config.warmup_tags


class Captions:
    """Captions as the U-Net is told them: through the text encoders while those learn, from memory after."""

    def __init__(self, base: Base, config: TrainConfig, steps: int) -> None:
        """Nothing is encoded yet; `steps` are those of the whole run."""
        self.base, self.config, self.steps = base, config, steps
        self.device = base.unet.device  # diffusers looks through all modules for it at each asking
        learns = config.train_text_encoder and config.method != "embedding"
        self.until = round(config.text_encoder_until * steps) if learns else 0
        one = (config.token_length + 2) * base.unet.config.cross_attention_dim * 4
        self.remembered = lru_cache(maxsize=REMEMBERED_BYTES // one)(self._encode_one)

    def conditions(self, batch: Batch, step: int, epoch: int, number: int) -> Conditioning:
        """The batch's captions, encoded: context (B, 75 n + 2, C), pooled (B, P) for SDXL.

        Args:
            batch: its images' captions are read.
            step: optimizer step, from 0.
            epoch: from 0.
            number: of the batch in the whole run; the captions' draws hang on it.
        """
        config, moment = self.config, Moment(step, self.steps, epoch + 1)
        draws = [random.Random(seed_of(config.seed, "caption", number, i)) for i in range(len(batch.images))]
        pairs = zip(batch.images, draws, strict=True)
        texts = [read_caption(image.lines, config, moment, draw) for image, draw in pairs]
        if step < self.until or config.method == "embedding":
            return self._encode(texts)
        # One caption at a time, so that its conditions do not hang on its company, and a resumed run,
        # which has to fill its memory again, gets the same bits.
        told = [self.remembered(text) for text in texts]
        pooled = [one.pooled for one in told if one.pooled is not None]
        return Conditioning(torch.cat([one.context for one in told]), torch.cat(pooled) if pooled else None)

    def _encode_one(self, text: str) -> Conditioning:
        for encoder in self.base.text_encoders:
            encoder.eval()  # what it has learned stays, its dropout ends
        with torch.no_grad():
            return self._encode([text])

    def _encode(self, texts: Sequence[str]) -> Conditioning:
        chunks, weighted = self.config.token_length // CHUNK, self.config.weighted
        ids, weights = [], []
        for tokenizer in self.base.tokenizers:
            rows = [token_ids(tokenizer, text, chunks, weighted) for text in texts]
            ids.append(torch.tensor([row[0] for row in rows], device=self.device))  # (B, n, 77)
            weights.append(torch.tensor([row[1] for row in rows], device=self.device))  # (B, 75 n + 2)
        return self.base.encode(tuple(ids), self.config.clip_skip, tuple(weights) if weighted else None)
