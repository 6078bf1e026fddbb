"""sd-scripts' own training files, read as ours: which setting is which, and what is not honoured."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig  # the one list of our names

# Settings that mean the same in both, under another name.
RENAMED = {
    "pretrained_model_name_or_path": "base",
    "network_dim": "rank",
    "network_alpha": "alpha",
    "scale_weight_norms": "max_norm",
    "max_train_steps": "steps",
    "max_train_epochs": "epochs",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "unet_lr": "unet_rate",
    "lr_scheduler": "schedule",
    "lr_warmup_steps": "warmup",
    "lr_scheduler_num_cycles": "cycles",
    "lr_scheduler_power": "power",
    "loss_type": "loss",
    "debiased_estimation_loss": "debiased",
    "scale_v_pred_loss_like_noise_pred": "scale_v_like_noise",
    "multires_noise_iterations": "multires_iterations",
    "multires_noise_discount": "multires_discount",
    "ip_noise_gamma": "input_perturbation",
    "masked_loss": "masked",
    "alpha_mask": "masked",
    "max_token_length": "token_length",
    "shuffle_caption": "shuffle",
    "caption_separator": "separator",
    "caption_dropout_rate": "caption_dropout",
    "caption_dropout_every_n_epochs": "caption_dropout_every",
    "caption_tag_dropout_rate": "tag_dropout",
    "enable_wildcard": "wildcard",
    "weighted_captions": "weighted",
    "flip_aug": "flip",
    "mixed_precision": "precision",
    "torch_compile": "compile",
    "save_every_n_epochs": "save_every_epochs",
    "save_every_n_steps": "save_every_steps",
    "sample_every_n_epochs": "sample_every_epochs",
    "sample_every_n_steps": "sample_every_steps",
    "sample_sampler": "sampler",
    "training_comment": "comment",
}

# Answered by the prepared folder: what its pictures, buckets, repeats and latents are was decided by `run`.
_FROM_FOLDER = """train_data_dir reg_data_dir dataset_config in_json resolution enable_bucket
min_bucket_reso max_bucket_reso bucket_reso_steps bucket_no_upscale caption_extension cache_latents
cache_latents_to_disk cache_info dataset_repeats skip_cache_check vae_batch_size resize_interpolation"""
FROM_FOLDER = frozenset(_FROM_FOLDER.split())
FROM_THE_FOLDER = "decided by the prepared folder"  # how the line begins that names these
# Answered by this program: the family is read from the model, kernels are chosen, output has one place.
_OURS = """v2 sdxl output_dir logging_dir log_with log_prefix xformers sdpa mem_eff_attn
max_data_loader_n_workers persistent_data_loader_workers lowram highvram no_half_vae save_model_as
cache_text_encoder_outputs cache_text_encoder_outputs_to_disk console_log_level prior_preservation
num_cpu_threads_per_process"""
OURS = frozenset(_OURS.split())

# Not here, and said so where the value asks for anything: each with the value that asks for nothing.
_NOT_HERE = """noise_offset_random_strength adaptive_noise_scale ip_noise_gamma_random_strength
v_pred_like_loss token_warmup_step"""
NOT_HERE = dict.fromkeys(_NOT_HERE.split(), 0) | {"huber_scale": 1, "token_warmup_min": 1}

# Where sd-scripts' file is silent, what it takes for granted and this program does not, in our names.
SILENT: dict[str, Any] = {
    "rank": 4,
    "alpha": 1.0,
    "batch_size": 1,
    "unet_rate": 2e-6,
    "text_encoder_rate": 2e-6,
    "schedule": "constant",
    "keep_tokens": 0,
    "save_precision": "fp32",
}
SILENT_STEPS = 1600  # where it gives neither steps nor epochs

# There 0 and "" mean "not used"; here that is leaving it out.
_OFF = """min_snr_gamma scale_weight_norms clip_skip max_token_length max_train_epochs max_train_steps
save_every_n_epochs save_every_n_steps sample_every_n_epochs sample_every_n_steps multires_noise_discount
caption_prefix caption_suffix secondary_separator"""
OFF = frozenset(_OFF.split())

PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
OPTIMIZERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "adafactor": "adafactor",
    "lion": "lion",
    "sgdnesterov": "sgd",
    "prodigy": "prodigy",
    "dadaptation": "dadaptadam",
    "dadaptadam": "dadaptadam",
}
# Kin that is trained with instead, and said.
NEAREST = {
    "pagedadamw": "adamw",
    "pagedadamw32bit": "adamw",
    "pagedadamw8bit": "adamw8bit",
    "lion8bit": "lion",
    "pagedlion8bit": "lion",
    "sgdnesterov8bit": "sgd",
    "dadaptadampreprint": "dadaptadam",
    "dadaptadan": "dadaptadam",
    "dadaptlion": "dadaptadam",
    "dadaptsgd": "dadaptadam",
    "dadaptadagrad": "dadaptadam",
}
# Arguments of the packages that sd-scripts takes its optimizers from, and their names in ours.
ARGUMENTS: dict[str, dict[str, str]] = {
    "prodigy": {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"},
    "dadaptadam": {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"},
    "adafactor": {"clip_threshold": "d", "decay_rate": "beta2_decay"},
}
# Adafactor's switches there, off as everybody sets them for a LoRA: so it always is here.
_ADAFACTOR_OFF = ("scale_parameter", "relative_step", "warmup_init")
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
SAMPLERS = {
    "ddim": "ddim",
    "euler": "euler",
    "k_euler": "euler",
    "euler_a": "euler_a",
    "k_euler_a": "euler_a",
    "dpmsolver++": "dpm++_2m",
}


def translate(table: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Our settings from a training file, which may be ours or sd-scripts'.

    sd-scripts ignores section names, so its sections are flattened. A file that holds none of its own names
    is returned unchanged.

    Args:
        table: the parsed file.
    Returns:
        Our settings, and one line for each thing that was asked for and is not honoured.
    """
    if not is_theirs(table):
        return dict(table), []
    flat = {name: value for name, value in _flatten(table).items() if value or name not in OFF}
    ours: dict[str, Any] = {}
    notes: list[str] = []
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
        if name in _SPECIAL:
            _SPECIAL[name](value, ours, notes)
        else:
            ours[RENAMED.get(name, name)] = value
    return _same_meaning(ours, flat, notes), notes + _taken_over(flat)


