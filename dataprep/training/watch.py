"""What is seen of a training: its progress, and a loss that climbs or is lost."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataprep.errors import UserError

DIVERGED = 100  # times the loss of an answer of zeros, which any model beats: nothing is left to save
USELESS = 0.9  # times a blank answer's mean loss
NO_NUMBER = "the loss or its gradient is no longer a number"
RISEN = 3  # times the lowest mean loss, and over half a blank answer's: ordinary training stays far below
MEAN_OF = 5  # steps at first, 40 later; single losses differ tenfold by their timesteps alone


@dataclass(frozen=True)
class Progress:
    """Where training stands, for whoever shows it."""

    step: int
    steps: int
    epoch: int  # counted from 1
    loss: float  # smoothed over about 50 steps; NaN before the first
    steps_per_s: float  # 0 where notes are all there is to say
    memory_bytes: int  # of the GPU, 0 on a CPU
    notes: tuple[str, ...] = ()  # lines to print once


OnProgress = Callable[[Progress], None]


def typed(path: Path | str) -> str:
    """A path or other argument as it is typed on a command line here: in quotes where it has spaces."""
    return subprocess.list2cmdline([str(path)]) if sys.platform == "win32" else shlex.quote(str(path))


def stopped(step: int, steps: int, directory: Path, device: str) -> str:
    """What is said after Ctrl-C, once the step is saved."""
    again = f"dataprep train {typed(directory)} --resume --device {device}"
    return f"stopped after step {step} of {steps}; go on with: {again}"


class Rise:
    """Looks out for a loss that climbs though every value is a number: the rate is too high, mostly."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.count, self.mean, self.blank, self.lowest, self.lowest_step = 0, 0.0, 0.0, math.inf, 0
        self.said = False

    def look(self, step: int, loss: float, blank: float) -> str | None:
        """Take in a step's loss and a blank answer's; a line to print the first time that it has climbed."""
        self.count += 1
        share = 1 / min(self.count, 8 * MEAN_OF)  # the true mean at first, then a moving one
        self.mean += (loss - self.mean) * share
        self.blank += (blank - self.blank) * share
        if self.count < MEAN_OF:
            return None
        if self.mean < self.lowest:
            self.lowest, self.lowest_step = self.mean, step
        risen = self.mean > max(RISEN * self.lowest, self.blank / 2)
        nothing = self.count >= 8 * MEAN_OF and self.mean > USELESS * self.blank
        if self.said or not (risen or nothing):
            return None
        self.said = True
        why = (
            f"has risen to {self.mean:.3g}, over {RISEN} times its lowest ({self.lowest:.3g}, step "
            f"{self.lowest_step + 1}): what is learned gets worse"
            if risen
            else f"is {self.mean:.3g}, and {self.blank:.3g} for answering nothing at all"
        )
        return f"step {step + 1}: the mean loss {why}. Lower unet_rate and text_encoder_rate"


def diverged(step: int, files: Sequence[str], what: str, kept: str) -> UserError:
    """The error for a loss that is lost at a step (from 0), with the images in its batch."""
    return UserError(
        f"step {step + 1}: {what}; images in the batch: "
        f"{', '.join(files)}. Last good weights: {kept}. Try a lower unet_rate and text_encoder_rate, "
        "precision bf16 or fp32 instead of fp16, or max_grad_norm = 1"
    )
