"""What the trainer says before its first step, and the prompts it draws where none are given."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dataprep.errors import ConfigError
from dataprep.inference.base import CHUNK
from dataprep.inference.sampling import Prompt, parse_prompt
from dataprep.inference.tokens import plain_ids
from dataprep.tags.assemble import without_trigger
from dataprep.train.config import TrainConfig
from dataprep.train.optimizers import make_optimizer
from dataprep.training.base_fits import latents_note
from dataprep.training.log import summary_writer

if TYPE_CHECKING:
    from dataprep.train.captions import Captions
    from dataprep.train.data import Prepared


def check_early(config: TrainConfig, device: str) -> None:
    """Say what can be said before anything is loaded: missing packages, odd arguments, odd prompts.

    Raises:
        ConfigError: naming the setting.
    """
    if config.precision == "fp16" and device == "cpu":
        raise ConfigError("precision fp16 needs a GPU; use fp32 (or bf16) here")
    make_optimizer(config, [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1e-4}])
    if config.tensorboard:
        summary_writer()
    for line in config.sample_prompts:
        parse_prompt(line)


def compiler_found() -> bool:
    """Whether torch.compile can work here: it writes C++, on a GPU too."""
    return any(map(shutil.which, ("c++", "g++", "clang++", "cl")))


def start_notes(data: Prepared, captions: Captions, steps: int, device: str) -> list[str]:
    """The arithmetic of the run, and what in the data is worth a word before it starts."""
    config = data.config
    train, reg = (sum(image.reg == kind for image in data.images) for kind in (False, True))
    epochs = math.ceil(steps * config.accumulation / data.batches_per_epoch)
    counts = data.bucket_counts()
    lines = [
        f"{train} images, {data.train_total} with repeats; "
        f"{reg} regularization images, {data.reg_total} with repeats",
        f"{len(counts)} buckets, {data.batches_per_epoch} batches of up to {config.batch_size} an epoch; "
        f"{steps} steps, {epochs} epochs",
        *data.notes,
        *caption_notes([image.lines for image in data.images], captions),
    ]
    small = [f"{w}x{h}" for (w, h), count in counts.items() if count < config.batch_size]
    if small:
        lines.append(f"buckets that never fill a batch of {config.batch_size}: {', '.join(small)}")
    if config.use_reg and not reg:
        lines.append("no regularization images: nothing guards what the model knows of the class")
    if note := latents_note(captions.base, data):
        lines.append(note)
    if captions.base.prediction_assumed and config.target == "auto":
        lines.append(
            f"{captions.base.path.name} does not say what it predicts: v is assumed, as of SD2 at 768 px; "
            'for SD2-base (512 px) set target = "eps"'
        )
    if captions.base.family == "sdxl" and config.clip_skip not in (None, 2):
        lines.append(
            f"clip_skip {config.clip_skip} is not for SDXL, which always reads the last layer but one"
        )
    if config.masked and data.masked < len(data.images):
        bare = f"{len(data.images) - data.masked} of {len(data.images)} images have no mask"
        lines.append(
            f"masked = true, but {bare} and count whole; the run's setting latents.alpha_mask makes them"
        )
    if config.compile and not compiler_found():
        lines.append("compile = true wants a C++ compiler (g++ or clang++) and there is none: not compiled")
    if device == "cpu" and config.precision != "fp32":
        lines.append(f"precision {config.precision} is for GPUs; on this CPU float32 is used")
    return lines


def caption_notes(said: Sequence[Sequence[str]], captions: Captions) -> list[str]:
    """How many of the captions (each the lines of its file) are empty, or cut off."""
    texts = [lines[0] if lines else "" for lines in said]
    lengths = [len(plain_ids(captions.base.tokenizers[0], text)) for text in texts]
    longest, limit = max(lengths), captions.config.token_length
    empty = sum(not text for text in texts)
    found = [f"{len(texts)} captions, {empty} empty; the longest: {longest} tokens"]
    if cut := sum(length > limit for length in lengths):
        wanted = min(225, -(-longest // CHUNK) * CHUNK)
        more = "" if limit == 225 else f"; token_length {wanted} reads more"
        found.append(f"{cut} captions are cut off after {limit} tokens{more}")
    return found


def default_prompts(data: Prepared, count: int = 2) -> list[Prompt]:
    """Captions of the first images, each as it is and without its trigger, from the same noise.

    They are no prompt lines: whatever a caption says is drawn, be it ` --word`.
    """
    trigger, class_word = str(data.meta.get("trigger") or ""), data.meta.get("class_word")
    prompts = []
    images = [image for image in data.images if not image.reg and image.lines]
    for number, image in enumerate(images[:count]):
        text = image.lines[0]
        bare = without_trigger(text, trigger, class_word).strip(" ,") if trigger else text
        width, height = image.bucket
        prompts += [
            Prompt(said, width=width, height=height, seed=number, steps=20)
            for said in dict.fromkeys((text, bare))
        ]
    return prompts