def is_theirs(table: Mapping[str, Any]) -> bool:
    """Whether a training file speaks sd-scripts' names: one that only it has is enough."""
    return bool(set(_flatten(table)) & (_their_names() - set(TrainConfig.model_fields)))


def misspelt(names: Iterable[str]) -> str | None:
    """What is wrong with the first name that is no setting, but nearly one; None where there is no such name.

    sd-scripts has more settings than are known here, so a name unlike all of these may be right.
    """
    known = known_names()
    for name in names:
        if name not in known and (near := get_close_matches(name, sorted(known), 1, 0.8)):
            return f"unknown setting {name}; did you mean {near[0]}?"
    return None


def known_names() -> set[str]:
    """Every setting that a training file may hold and that means something here."""
    return _their_names() | set(TrainConfig.model_fields)


def _their_names() -> set[str]:
    return set(RENAMED) | FROM_FOLDER | OURS | set(NOT_HERE) | set(_SPECIAL) | {"learning_rate"}


def with_their_defaults(ours: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A translated file with sd-scripts' own defaults where it is silent, and a line that says so."""
    silent = {name: value for name, value in SILENT.items() if name not in ours}
    if not {"steps", "epochs"} & set(ours):
        silent["steps"] = SILENT_STEPS
    if ours.get("network") == "locon" and "conv_alpha" not in ours:
        silent["conv_alpha"] = 1.0
    said = ", ".join(f"{name} {value}" for name, value in silent.items())
    return silent | dict(ours), [f"sd-scripts' defaults, as its file is silent: {said}"] if silent else []


def _flatten(table: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        keep = not isinstance(value, Mapping) or name in (
            "optimizer_args",
            "block_ranks",
            "block_alphas",
            "block_rates",
        )
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
        if value := ours.pop(name):  # False, 0 and "" ask for nothing
            notes.append(
                f"{name} = {value!r} of the sd-scripts file has no counterpart here and is not honoured"
            )
    if "optimizer_args" in ours:
        ours["optimizer_args"] = _arguments(ours.get("optimizer", "adamw"), ours["optimizer_args"], notes)
    return ours


def _drop_unknown_drops(ours: dict[str, Any], notes: list[str]) -> None:
    """Leave out the dropouts that sd-scripts has for a network and peft has not."""
    lyco = ours.get("network") in ("loha", "lokr")
    for name in ("dropout",) if lyco else ("rank_dropout", "module_dropout"):
        if value := ours.pop(name, 0):
            notes.append(f"{name} = {value!r} is not here for network {ours.get('network', 'lora')}")


def _arguments(optimizer: str, args: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Optimizer arguments under the names of the packages that are used here."""
    names, ours = ARGUMENTS.get(optimizer, {}), {}
    for name, value in args.items():
        if optimizer == "adafactor" and name in _ADAFACTOR_OFF:
            if value:
                notes.append(f"optimizer_args {name} = {value!r} is not honoured: the rates hold as they are")
        else:
            ours[names.get(name, name)] = value
    return ours


def _taken_over(flat: Mapping[str, Any]) -> list[str]:
    folder = sorted(FROM_FOLDER & set(flat))
    return [f"{FROM_THE_FOLDER}, not by the sd-scripts file: {', '.join(folder)}"] if folder else []


def _network_module(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    ours.setdefault("network", "lora")
    if value not in ("networks.lora", "lycoris.kohya"):
        notes.append(f"network_module = {value!r} is not known; trains lora")


def _network_dropout(value: float, ours: dict[str, Any], notes: list[str]) -> None:
    ours["dropout"] = value
    if value:
        notes.append(
            f"network_dropout = {value}: dropped before the down matrix here, behind it in sd-scripts"
        )


def _network_args(value: list[str], ours: dict[str, Any], notes: list[str]) -> None:
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
    for name, _, text in (item.partition("=") for item in value):
        if name == "algo" and text.lower() in ("lora", "locon", "loha", "lokr"):
            ours["network"] = "dora" if ours.get("network") == "dora" else text.lower()
        elif name in ("dora_wd", "use_dora"):
            ours |= {"network": "dora"} if _number(text.capitalize()) else {}
        elif name in ("block_dims", "block_alphas"):
            ours[names[name]] = [_number(part) for part in text.split(",")]
        elif name in names:
            ours[names[name]] = _number(text)
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


def _optimizer_args(value: list[str] | Mapping[str, Any], ours: dict[str, Any], notes: list[str]) -> None:
    if isinstance(value, Mapping):
        ours["optimizer_args"] = dict(value)
        return
    pairs = (item.partition("=") for item in value)
    ours["optimizer_args"] = {name: _number(text) for name, _, text in pairs}


def _optimizer_type(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    name = value.lower().rpartition(".")[2]  # such as prodigyopt.Prodigy
    ours["optimizer"] = OPTIMIZERS.get(name) or NEAREST.get(name, "adamw")
    if name not in OPTIMIZERS:
        notes.append(f"optimizer_type = {value!r} is not here; trains with {ours['optimizer']}")


def _text_rate(value: float | list[float], ours: dict[str, Any], notes: list[str]) -> None:
    rates = value if isinstance(value, list) else [value]
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


def _save_precision(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    ours["save_precision"] = PRECISIONS.get(value, value)


_SPECIAL: dict[str, Callable[[Any, dict[str, Any], list[str]], None]] = {
    "network_module": _network_module,
    "network_dropout": _network_dropout,
    "network_args": _network_args,
    "optimizer_type": _optimizer_type,
    "optimizer_args": _optimizer_args,
    "text_encoder_lr": _text_rate,
    "network_train_unet_only": _unet_only,
    "network_train_text_encoder_only": _text_encoder_only,
    "v_parameterization": _v_parameterization,
    "sample_prompts": _sample_prompts,
    "save_precision": _save_precision,
}


def _number(text: str) -> object:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
