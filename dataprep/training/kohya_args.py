"""sd-scripts' own training files, read as ours: which setting is which, and what is not honoured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig  # the one list of our names
from dataprep.training.kohya_names import (
    ALGORITHMS,
    EITHER,
    FROM_FOLDER,
    FROM_THE_FOLDER,
    NOT_HERE,
    OFF,
    OURS,
    PASSED_OVER,
    PRECISIONS,
    RENAMED,
    SAMPLERS,
    SCHEDULES,
    SILENT,
    SILENT_STEPS,
)
from dataprep.training.kohya_optimizer import (
    adamw8bit,
    arguments,
    is_other_optimizer,
    items,
    lion,
    number,
    optimizer_args,
    optimizer_type,
    refuse_high_rate,
)

_TABLES = ("optimizer_args", "block_ranks", "block_alphas", "block_rates")  # settings, not sections
# What the meaning of other settings hangs on.
_COMBINED = ("rank", "network", "conv_rank", "optimizer", "unet_rate", "text_encoder_rate", "warmup")
_REFINED = ("network", "masked")  # the module's network by its arguments; either kind of mask is enough


def translate(
    table: Mapping[str, Any], under: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Our settings from a training file, which may be ours or sd-scripts'.

    sd-scripts ignores section names, so its sections are flattened. A file that holds none of its own names
    is returned unchanged.

    Args:
        table: the parsed file.
        under: where it was typed, not written by a program, our settings that it changes: what is empty or
            0 was meant so, and wins over them.
    Returns:
        Our settings, and one line for each thing that was asked for and is not honoured.
    Raises:
        ConfigError: a name that neither program has, or two values for one setting.
    """
    if not is_theirs(table):
        return dict(table), []
    flat = flattened(table)
    if under is None:
        flat = {name: value for name, value in flat.items() if not _is_empty(name, value)}
    if wrong := misspelt(flat):
        raise ConfigError(wrong)
    _refuse_contradictions(table, flat)
    ours: dict[str, Any] = {}
    notes: list[str] = []
    said: dict[str, str] = {}  # what gave each of our settings its value
    if "learning_rate" in flat:  # the general rate first, so that the particular ones win
        ours["unet_rate"] = ours["text_encoder_rate"] = flat.pop("learning_rate")
    for name, value in flat.items():
        if (
            value is None
            or name in FROM_FOLDER
            or name in OURS
            or (name in NOT_HERE and value == NOT_HERE[name])
        ):
            continue
        before = dict(ours)
        if name in _SPECIAL:
            _read_special(name, value, ours, notes)
        else:
            new = RENAMED.get(name, name)
            value = int(value) if new == "token_length" and str(value).isdecimal() else value
            ours[new] = value or (ours.get(new, value) if new == "masked" else value)  # either kind of mask
        _note_who_said(f"{name} = {value!r}", before, ours, said)
    below = {name: value for name, value in (under or {}).items() if name in _COMBINED}
    found = _same_meaning(below | ours, flat, notes)
    changed = {name: value for name, value in found.items() if name in ours or below.get(name) != value}
    return changed, notes + _taken_over(flat)


def _read_special(name: str, value: object, ours: dict[str, Any], notes: list[str]) -> None:
    try:
        _SPECIAL[name](value, ours, notes)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{name} = {value!r}: not what sd-scripts takes by this name") from error


def _is_empty(name: str, value: object) -> bool:
    """Whether a program wrote a setting that it does not use."""
    return (name in OFF and not value) or (value == "" and name in RENAMED)


def _refuse_contradictions(table: Mapping[str, Any], flat: Mapping[str, Any]) -> None:
    """Stop where two sections, or two settings, ask for what excludes each other."""
    sections = [value for name, value in table.items() if isinstance(value, Mapping) and name not in _TABLES]
    for name, value in ((name, value) for section in sections for name, value in section.items()):
        if flat.get(name, value) != value:
            raise ConfigError(f"{name} stands in two sections, as {value!r} and {flat[name]!r}: keep one")
    for one, other in EITHER:
        if flat.get(one) and flat.get(other):
            raise ConfigError(f"{one} = {flat[one]!r} and {other} = {flat[other]!r} exclude each other")
    # The family's own script refuses it too: what an encoder says is not kept while it learns.
    if flat.get("cache_text_encoder_outputs") and not _text_encoder_rests(flat):
        raise ConfigError(
            "cache_text_encoder_outputs needs network_train_unet_only = true: outputs of a text encoder that "
            "learns cannot be kept"
        )


def _text_encoder_rests(flat: Mapping[str, Any]) -> bool:
    return bool(flat.get("network_train_unet_only")) or flat.get("train_text_encoder") is False


