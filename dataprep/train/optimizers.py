"""Optimizers by name, and the learning rate as a closed form of the step: a resume restores nothing."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import torch

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig

Groups = list[dict[str, Any]]


def make_optimizer(config: TrainConfig, groups: Groups) -> torch.optim.Optimizer:
    """The optimizer over parameter groups, each with its own `lr` and `initial_lr`.

    Raises:
        ConfigError: its package is not installed, or it does not know one of optimizer_args.
    """
    args = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config.optimizer_args.items()
    }
    try:
        return OPTIMIZERS[config.optimizer](groups, args)
    except TypeError as error:
        raise ConfigError(f"optimizer_args: {config.optimizer}: {error}") from error


def _adamw(groups: Groups, args: dict[str, Any]) -> torch.optim.Optimizer:
    # fused: 4 kernels for 384 LoRA matrices instead of foreach's 780.
    return torch.optim.AdamW(groups, **({"fused": True, "weight_decay": 0.01} | args))


def _adafactor(groups: Groups, args: dict[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(groups, **args)


def _sgd(groups: Groups, args: dict[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, **({"momentum": 0.9, "nesterov": True} | args))


def _extra(package: str, name: str) -> Callable[[Groups, dict[str, Any]], torch.optim.Optimizer]:
    def make(groups: Groups, args: dict[str, Any]) -> torch.optim.Optimizer:
        try:
            found = getattr(importlib.import_module(package), name)
        except ImportError as error:
            raise ConfigError(
                f"optimizer {name} needs {package.split('.')[0]}: `pip install {package.split('.')[0]}`"
            ) from error
        optimizer: torch.optim.Optimizer = found(groups, **args)
        return optimizer

    return make


OPTIMIZERS: dict[str, Callable[[Groups, dict[str, Any]], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adafactor": _adafactor,
    "sgd": _sgd,
    "adamw8bit": _extra("bitsandbytes.optim", "AdamW8bit"),
    "lion": _extra("pytorch_optimizer", "Lion"),
    "prodigy": _extra("pytorch_optimizer", "Prodigy"),
    "dadaptadam": _extra("pytorch_optimizer", "DAdaptAdam"),
}


def lr_at(config: TrainConfig, step: int, steps: int) -> float:
    """Factor on the learning rates at one step, equal to diffusers' get_scheduler.

    Args:
        config: schedule, warmup, cycles and power.
        step: optimizer steps already made.
        steps: all of them.
    """
    warmup = round(config.warmup * steps) if config.warmup < 1 else int(config.warmup)
    if config.schedule == "constant":
        return 1.0
    if step < warmup:
        return step / max(1, warmup)
    done = (step - warmup) / max(1, steps - warmup)
    return SCHEDULES[config.schedule](config, min(1.0, done))


def _polynomial(config: TrainConfig, done: float) -> float:
    # diffusers ends at a rate of 1e-7, a factor of 1e-3 at the usual rate: 0 here.
    return float((1 - done) ** config.power)


SCHEDULES: dict[str, Callable[[TrainConfig, float], float]] = {
    "constant_with_warmup": lambda config, done: 1.0,
    "linear": lambda config, done: 1 - done,
    "cosine": lambda config, done: 0.5 * (1 + math.cos(math.pi * done)),
    "cosine_with_restarts": lambda config, done: (
        0.0 if done >= 1 else 0.5 * (1 + math.cos(math.pi * (config.cycles * done % 1)))
    ),
    "polynomial": _polynomial,
}
