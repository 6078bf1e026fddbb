"""What every training of the miniature family shares: schedule, averaged weights, whole files."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def cosine(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Learning rate at a step: linear warm-up to `peak`, then a half cosine to 1% of it."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = min(1.0, (step - warm_up) / max(1, steps - warm_up))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


class Average:
    """Exponential moving average of a model's weights, with a short memory early on."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model's weights."""
        self.steps += 1
        keep = min(self.decay, self.steps / (self.steps + 10))
        floats = [
            (self.weights[name], value)
            for name, value in model.state_dict().items()
            if value.is_floating_point()
        ]
        torch._foreach_lerp_([old for old, _ in floats], [new for _, new in floats], 1 - keep)

    def copy_to(self, model: nn.Module) -> nn.Module:
        """Load the averaged weights into `model` and return it."""
        model.load_state_dict(self.weights)
        return model


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group this learning rate, times its own `factor` where it has one."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


def replace_folder(write: Callable[[Path], None], folder: Path) -> None:
    """Write a folder beside its place and swap it in, so that a reader finds the old or the new one whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.new")
    stale = folder.with_name(f".{folder.name}.old")
    for path in (fresh, stale):
        shutil.rmtree(path, ignore_errors=True)
    write(fresh)
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    shutil.rmtree(stale, ignore_errors=True)


def replace_file(write: Callable[[Path], None], path: Path) -> None:
    """Write a file beside its place and rename it over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    write(fresh)
    fresh.replace(path)


class Log:
    """One line every `every` steps: step, loss (averaged), seconds per step."""

    def __init__(self, name: str, every: int) -> None:
        self.name, self.every = name, every
        self.losses: list[float] = []
        self.since = time.perf_counter()

    def add(self, step: int, loss: float | Tensor) -> None:
        """Note a step's loss; print when the line is due."""
        self.losses.append(float(loss))
        if (step + 1) % self.every == 0:
            seconds = (time.perf_counter() - self.since) / len(self.losses)
            mean = sum(self.losses) / len(self.losses)
            print(f"{self.name} step {step + 1}: loss {mean:.4f}, {seconds:.3f} s a step", flush=True)
            self.losses, self.since = [], time.perf_counter()


def channels_last(model: Module) -> Module:
    """The model with its weights laid out channels last, which a CPU's convolutions prefer."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
