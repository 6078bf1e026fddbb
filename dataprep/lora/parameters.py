"""Training parameters in a LoRA's metadata: what each means, and how it is written in a training file."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dataprep.errors import InputError
from dataprep.export.kohya import toml_value
from dataprep.store import write_bytes


class Parameter(NamedTuple):
    """One `ss_*` entry: the name in a training file ("" if it is no setting), and its meaning."""

    setting: str
    meaning: str


# In the order in which they are shown; all values are texts as Python prints them.
PARAMETERS: dict[str, dict[str, Parameter]] = {
    "what was trained": {
        "ss_output_name": Parameter("output_name", "name given by the author"),
        "ss_base_model_version": Parameter("", "base-model family"),
        "ss_sd_model_name": Parameter("pretrained_model_name_or_path", "checkpoint it was trained on"),
        "ss_vae_name": Parameter("vae", "VAE used instead of the checkpoint's"),
        "ss_network_module": Parameter("network_module", "program part that made the network"),
        "ss_network_dim": Parameter("network_dim", "rank: how much the change can hold"),
        "ss_network_alpha": Parameter("network_alpha", "the change is scaled by alpha / rank"),
        "ss_network_dropout": Parameter("network_dropout", "share of inputs dropped in training"),
        "ss_scale_weight_norms": Parameter("scale_weight_norms", "largest norm of one module's change"),
        "ss_v2": Parameter("v2", "Stable Diffusion 2.x"),
        "ss_v_parameterization": Parameter("v_parameterization", "predicts velocity, as its base model does"),
        "ss_clip_skip": Parameter("clip_skip", "text encoder layer counted from the end"),
        "ss_max_token_length": Parameter("max_token_length", "longest caption, tokens; None is 75"),
        "ss_training_comment": Parameter("training_comment", "the author's words"),
    },
    "how long": {
        "ss_num_train_images": Parameter("", "training pictures x repeats"),
        "ss_num_reg_images": Parameter("", "class pictures (prior preservation)"),
        "ss_num_batches_per_epoch": Parameter("", "batches an epoch"),
        "ss_num_epochs": Parameter("max_train_epochs", "epochs planned"),
        "ss_epoch": Parameter("", "epoch of this file"),
        "ss_max_train_steps": Parameter("max_train_steps", "steps planned"),
        "ss_steps": Parameter("", "steps of this file"),
        "ss_batch_size_per_device": Parameter("train_batch_size", "pictures a step"),
        "ss_total_batch_size": Parameter("", "pictures a step over all devices"),
        "ss_gradient_accumulation_steps": Parameter(
            "gradient_accumulation_steps", "batches that make one step"
        ),
        "ss_seed": Parameter("seed", "start of all random draws"),
    },
    "how fast": {
        "ss_optimizer": Parameter("optimizer_type", "optimizer with its arguments"),
        "ss_learning_rate": Parameter("learning_rate", "rate where no other is given"),
        "ss_unet_lr": Parameter("unet_lr", "rate of the U-Net; None: not trained apart"),
        "ss_text_encoder_lr": Parameter("text_encoder_lr", "rate of the text encoder"),
        "ss_lr_scheduler": Parameter("lr_scheduler", "how the rate moves"),
        "ss_lr_warmup_steps": Parameter("lr_warmup_steps", "steps in which the rate rises"),
        "ss_max_grad_norm": Parameter("max_grad_norm", "gradients are clipped to this norm"),
    },
    "the objective": {
        "ss_loss_type": Parameter("loss_type", "loss of each element"),
        "ss_min_snr_gamma": Parameter("min_snr_gamma", "evens out the timesteps; 5 is usual"),
        "ss_noise_offset": Parameter("noise_offset", "for darker darks and brighter brights; 0.05-0.1 usual"),
        "ss_noise_offset_random_strength": Parameter(
            "noise_offset_random_strength", "the offset is drawn between 0 and noise_offset"
        ),
        "ss_adaptive_noise_scale": Parameter("adaptive_noise_scale", "noise offset that follows the picture"),
        "ss_multires_noise_iterations": Parameter("multires_noise_iterations", "layers of coarser noise"),
        "ss_multires_noise_discount": Parameter("multires_noise_discount", "weight of each coarser layer"),
        "ss_ip_noise_gamma": Parameter("ip_noise_gamma", "extra noise on the input only"),
        "ss_ip_noise_gamma_random_strength": Parameter(
            "ip_noise_gamma_random_strength", "that noise is drawn between 0 and ip_noise_gamma"
        ),
        "ss_prior_loss_weight": Parameter("prior_loss_weight", "weight of class pictures"),
        "ss_zero_terminal_snr": Parameter("zero_terminal_snr", "last timestep is pure noise"),
        "ss_debiased_estimation": Parameter("debiased_estimation_loss", "another weighting of timesteps"),
        "ss_huber_c": Parameter("huber_c", "threshold of the Huber losses"),
        "ss_huber_scale": Parameter("huber_scale", "factor on that threshold"),
        "ss_huber_schedule": Parameter("huber_schedule", "how that threshold moves"),
    },
    "the flow of FLUX and SD3": {
        "ss_timestep_sampling": Parameter("timestep_sampling", "how timesteps are drawn"),
        "ss_sigmoid_scale": Parameter("sigmoid_scale", "how much the middle timesteps are preferred"),
        "ss_discrete_flow_shift": Parameter("discrete_flow_shift", "shift towards the noisy timesteps"),
        "ss_weighting_scheme": Parameter("weighting_scheme", "weight of each timestep"),
        "ss_logit_mean": Parameter("logit_mean", "middle of the draw, weighting_scheme logit_normal"),
        "ss_logit_std": Parameter("logit_std", "width of the draw, weighting_scheme logit_normal"),
        "ss_mode_scale": Parameter("mode_scale", "scale of weighting_scheme mode"),
        "ss_guidance_scale": Parameter("guidance_scale", "guidance that FLUX.1-dev is told"),
        "ss_model_prediction_type": Parameter("model_prediction_type", "what the output stands for"),
        "ss_apply_t5_attn_mask": Parameter("apply_t5_attn_mask", "T5's padding is not attended to"),
        "ss_apply_lg_attn_mask": Parameter("apply_lg_attn_mask", "CLIP's padding is not attended to"),
    },
    "pictures and captions": {
        "ss_resolution": Parameter("resolution", "px; training area is its product"),
        "ss_enable_bucket": Parameter("enable_bucket", "pictures keep their shape, in buckets"),
        "ss_min_bucket_reso": Parameter("min_bucket_reso", "shortest bucket side, px"),
        "ss_max_bucket_reso": Parameter("max_bucket_reso", "longest bucket side, px"),
        "ss_bucket_no_upscale": Parameter("bucket_no_upscale", "small pictures stay small"),
        "ss_flip_aug": Parameter("flip_aug", "half the time mirrored"),
        "ss_color_aug": Parameter("color_aug", "colours varied"),
        "ss_random_crop": Parameter("random_crop", "cut at random"),
        "ss_face_crop_aug_range": Parameter("face_crop_aug_range", "cut round the face, sizes of it"),
        "ss_resize_interpolation": Parameter("resize_interpolation", "how pictures are made smaller"),
        "ss_shuffle_caption": Parameter("shuffle_caption", "tags shuffled each time"),
        "ss_keep_tokens": Parameter("keep_tokens", "leading tags that stay first"),
        "ss_caption_dropout_rate": Parameter("caption_dropout_rate", "share of captions left empty"),
        "ss_caption_dropout_every_n_epochs": Parameter(
            "caption_dropout_every_n_epochs", "in every such epoch all captions are empty"
        ),
        "ss_caption_tag_dropout_rate": Parameter("caption_tag_dropout_rate", "share of tags dropped"),
    },
    "the machine": {
        "ss_mixed_precision": Parameter("mixed_precision", "arithmetic"),
        "ss_full_fp16": Parameter("full_fp16", "gradients in fp16 too"),
        "ss_gradient_checkpointing": Parameter("gradient_checkpointing", "less memory, more arithmetic"),
        "ss_cache_latents": Parameter("cache_latents", "latents computed once"),
        "ss_lowram": Parameter("lowram", "models loaded straight to the GPU"),
        "ss_fp8_base": Parameter("fp8_base", "base model in 8 bits"),
        "ss_fp8_base_unet": Parameter("fp8_base_unet", "U-Net or transformer in 8 bits, text encoders not"),
    },
    "validation": {
        "ss_num_validation_images": Parameter("", "pictures held back from training"),
        "ss_validation_split": Parameter("validation_split", "share of pictures held back"),
        "ss_validation_seed": Parameter("validation_seed", "start of the draw of these"),
        "ss_validate_every_n_epochs": Parameter("validate_every_n_epochs", "epochs between two validations"),
        "ss_validate_every_n_steps": Parameter("validate_every_n_steps", "steps between two validations"),
        "ss_max_validation_steps": Parameter("max_validation_steps", "batches of a validation"),
    },
}
_LONG, _MOST_OTHERS = 200, 100  # characters and lines of what is only told
_ABSENT = ("", "None")
_TEXTS = ("output_name", "training_comment")  # may say anything
# Settings that are words; all others are numbers, or true or false
_WORDED = (
    *_TEXTS, "pretrained_model_name_or_path", "vae", "network_module", "optimizer_type", "lr_scheduler",
    "loss_type", "huber_schedule", "timestep_sampling", "weighting_scheme", "model_prediction_type",
    "resolution", "face_crop_aug_range", "resize_interpolation", "mixed_precision",
)  # fmt: skip
_SEEN = "  # not in the metadata: told by the tensors"
# What training with --dataset_config tells in ss_datasets, of whole sets and of their folders
_OF_DATASETS = (
    "batch_size_per_device", "resolution", "enable_bucket", "min_bucket_reso", "max_bucket_reso",
    "bucket_no_upscale",
)  # fmt: skip
_OF_SUBSETS = (
    "flip_aug", "color_aug", "random_crop", "shuffle_caption", "keep_tokens", "caption_dropout_rate",
    "caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "face_crop_aug_range",
)  # fmt: skip
# What tells of the one run or of the data, and is no setting of another
_OF_THE_RUN = frozenset(
    f"ss_{name}"
    for name in (
        "session_id", "training_started_at", "training_finished_at", "sd_scripts_commit_hash",
        "sd_model_hash", "new_sd_model_hash", "vae_hash", "new_vae_hash", "tag_frequency", "bucket_info",
        "dataset_dirs", "reg_dataset_dirs", "datasets", "network_args",
    )
)  # fmt: skip
_V = ("v", "v_prediction", "velocity")  # modelspec.prediction_type
_WORD = re.compile(r"[A-Za-z_][\w.]*")


def flattened(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata with what it says elsewhere: in ss_datasets, where all data sets say the same, in folder
    mode's names, and of a base model that predicts v or is of Stable Diffusion 2.
    """
    datasets = _value_of_json(metadata.get("ss_datasets", ""))
    sets = [each for each in datasets if isinstance(each, dict)] if isinstance(datasets, list) else []
    lists = [each.get("subsets") for each in sets]
    subsets = [each for found in lists if isinstance(found, list) for each in found if isinstance(each, dict)]
    told: dict[str, str] = {}
    for names, parts in ((_OF_DATASETS, sets), (_OF_SUBSETS, [s for s in subsets if not s.get("is_reg")])):
        for name in names:
            values = [part.get(name) for part in parts]
            if values and values[0] is not None and all(value == values[0] for value in values):
                told[f"ss_{name}"] = str(values[0])
    prediction = metadata.get("modelspec.prediction_type", "")
    version = metadata.get("ss_base_model_version", "")
    architecture = metadata.get("modelspec.architecture", "")
    by_name = architecture.startswith("stable-diffusion-v2-768-v") and not prediction
    if version.endswith("_v") or prediction.lower() in _V or by_name:
        told["ss_v_parameterization"] = "True"  # sd-scripts' own metadata has no entry for it
    if version.startswith("sd_v2") or architecture.startswith("stable-diffusion-v2"):
        told["ss_v2"] = "True"
    return dict(metadata) | {name: text for name, text in told.items() if metadata.get(name, "") in _ABSENT}


