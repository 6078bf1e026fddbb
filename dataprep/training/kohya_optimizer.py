"""sd-scripts' choice of an optimizer, read as ours: what stands in for those that are not here."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from dataprep.errors import ConfigError
from dataprep.training.kohya_names import (
    ADAFACTOR_OFF,
    ARGUMENTS,
    IDLE_ARGUMENTS,
    NEAREST,
    OPTIMIZERS,
    SELF_TUNING,
)

_KIN = {"prodigy": "prodigy", "dadapt": "dadaptadam"}  # by a part of the name
_COMMON_ARGUMENTS = frozenset({"weight_decay", "betas", "eps"})
_OF_KIN = {"prodigy": {"d_coef", "d0"}}
_HIGH_RATE = 0.01  # beyond, AdamW and its like train nothing but noise


def is_other_optimizer(flat: Mapping[str, Any]) -> bool:
    """Whether another optimizer is trained with than was asked for."""
    return _last_part(str(flat.get("optimizer_type") or "")) not in OPTIMIZERS


def _last_part(name: str) -> str:
    return name.lower().rpartition(".")[2]  # such as prodigyopt.Prodigy


def refuse_high_rate(ours: Mapping[str, Any], flat: Mapping[str, Any]) -> None:
    """Stop where AdamW would train at the rate of an optimizer that tunes itself. Raises ConfigError."""
    rates = [ours.get(name) for name in ("unet_rate", "text_encoder_rate")]
    rate = max((rate for rate in rates if isinstance(rate, int | float)), default=0)
    if is_other_optimizer(flat) and ours["optimizer"] not in SELF_TUNING and rate > _HIGH_RATE:
        raise ConfigError(
            f"optimizer_type = {flat['optimizer_type']!r} is not here, and a rate of {rate:g} is none for "
            f'{ours["optimizer"]}: give optimizer_type = "prodigy", or a rate such as 1e-4'
        )


def arguments(settings: Mapping[str, Any], notes: list[str], *, other: bool) -> dict[str, Any]:
    """Optimizer arguments under the names of the packages here; of another optimizer only what all take."""
    optimizer = settings.get("optimizer", "adamw")
    names, ours = ARGUMENTS.get(optimizer, {}), {}
    for name, value in settings["optimizer_args"].items():
        if optimizer == "adafactor" and name in ADAFACTOR_OFF:
            if value:
                notes.append(f"optimizer_args {name} = {value!r} is not honoured: the rates hold as they are")
        elif name in IDLE_ARGUMENTS or (
            other and name not in _COMMON_ARGUMENTS | _OF_KIN.get(optimizer, set())
        ):
            notes.append(
                f"optimizer_args {name} = {value!r} is not honoured: {optimizer} has no such argument"
            )
        else:
            ours[names.get(name, name)] = value
    return ours


def items(value: str | list[str]) -> list[str]:
    """Arguments as a list; as one text they are parted by spaces or commas before each name."""
    return (
        re.split(r"[\s,]+(?=\w+=)", value.strip())
        if isinstance(value, str) and value.strip()
        else list(value)
    )


def optimizer_args(
    value: str | list[str] | Mapping[str, Any], ours: dict[str, Any], notes: list[str]
) -> None:
    """Its arguments: a list of name=value in theirs, a table in ours."""
    if isinstance(value, Mapping):
        ours["optimizer_args"] = dict(value)
        return
    pairs = (item.partition("=") for item in items(value))
    ours["optimizer_args"] = {name: number(text) for name, _, text in pairs}


def optimizer_type(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    """The optimizer of this name, or its nearest kin, which is said."""
    name = _last_part(value)
    kin = next((kind for part, kind in _KIN.items() if part in name), "adamw")
    ours["optimizer"] = OPTIMIZERS.get(name) or NEAREST.get(name, kin)
    if name not in OPTIMIZERS:
        notes.append(f"optimizer_type = {value!r} is not here; trains with {ours['optimizer']}")


def adamw8bit(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    """What use_8bit_adam asks for."""
    ours |= {"optimizer": "adamw8bit"} if value else {}


def lion(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    """What use_lion_optimizer asks for."""
    ours |= {"optimizer": "lion"} if value else {}


def number(text: str) -> object:
    """What Python reads a text as; the text where it is none of its values."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
