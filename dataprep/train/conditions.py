"""Captions as the U-Net is told them: through the text encoders while those learn, from memory after."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

import torch

from dataprep.inference.base import Base, Conditioning
from dataprep.train.captions import CHUNK, Moment, plain_ids, read_caption, token_ids
from dataprep.train.config import TrainConfig
from dataprep.train.data import Batch, seed_of

REMEMBERED = 8192  # captions whose conditions are kept: 230 KB each for SD1.5, so at most 2 GB


class Captions:
    """Reads captions and encodes them."""

    def __init__(self, base: Base, config: TrainConfig, steps: int) -> None:
        """Nothing is encoded yet.

        Args:
            base: tokenizers and text encoders.
            config: the caption settings.
            steps: of the whole run.
        """
        self.base, self.config, self.steps = base, config, steps
        learns = config.train_text_encoder and config.method != "embedding"
        self.until = round(config.text_encoder_until * steps) if learns else 0
        self.remembered = lru_cache(maxsize=REMEMBERED)(self._encode_one)

    def conditions(self, batch: Batch, step: int, epoch: int, number: int) -> Conditioning:
        """The batch's captions, encoded: context (B, 75 n + 2, C), pooled (B, P) for SDXL.

        Args:
            batch: its images' captions are read.
            step: optimizer step, from 0.
            epoch: from 0.
            number: of the batch in the whole run; the captions' draws hang on it.
        """
        moment = Moment(step, self.steps, epoch + 1)
        texts = [
            read_caption(
                image.lines,
                self.config,
                moment,
                random.Random(seed_of(self.config.seed, "caption", number, i)),
            )
            for i, image in enumerate(batch.images)
        ]
        if step < self.until or self.config.method == "embedding":
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
            ids.append(torch.tensor([row[0] for row in rows], device=self.base.unet.device))  # (B, n, 77)
            weights.append(
                torch.tensor([row[1] for row in rows], device=self.base.unet.device)
            )  # (B, 75 n + 2)
        return self.base.encode(tuple(ids), self.config.clip_skip, tuple(weights) if weighted else None)

    def notes(self, captions: Sequence[Sequence[str]]) -> list[str]:
        """What is worth knowing of the captions before training: how many are empty, or cut off."""
        tokenizer = self.base.tokenizers[0]
        first = [lines[0] if lines else "" for lines in captions]
        lengths = [len(plain_ids(tokenizer, text)) for text in first]
        longest, limit = max(lengths), self.config.token_length
        lines = [
            f"{len(first)} captions, {sum(not text for text in first)} empty; the longest: {longest} tokens"
        ]
        if cut := sum(length > limit for length in lengths):
            more = (
                "" if limit == 225 else f"; token_length {min(225, -(-longest // CHUNK) * CHUNK)} reads more"
            )
            lines.append(f"{cut} captions are cut off after {limit} tokens{more}")
        return lines