def as_config(metadata: Mapping[str, str], tensors: Mapping[str, str] | None = None) -> str:
    """A train.toml with a published file's parameters, in sd-scripts' names; the bundled trainer reads it.

    Folder mode and dataset-config mode are both understood; what the file does not tell is left out.

    Args:
        metadata: of the file.
        tensors: what its tensors tell, under the same names, where the metadata does not.
    """
    metadata = flattened(metadata)
    seen = {key: text for key, text in (tensors or {}).items() if _is_untold(key, metadata.get(key, ""))}
    metadata |= seen
    lines = [
        "# Training parameters of a published file, read from its metadata.",
        "# Rate, rank and steps suit its data set; look at each before use.",
    ]
    for title, group in PARAMETERS.items():
        body = []
        for key, parameter in group.items():
            text = metadata.get(key, "")
            if parameter.setting and text not in _ABSENT:
                body += [f"{line}{_SEEN * (key in seen)}" for line in _assignments(parameter, text)]
        if title == "what was trained" and metadata.get("ss_network_args"):
            body += _network_args(metadata["ss_network_args"])
        if body:
            lines += ["", f"[{title.replace(' ', '_')}]", *body]
    known = {key for group in PARAMETERS.values() for key in group} | _OF_THE_RUN
    other = sorted(key for key in metadata if key.startswith("ss_") and key not in known)
    other = [key for key in other if metadata[key] not in _ABSENT]
    if other:
        lines += ["", "# Also in the metadata, but no setting of sd-scripts that is known here:"]
        lines += [
            f"# {_one_line(key)} = {toml_value(_one_line(metadata[key]))}" for key in other[:_MOST_OTHERS]
        ]
    return "\n".join(lines) + "\n"


