"""sd-scripts' own training files, read as ours: which setting is which, and what is not honoured."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

# Settings that mean the same in both, under another name.
RENAMED = {
    "pretrained_model_name_or_path": "base",
    "network_dim": "rank",
    "network_alpha": "alpha",
    "network_dropout": "dropout",
    "scale_weight_norms": "max_norm",
    "max_train_steps": "steps",
    "max_train_epochs": "epochs",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "unet_lr": "unet_rate",
    "text_encoder_lr": "text_encoder_rate",
    "lr_scheduler": "schedule",
    "lr_warmup_steps": "warmup",
    "lr_scheduler_num_cycles": "cycles",
    "lr_scheduler_power": "power",
    "loss_type": "loss",
    "debiased_estimation_loss": "debiased",
    "scale_v_pred_loss_like_noise_pred": "scale_v_like_noise",
    "v_pred_like_loss": "v_like_loss",
    "noise_offset_random_strength": "noise_offset_random",
    "adaptive_noise_scale": "adaptive_noise",
    "multires_noise_iterations": "multires_iterations",
    "multires_noise_discount": "multires_discount",
    "ip_noise_gamma": "input_perturbation",
    "ip_noise_gamma_random_strength": "input_perturbation_random",
    "masked_loss": "masked",
    "alpha_mask": "masked",
    "max_token_length": "token_length",
    "shuffle_caption": "shuffle",
    "caption_separator": "separator",
    "caption_dropout_rate": "caption_dropout",
    "caption_dropout_every_n_epochs": "caption_dropout_every",
    "caption_tag_dropout_rate": "tag_dropout",
    "token_warmup_min": "warmup_tags",
    "token_warmup_step": "warmup_tag_steps",
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
# Answered by this program: the family is read from the model, kernels are chosen, output has one place.
_OURS = """v2 sdxl output_dir logging_dir log_with log_prefix xformers sdpa mem_eff_attn
max_data_loader_n_workers persistent_data_loader_workers lowram highvram no_half_vae save_model_as
cache_text_encoder_outputs cache_text_encoder_outputs_to_disk console_log_level prior_preservation
num_cpu_threads_per_process"""
OURS = frozenset(_OURS.split())

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
    flat = _flatten(table)
    from dataprep.train.config import TrainConfig  # the one list of our names

    theirs = (set(RENAMED) | FROM_FOLDER | OURS | set(_SPECIAL) | {"learning_rate"}) - set(
        TrainConfig.model_fields
    )
    if not set(flat) & theirs:
        return dict(table), []
    ours: dict[str, Any] = {}
    notes: list[str] = []
    if "learning_rate" in flat:  # the general rate first, so that the particular ones win
        ours["unet_rate"] = ours["text_encoder_rate"] = flat.pop("learning_rate")
    for name, value in flat.items():
        if value is None or name in FROM_FOLDER or name in OURS:
            continue
        if name in _SPECIAL:
            _SPECIAL[name](value, ours, notes)
        else:
            ours[RENAMED.get(name, name)] = value
    return _same_meaning(ours, flat, notes), notes + _taken_over(flat)


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
    from dataprep.train.config import TrainConfig  # the one list of our names

    if "epochs" in ours and "max_train_epochs" in flat:
        ours.pop("steps", None)  # there, epochs win over steps
    if "precision" in ours:
        ours["precision"] = PRECISIONS.get(str(ours["precision"]), ours["precision"])
    if "sampler" in ours:
        ours["sampler"] = SAMPLERS.get(str(ours["sampler"]), ours["sampler"])
    if "save_precision" in flat:
        ours["save_precision"] = PRECISIONS.get(str(flat["save_precision"]), flat["save_precision"])
    if ours.get("network") == "lora" and ours.get("conv_rank"):
        ours["network"] = "locon"
    for name in sorted(set(ours) - set(TrainConfig.model_fields)):
        notes.append(
            f"{name} = {ours.pop(name)!r} of the sd-scripts file has no counterpart here and is not honoured"
        )
    return ours


def _taken_over(flat: Mapping[str, Any]) -> list[str]:
    folder = sorted(FROM_FOLDER & set(flat))
    return (
        [f"decided by the prepared folder, not by the sd-scripts file: {', '.join(folder)}"] if folder else []
    )


def _network_module(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    ours.setdefault("network", "lora")
    if value not in ("networks.lora", "lycoris.kohya"):
        notes.append(f"network_module = {value!r} is not known; trains lora")


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
        if name == "algo":
            ours["network"] = {"lora": "lora", "locon": "locon"}.get(text, text)
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
    ours["optimizer"] = OPTIMIZERS.get(value.lower(), value)


def _unet_only(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    ours["train_text_encoder"] = not value


def _text_encoder_only(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    ours["train_unet"] = not value


def _v_parameterization(value: bool, ours: dict[str, Any], notes: list[str]) -> None:
    if value:
        ours["target"] = "v"


def _sample_prompts(value: str | list[str], ours: dict[str, Any], notes: list[str]) -> None:
    if isinstance(value, str):
        notes.append(f"sample_prompts = {value!r}: write the prompts themselves as a list of texts")
    else:
        ours["sample_prompts"] = value


def _save_precision(value: str, ours: dict[str, Any], notes: list[str]) -> None:
    ours["save_precision"] = PRECISIONS.get(value, value)


_SPECIAL: dict[str, Callable[[Any, dict[str, Any], list[str]], None]] = {
    "network_module": _network_module,
    "network_args": _network_args,
    "optimizer_type": _optimizer_type,
    "optimizer_args": _optimizer_args,
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