def _note_who_said(
    given: str, before: Mapping[str, Any], ours: Mapping[str, Any], said: dict[str, str]
) -> None:
    """Note what gave our settings their values; stop where it gives one another value than was given."""
    for setting, value in ours.items():
        if setting in said and before[setting] != value and setting not in _REFINED:
            raise ConfigError(f"{said[setting]} and {given} contradict each other: keep one")
        if setting not in before or before[setting] != value:
            said[setting] = given


def is_theirs(table: Mapping[str, Any]) -> bool:
    """Whether a training file speaks sd-scripts' names: one that only it has is enough."""
    flat = flattened(table)
    listed = not isinstance(flat.get("optimizer_args", {}), Mapping)  # a table in ours
    return listed or bool(set(flat) & (_their_names() - set(TrainConfig.model_fields)))


def misspelt(names: Iterable[str]) -> str | None:
    """What is wrong with the first name that neither program has; None where there is no such name."""
    known = known_names()
    for name in names:
        if name not in known | PASSED_OVER:
            near = get_close_matches(name, sorted(known), 1, 0.7)
            meant = f"did you mean {near[0]}?" if near else "`dataprep explain train` lists them"
            return f"unknown setting {name}; {meant}"
    return None


def known_names() -> set[str]:
    """Every setting that a training file may hold and that means something here."""
    return _their_names() | set(TrainConfig.model_fields)


def _their_names() -> set[str]:
    return set(RENAMED) | FROM_FOLDER | OURS | set(NOT_HERE) | set(_SPECIAL) | {"learning_rate"}


def with_their_defaults(ours: Mapping[str, Any], module: str = "") -> tuple[dict[str, Any], list[str]]:
    """A translated file with sd-scripts' own defaults where it is silent, and a line that says so.

    LyCORIS (`network_module`) gives convolutions the rank and alpha of the rest; networks.lora an alpha of 1.
    """
    silent = {name: value for name, value in SILENT.items() if name not in ours}
    if not {"steps", "epochs"} & set(ours):
        silent["steps"] = SILENT_STEPS
    if ours.get("network") == "locon" and "conv_alpha" not in ours and not module.startswith("lycoris"):
        silent["conv_alpha"] = 1.0
    said = ", ".join(f"{name} {value}" for name, value in silent.items())
    return silent | dict(ours), [f"sd-scripts' defaults, as its file is silent: {said}"] if silent else []


def flattened(table: Mapping[str, Any]) -> dict[str, Any]:
    """A file's settings without its sections, whose names sd-scripts ignores."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        keep = not isinstance(value, Mapping) or name in _TABLES
        flat |= {name: value} if keep else value
    return flat


def _same_meaning(ours: dict[str, Any], flat: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Values that are spelled or combined otherwise there."""
    if "epochs" in ours and "max_train_epochs" in flat:
        ours.pop("steps", None)  # there, epochs win over steps
    if ours.get("alpha") == 0:
        ours["alpha"] = float(ours.get("rank", SILENT["rank"]))
    if "precision" in ours:
        ours["precision"] = PRECISIONS.get(str(ours["precision"]), ours["precision"])
    if "sampler" in ours and str(ours["sampler"]) not in SAMPLERS:
        notes.append(f"sample_sampler = {ours.pop('sampler')!r} is not here; draws with ddim")
    elif "sampler" in ours:
        ours["sampler"] = SAMPLERS[str(ours["sampler"])]
    if ours.get("schedule", "cosine") not in SCHEDULES:
        notes.append(f"lr_scheduler = {ours['schedule']!r} is not here; the rate stays constant")
        ours["schedule"] = "constant_with_warmup" if ours.get("warmup") else "constant"
    if ours.get("network", "lora") == "lora" and ours.get("conv_rank"):
        ours["network"] = "locon"
    _drop_unknown_drops(ours, notes)
    for name in sorted(set(ours) - set(TrainConfig.model_fields)):
        value = ours.pop(name)
        how_long = name == "epoch" and {"steps", "epochs"} & set(ours)  # the front end's, beside the real one
        if value and not how_long:  # False, 0 and "" ask for nothing
            notes.append(
                f"{name} = {value!r} of the sd-scripts file has no counterpart here and is not honoured"
            )
    if "optimizer_args" in ours:
        ours["optimizer_args"] = arguments(ours, notes, other=is_other_optimizer(flat))
    refuse_high_rate(ours, flat)
    return ours


def _drop_unknown_drops(ours: dict[str, Any], notes: list[str]) -> None:
    """Leave out the dropouts that sd-scripts has for a network and peft has not."""
    lyco = ours.get("network") in ("loha", "lokr")
    for name in ("dropout",) if lyco else ("rank_dropout", "module_dropout"):
        if value := ours.pop(name, 0):
            notes.append(f"{name} = {value!r} is not here for network {ours.get('network', 'lora')}")


def _taken_over(flat: Mapping[str, Any]) -> list[str]:
    folder = sorted(FROM_FOLDER & set(flat))
    return [f"{FROM_THE_FOLDER}, not by the sd-scripts file: {', '.join(folder)}"] if folder else []