def save_config(
    metadata: Mapping[str, str], out: Path | None, tensors: Mapping[str, str] | None = None
) -> str:
    """What `as_config` makes, to be printed; or, where `out` names a file, written there.

    Args:
        metadata: of the published file.
        out: a file that is not there yet.
        tensors: see `as_config`.
    Returns:
        What to tell the user.
    Raises:
        InputError: there is such a file already.
        DiskError: it cannot be written.
    """
    text = as_config(metadata, tensors)
    if out is None:
        return text
    if out.exists() or out.is_symlink():
        raise InputError(f"{out}: is there already and is left as it is; name another file with --out")
    write_bytes(out, text.encode())
    return f"{out}: written; look at each value, then: dataprep train DIR --config {out}\n"


def _assignments(parameter: Parameter, text: str) -> list[str]:
    if parameter.setting == "optimizer_type":
        return _optimizer(text)
    value = _value(text)
    if parameter.setting not in _TEXTS and _is_no_number(value):
        why = "not finite in the file: it was trained with a broken value"
        return [f"# {parameter.setting} = {toml_value(text)}  # {why}; choose one"]
    if parameter.setting not in _WORDED and (isinstance(value, str) or value == []):
        why = "no number, nor true or false: no trainer reads it"
        return [f"# {parameter.setting} = {toml_value(_one_line(text))}  # {why}; choose one"]
    if parameter.setting in ("resolution", "face_crop_aug_range") and isinstance(value, list):
        value = ",".join(map(str, value))
    # The checkpoint's name is the author's, and no path on this machine.
    comment = "# " if parameter.setting in ("pretrained_model_name_or_path", "vae", "max_train_steps") else ""
    return [f"{comment}{parameter.setting} = {toml_value(value)}"]


