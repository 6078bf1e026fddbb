"""A random FLUX or SD3 folder at tiny size, with the text encoders only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny import tiny_text_encoder, transformers

PIECES = ("<pad>", "</s>", "<unk>", "▁sks", "▁girl", ",", "▁", *"abcdefghijklmnopqrstuvwxyz")


def save_t5_folder(path: Path, family: str) -> Path:
    """Text encoders and T5's tokenizer in diffusers layout: CLIP, for SD3 twice, then T5."""
    clips: list[Any] = [tiny_text_encoder()]
    if family == "sd3":
        clips = [tiny_text_encoder(projected=True, seed=seed) for seed in (1, 2)]
    for number, model in enumerate([*clips, _tiny_t5()], 1):
        model.save_pretrained(path / f"text_encoder{'' if number == 1 else f'_{number}'}")
    vocabulary = [(piece, -float(rank)) for rank, piece in enumerate(PIECES)]
    tokenizer = transformers.T5TokenizerFast(vocab=vocabulary, extra_ids=0)
    tokenizer.save_pretrained(path / f"tokenizer_{len(clips) + 1}")
    return path


def _tiny_t5() -> Any:
    torch.manual_seed(3)
    config = transformers.T5Config(
        vocab_size=len(PIECES), d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, is_gated_act=True,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return transformers.T5EncoderModel(config)
