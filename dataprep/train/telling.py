"""What the trainer says and hears while it works: progress, its arithmetic, why it stopped, and Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataprep.errors import UserError
from dataprep.train.checkpoint import latest_checkpoint
from dataprep.train.conditions import Captions
from dataprep.train.data import Prepared


@dataclass(frozen=True)
class Progress:
    """Where training stands, for whoever shows it."""

    step: int
    steps: int
    epoch: int  # counted from 1
    epochs: int
    loss: float  # smoothed over about 50 steps; NaN before the first
    rate: float  # learning rate of the first group
    steps_per_s: float
    remaining_s: float
    memory_bytes: int  # of the GPU, 0 on a CPU
    notes: tuple[str, ...] = ()  # lines to print once


OnProgress = Callable[[Progress], None]


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
        *captions.notes([image.lines for image in data.images]),
        *config.warnings(),
    ]
    small = [f"{w}x{h}" for (w, h), count in counts.items() if count < config.batch_size]
    if small:
        lines.append(f"buckets that never fill a batch of {config.batch_size}: {', '.join(small)}")
    if config.use_reg and not reg:
        lines.append("no regularization images: nothing guards what the model knows of the class")
    if device == "cpu" and config.precision != "fp32":
        lines.append(f"precision {config.precision} is for GPUs; on this CPU float32 is used")
    return lines


def diverged(folder: Path, step: int, files: Sequence[str]) -> UserError:
    """The error for a loss that is no number.

    Args:
        folder: model/ of the prepared folder.
        step: counted from 0.
        files: the images in its batch.
    """
    kept = latest_checkpoint(folder / "checkpoints", load=False)
    return UserError(
        f"step {step + 1}: the loss or its gradient is no longer a number; images in the batch: "
        f"{', '.join(files)}. Last good weights: {kept or 'none saved yet'}. Try a lower unet_rate and "
        "text_encoder_rate, precision bf16 or fp32 instead of fp16, or max_grad_norm = 1"
    )


def stopped(directory: Path, step: int, steps: int) -> str:
    """What an interrupted run says."""
    return f"stopped after step {step} of {steps}; go on with: dataprep train {directory} --resume"


def default_prompts(data: Prepared, count: int = 2) -> tuple[str, ...]:
    """Captions of the first images, each as it is and without its trigger, from the same noise."""
    trigger = str(data.meta.get("trigger") or "")
    prompts = []
    for number, image in enumerate([image for image in data.images if not image.reg and image.lines][:count]):
        options = f"--w {image.bucket[0]} --h {image.bucket[1]} --d {number} --s 20"
        tags = [tag.strip() for tag in image.lines[0].split(",")]
        without = (
            [" ".join(word for word in tag.split() if word != trigger) for tag in tags] if trigger else tags
        )
        texts = [", ".join(tags), ", ".join(tag for tag in without if tag)]
        prompts += [f"{text} {options}" for text in dict.fromkeys(texts)]
    return tuple(prompts)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let Ctrl-C end the step first: the first one sets the event, the second interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
