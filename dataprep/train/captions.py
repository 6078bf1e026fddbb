"""What the U-Net is told at each step: sd-scripts' caption rules in its order, then the text encoders.

Every draw comes from a generator seeded by batch and row, so that a resumed run reads the same captions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache

import torch

from dataprep.inference.base import CHUNK, Base, Conditioning
from dataprep.inference.tokens import encode_texts
from dataprep.train.config import TrainConfig
from dataprep.train.data import Batch, seed_of

REMEMBERED_BYTES = 2**30  # for the conditions of captions: 4,600 of SD1.5's, 1,700 of SDXL's


def read_caption(lines: Sequence[str], config: TrainConfig, epoch: int, draw: random.Random) -> str:
    """The caption as it is trained this time.

    Args:
        lines: the caption file's stripped, non-blank lines; more than one matter with `wildcard` only.
        config: the caption settings.
        epoch: counted from 1, for periodic dropout.
        draw: seeded source of every choice.
    """
    ends = (config.caption_prefix, config.caption_suffix)
    texts = [" ".join(filter(None, (ends[0], line, ends[1]))) for line in lines or [""]]
    every = config.caption_dropout_every
    if draw.random() < config.caption_dropout or (every and epoch % every == 0):
        return ""
    text = _wildcards(draw.choice(texts), draw) if config.wildcard else texts[0]
    if config.shuffle or config.tag_dropout > 0:
        text = _vary(text, config, draw)
    return text.replace(config.secondary_separator or config.separator, config.separator)


def _wildcards(text: str, draw: random.Random) -> str:
    """Replace each {a|b} by one of its choices; {{ and }} stand for braces."""
    text = text.replace("{{", "\0").replace("}}", "\1")
    text = re.sub(r"\{([^{}]+)\}", lambda found: draw.choice(found[1].split("|")), text)
    return text.replace("\0", "{").replace("\1", "}")


def _vary(text: str, config: TrainConfig, draw: random.Random) -> str:
    """Shuffle and drop the tags between a fixed beginning and a fixed end."""
    first, tags, last = _parts(text, config)
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


class Captions:
    """Captions as the U-Net is told them: through the text encoders while those learn, from memory after."""

    def __init__(self, base: Base, config: TrainConfig, steps: int) -> None:
        """Nothing is encoded yet; `steps` are those of the whole run."""
        self.base, self.config = base, config
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
        config, texts = self.config, []
        for i, image in enumerate(batch.images):
            draw = random.Random(seed_of(config.seed, "caption", number, i))
            texts.append(read_caption(image.lines, config, epoch + 1, draw))
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
        config = self.config
        return encode_texts(self.base, texts, config.token_length // CHUNK, config.clip_skip, config.weighted)