def _network_module(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    # LyCORIS' plain algorithm, its default, changes convolutions too.
    ours.setdefault("network", "locon" if value == "lycoris.kohya" else "lora")
    if value not in ("networks.lora", "lycoris.kohya"):
        notes.append(f"network_module = {value!r} is not known; trains lora")


def _network_dropout(value: float, ours: dict[str, Any], notes: list[str]) -> None:
    ours["dropout"] = value
    if value:
        notes.append(
            f"network_dropout = {value}: dropped before the down matrix here, behind it in sd-scripts"
        )


def _network_args(value: str | list[str], ours: dict[str, Any], notes: list[str]) -> None:
    names = {
        "conv_dim": "conv_rank",
        "conv_alpha": "conv_alpha",
        "rank_dropout": "rank_dropout",
        "module_dropout": "module_dropout",
        "block_dims": "block_ranks",
        "block_alphas": "block_alphas",
        "dropout": "dropout",
    }
    rates: dict[str, list[float]] = {}
    for name, _, text in (item.partition("=") for item in items(value)):
        if name == "algo" and text.lower() in ALGORITHMS:
            ours["network"] = "dora" if ours.get("network") == "dora" else ALGORITHMS[text.lower()]
        elif name in ("dora_wd", "use_dora"):
            ours |= {"network": "dora"} if number(text.capitalize()) else {}
        elif name in ("block_dims", "block_alphas"):
            ours[names[name]] = [number(part) for part in text.split(",")]
        elif name in names:
            ours[names[name]] = number(text)
        elif (
            name in ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
            and "+" not in text
            and text[:1] in "0123456789."
        ):
            rates[name] = [float(part) for part in text.split(",")]
        else:
            notes.append(f"network_args {name}={text} is not honoured")
    if rates:
        ours["block_rates"] = (
            rates.get("down_lr_weight", [1.0] * 12)
            + rates.get("mid_lr_weight", [1.0])
            + rates.get("up_lr_weight", [1.0] * 12)
        )


def _text_rate(value: float | list[float], ours: dict[str, Any], notes: list[str]) -> None:
    if rates := value if isinstance(value, list) else [value]:  # [] is not given, as for sd-scripts
        ours["text_encoder_rate"] = rates[0]
    if len(set(rates)) > 1:
        notes.append(f"text_encoder_lr = {rates}: both text encoders train at {rates[0]}")


def _unet_only(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    ours["train_text_encoder"] = not value


def _text_encoder_only(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    ours["train_unet"] = not value


def _v_parameterization(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    ours["target"] = "v" if value else "eps"


def _sample_prompts(value: str | list[str], ours: dict[str, Any], notes: list[str]) -> None:
    if not isinstance(value, str):
        ours["sample_prompts"] = value
    elif value.endswith(".txt") and Path(value).is_file():
        ours["sample_prompts"] = prompt_lines(Path(value))
    elif value:
        notes.append(
            f"sample_prompts = {value!r} is no .txt file here: captions of the set are drawn instead"
        )


def prompt_lines(path: Path) -> list[str]:
    """The prompts in a text file: its lines but for blank ones and comments. Raises ConfigError."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no readable UTF-8 text: {error}") from error
    return [line for line in lines if line and not line.startswith("#")]


def _log_with(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    here = find_spec("tensorboard") is not None
    ours["tensorboard"] = value in ("tensorboard", "all") and here
    if value not in ("tensorboard", "") or (value and not here):
        why = "tensorboard is not installed" if value == "tensorboard" else "there is TensorBoard alone"
        notes.append(f"log_with = {value!r} is not honoured: {why}; log/train.jsonl is always written")


def _output_dir(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    if value:
        notes.append(f"output_dir = {value!r} is not honoured: results go into the prepared folder's model/")


def _save_model_as(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    if value not in ("safetensors", ""):
        notes.append(f"save_model_as = {value!r} is not honoured: files are safetensors")


def _v2(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    if value:
        notes.append("v2 = true is not needed: the family is read from the base model itself")


def _save_precision(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    ours["save_precision"] = PRECISIONS.get(value, value)


_SPECIAL: dict[str, Callable[[Any, dict[str, Any], list[str]], None]] = {
    "network_module": _network_module,
    "network_dropout": _network_dropout,
    "network_args": _network_args,
    "optimizer_type": optimizer_type,
    "optimizer_args": optimizer_args,
    "use_8bit_adam": adamw8bit,
    "use_lion_optimizer": lion,
    "text_encoder_lr": _text_rate,
    "network_train_unet_only": _unet_only,
    "network_train_text_encoder_only": _text_encoder_only,
    "v_parameterization": _v_parameterization,
    "sample_prompts": _sample_prompts,
    "save_precision": _save_precision,
    "log_with": _log_with,
    "output_dir": _output_dir,
    "save_model_as": _save_model_as,
    "v2": _v2,
}