def _is_untold(key: str, text: str) -> bool:
    """Whether metadata leaves open what tensors may tell."""
    return text in _ABSENT or (
        key in ("ss_network_dim", "ss_network_alpha") and isinstance(_value(text), str)
    )


def _one_line(text: str) -> str:
    """Without what could end a comment, and not long."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:_LONG])


def _is_no_number(value: object) -> bool:
    """Whether a value is nan or infinite, or a list with such a one."""
    if isinstance(value, list):
        return any(map(_is_no_number, value))
    try:
        return isinstance(value, str | float) and not math.isfinite(float(value))
    except ValueError:
        return False  # a text


def _value(text: str) -> object:
    """A value as Python printed it: bool, number, list of numbers, else the text itself."""
    try:
        value = ast.literal_eval(text) if len(text) < 1000 else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    if isinstance(value, tuple | list) and all(isinstance(item, int | float) for item in value):
        return list(value)
    plain = isinstance(value, bool | int) or (isinstance(value, float) and abs(value) < float("inf"))
    return value if plain else text


def _optimizer(text: str) -> list[str]:
    """ "torch.optim.adamw.AdamW(weight_decay=0.01,betas=(0.9, 0.99))" as type and arguments."""
    path, _, arguments = text.partition("(")
    if not _WORD.fullmatch(path.strip()):
        return [f"# optimizer_type = {toml_value(text)}"]
    lines = [f"optimizer_type = {toml_value(path.strip().rpartition('.')[2])}"]
    parts = [
        part.strip() for part in re.split(r",(?![^(\[]*[)\]])", arguments.removesuffix(")")) if part.strip()
    ]
    if parts:
        lines.append(f"optimizer_args = {toml_value(parts)}")
    return lines


def _network_args(text: str) -> list[str]:
    value = _value_of_json(text)
    if not isinstance(value, dict):
        return []
    return [f"network_args = {toml_value([f'{name}={item}' for name, item in value.items()])}"]


def _value_of_json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
