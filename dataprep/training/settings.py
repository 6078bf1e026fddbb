"""The trainer's settings from `train.toml`, sd-scripts' own files, and flags. Must not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dataprep.errors import ConfigError
from dataprep.toml import read_toml, value_of
from dataprep.train.config import TrainConfig
from dataprep.training.kohya_args import (
    flattened,
    is_theirs,
    misspelt,
    prompt_lines,
    translate,
    with_their_defaults,
)
from dataprep.training.kohya_names import FROM_THE_FOLDER, SELF_TUNING

# Settings of earlier versions, each with the value that asked for nothing: a checkpoint may still hold them.
GONE: dict[str, object] = {
    "huber_scale": 1.0,
    "v_like_loss": 0.0,
    "noise_offset_random": False,
    "adaptive_noise": 0.0,
    "input_perturbation_random": False,
    "warmup_tags": 1,
    "warmup_tag_steps": 0.0,
}
PORTABILITY = {
    "loha": "loha files load in ComfyUI, A1111 and LyCORIS; not in diffusers",
    "lokr": "lokr files load in ComfyUI, A1111 and LyCORIS; not in diffusers",
    "dora": "dora is experimental: only peft and LyCORIS draw it exactly; diffusers drops its magnitudes",
}


def load_config(
    path: Path | None, overrides: Mapping[str, object] | Sequence[str] = ()
) -> tuple[TrainConfig, list[str]]:
    """Read settings from a file and flags; flags win.

    Args:
        path: train.toml, ours or sd-scripts'; None for the defaults.
        overrides: name to value, or texts "name=value" whose value is read as TOML (bare words as text);
            sd-scripts' names are understood here too.
    Returns:
        The settings, and lines on what of an sd-scripts file was not honoured and what is seldom meant.
    Raises:
        ConfigError: unreadable, unknown, out of range or contradictory settings.
    """
    raw = read_toml(path) if path is not None else {}
    table, notes = translate(raw)
    if path is not None and (path.parent / "manifest.parquet").is_file():  # it is the folder's own file
        notes = [note for note in notes if not note.startswith(FROM_THE_FOLDER)]
    if is_theirs(raw):
        module = str(flattened(raw).get("network_module", ""))
        table, more = with_their_defaults(table, module)
        notes += more
    flags, more = _flags(overrides, table)
    config = _checked(_joined(table, flags), path)
    return config, notes + more + seldom_meant(config)


def resumed_config(
    before: Mapping[str, Any], path: Path | None, overrides: Sequence[str] = (), own: Path | None = None
) -> tuple[TrainConfig, list[str]]:
    """An interrupted run's own settings, changed by what is given now, which `check_same_run` then judges.

    Args:
        before: the settings in the run's checkpoint.
        path: a settings file that was named now; what it does not say stays as it was. None for none.
        overrides: texts name=value.
        own: the prepared folder's settings file, which is not read: named where it says otherwise.
    Returns:
        The settings, and lines on what is other than before.
    Raises:
        ConfigError: as `load_config`.
    """
    known = {name: value for name, value in before.items() if name in TrainConfig.model_fields}
    table, notes = translate(read_toml(path)) if path is not None else ({}, [])
    given = _joined(known, table)
    flags, more = _flags(overrides, given)
    old, new = _checked(known, None), _checked(_joined(given, flags), path)
    notes += [*more, "goes on with the settings of the run that was stopped, where none are given now"]
    if path is None and own is not None:
        others = [text for text in _differing(load_config(own)[0], old) if "embedding_init" not in text]
        notes += [f"as in that run, whatever {own.name} says now: {', '.join(others)}"] if others else []
    if changed := _differing(old, new):
        notes.append(f"other than in that run: {', '.join(changed)}")
    if {"steps", "epochs"} & {text.split()[0] for text in changed}:
        notes.append("another length gives the remaining steps other learning rates than that run's")
    return new, notes


def _differing(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Each setting that two have different, with the second's value."""
    pairs = ((name, getattr(one, name), getattr(other, name)) for name in TrainConfig.model_fields)
    return [f"{name} = {b!r}" for name, a, b in pairs if a != b]


def without_gone(before: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's settings without those that are gone and asked for nothing."""
    return {name: value for name, value in before.items() if name not in GONE or value != GONE[name]}


def seldom_meant(config: TrainConfig) -> list[str]:
    """What is allowed but seldom meant, for the command to print."""
    found = [PORTABILITY[config.network]] if config.network in PORTABILITY else []
    if config.optimizer in SELF_TUNING and config.unet_rate < 0.1:
        found.append(
            f"{config.optimizer} finds its own rate; set unet_rate to 1 (it is {config.unet_rate:g})"
        )
    if config.optimizer not in SELF_TUNING and max(config.unet_rate, config.text_encoder_rate) > 0.01:
        found.append(f"rates near 1 are for prodigy and dadaptadam; {config.optimizer} usually takes 1e-4")
    if config.schedule == "constant" and config.warmup:
        found.append(f"warmup = {config.warmup:g} needs a schedule that rises: constant_with_warmup is one")
    for name, schedule in (("cycles", "cosine_with_restarts"), ("power", "polynomial")):
        if getattr(config, name) != 1 and config.schedule != schedule:
            found.append(f"{name} is for schedule {schedule} alone; it does nothing to {config.schedule}")
    if config.alpha > config.rank:
        found.append(f"alpha {config.alpha:g} above rank {config.rank} multiplies the learning rate")
    return found


def _flags(
    overrides: Mapping[str, object] | Sequence[str], under: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    given = overrides if isinstance(overrides, Mapping) else dict(map(_assignment, overrides))
    return translate(given, under)


def _joined(table: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others that win over them."""
    lower = dict(table)
    if "epochs" in flags and "steps" not in flags:
        lower.pop("steps", None)  # or the lower ones' steps would win over these epochs
    return lower | dict(flags)


def _checked(settings: dict[str, Any], path: Path | None) -> TrainConfig:
    if isinstance(prompts := settings.get("sample_prompts"), str):
        settings["sample_prompts"] = _prompts(prompts, path)
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{path or 'train settings'}: {_first(error)}") from error


def _prompts(text: str, settings: Path | None) -> list[str]:
    """The prompts of a .txt file, found from here or beside the settings; any other text is one prompt."""
    if not text.endswith(".txt"):
        return [text]
    for path in (Path(text), *([] if settings is None else [settings.parent / text])):
        if path.is_file():
            return prompt_lines(path)
    raise ConfigError(f"sample_prompts: {text}: there is no such file; wanted one prompt a line")


def _assignment(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: expected name=value")
    return name.strip(), value_of(value)


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    name = ".".join(map(str, found["loc"]))
    if found["type"] == "extra_forbidden":
        return misspelt([name]) or f"{name} is sd-scripts' and has no counterpart here"
    rule = found["msg"].removeprefix("Value error, ")
    return f"{name} = {found['input']!r}: {rule}" if name else rule
