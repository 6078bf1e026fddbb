"""Optimizers by name, and the learning rate as a closed form of the step: a resume restores nothing."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig

Groups = list[dict[str, Any]]

# Package and class of each, and its defaults here.
OPTIMIZERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # fused: 4 kernels for 384 LoRA matrices; foreach takes 780, torch's default on a CPU 3,842
    "adamw": ("torch.optim", "AdamW", {"fused": True, "weight_decay": 0.01}),
    # Its steps are the rate times each tensor's size, at least eps[1]: with torch's 0.001 a LoRA's matrices,
    # which begin at zero, would hardly move. 1 takes the rate as it is: scale_parameter = False elsewhere.
    "adafactor": ("torch.optim", "Adafactor", {"eps": (None, 1.0)}),
    "sgd": ("torch.optim", "SGD", {"momentum": 0.9, "nesterov": True}),
    "adamw8bit": ("bitsandbytes.optim", "AdamW8bit", {}),
    "lion": ("pytorch_optimizer", "Lion", {}),
    "prodigy": ("pytorch_optimizer", "Prodigy", {}),
    "dadaptadam": ("pytorch_optimizer", "DAdaptAdam", {}),
}


def make_optimizer(config: TrainConfig, groups: Groups) -> torch.optim.Optimizer:
    """The optimizer over parameter groups, each with its own `lr` and `initial_lr`.

    Raises:
        ConfigError: its package is not installed, or it does not take one of optimizer_args.
    """
    module, name, defaults = OPTIMIZERS[config.optimizer]
    package = module.split(".")[0]
    pairs = config.optimizer_args.items()
    args = {key: tuple(value) if isinstance(value, list) else value for key, value in pairs}
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"optimizer {name} needs {package}: `pip install {package}`") from error
    if "lr" in args:  # each group has its own, so this one would do nothing
        raise ConfigError("optimizer_args: lr is set by unet_rate and text_encoder_rate")
    known = [name for name in inspect.signature(kind).parameters if name not in ("params", "lr", "kwargs")]
    if unknown := sorted(set(args) - set(known)):  # pytorch_optimizer would take and ignore them
        raise ConfigError(
            f"optimizer_args: {config.optimizer} has no {unknown[0]}; it takes {', '.join(known)}"
        )
    try:
        optimizer: torch.optim.Optimizer = kind(groups, **(defaults | args))
    except (TypeError, ValueError, RuntimeError) as error:  # one each for type, range and combination
        raise ConfigError(f"optimizer_args: {config.optimizer}: {error}") from error
    return optimizer


# Factor on the rate, of the settings and of the share of the steps after warm-up that is done, 0 to 1.
SCHEDULES: dict[str, Callable[[TrainConfig, float], float]] = {
    "constant_with_warmup": lambda config, done: 1.0,
    "linear": lambda config, done: 1 - done,
    "cosine": lambda config, done: 0.5 * (1 + math.cos(math.pi * done)),
    "cosine_with_restarts": lambda config, done: (
        0.0 if done >= 1 else 0.5 * (1 + math.cos(math.pi * (config.cycles * done % 1)))
    ),
    # diffusers ends at a rate of 1e-7, a factor of 1e-3 at the usual rate: 0 here.
    "polynomial": lambda config, done: float((1 - done) ** config.power),
}


def lr_at(config: TrainConfig, step: int, steps: int) -> float:
    """Factor on the learning rates at one step (from 0) of so many, equal to diffusers' get_scheduler."""
    warmup = round(config.warmup * steps) if config.warmup < 1 else int(config.warmup)
    if config.schedule == "constant":
        return 1.0
    if step < warmup:
        return step / max(1, warmup)
    done = (step - warmup) / max(1, steps - warmup)
    return SCHEDULES[config.schedule](config, min(1.0, done))
