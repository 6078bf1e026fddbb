"""What a LoRA file says of itself: `ss_*` and `sshs_*` as sd-scripts writes them, `modelspec.*` as Stability.

Readers (A1111, ComfyUI, model sites) show these, and pick the base family by them; every value is a text.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dataprep import __version__
from dataprep.inference.base import Base, Family, Prediction
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared

if TYPE_CHECKING:
    from torch import Tensor

ARCHITECTURES: dict[tuple[Family, bool], str] = {
    ("sd1", False): "stable-diffusion-v1",
    ("sd1", True): "stable-diffusion-v1",
    ("sd2", False): "stable-diffusion-v2-512",
    ("sd2", True): "stable-diffusion-v2-768-v",
    ("sdxl", False): "stable-diffusion-xl-v1-base",
    ("sdxl", True): "stable-diffusion-xl-v1-base",
}
VERSIONS: dict[Family, str] = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
BASE_KEY = "dataprep.base_fingerprint"  # by which `dataprep sample` knows the base model again
KINDS = {"network": "/lora", "full": "", "embedding": "/textual-inversion"}
MODELSPEC = "1.0.1"
PREDICTIONS: dict[Prediction, str] = {"eps": "epsilon", "v": "v", "flow": "flow"}
OPTIMIZERS = {
    "adamw": "torch.optim.adamw.AdamW",
    "adamw8bit": "bitsandbytes.optim.adamw.AdamW8bit",
    "adafactor": "torch.optim._adafactor.Adafactor",
    "sgd": "torch.optim.sgd.SGD",
    "lion": "pytorch_optimizer.optimizer.lion.Lion",
    "prodigy": "pytorch_optimizer.optimizer.prodigy.Prodigy",
    "dadaptadam": "pytorch_optimizer.optimizer.dadapt.DAdaptAdam",
}


@dataclass(frozen=True)
class Run:
    """Facts of one training run that no setting holds."""

    name: str
    started: float  # seconds since 1970
    steps: int
    target: Prediction
    fingerprint: str  # of the base model, see `inference.base.fingerprint`


def file_facts(
    config: TrainConfig, base: Base, data: Prepared, run: Run, step: int, epoch: int
) -> dict[str, str]:
    """Everything that a file saved after so many steps, in this epoch (from 1), says of itself."""
    facts = training_metadata(config, base, data, run) | modelspec(config, base, data, run)
    facts |= {"ss_steps": str(step), "ss_epoch": str(epoch), "ss_training_finished_at": str(time.time())}
    facts |= {BASE_KEY: run.fingerprint}
    return facts | ({"ss_weighted_captions": "True"} if config.weighted else {})


def training_metadata(config: TrainConfig, base: Base, data: Prepared, run: Run) -> dict[str, str]:
    """Everything known before the first step, `ss_*` only.

    Args:
        config: the settings.
        base: the base model.
        data: the prepared folder.
        run: name, start, steps and target.
    """
    values = (
        _run_values(config, base, data, run)
        | _network_values(config)
        | _objective_values(config)
        | _data_values(data)
    )
    return {f"ss_{name}": value if isinstance(value, str) else str(value) for name, value in values.items()}


def _run_values(config: TrainConfig, base: Base, data: Prepared, run: Run) -> dict[str, object]:
    args = ",".join(f"{name}={value}" for name, value in config.optimizer_args.items())
    return {
        "session_id": str(int(hashlib.sha256(f"{run.started}{run.name}".encode()).hexdigest()[:8], 16)),
        "training_started_at": run.started,
        "output_name": run.name,
        "learning_rate": config.unet_rate,
        "text_encoder_lr": config.text_encoder_rate,
        "unet_lr": config.unet_rate,
        "num_train_images": data.train_total,
        "num_validation_images": 0,
        "num_reg_images": sum(image.reg for image in data.images),
        "num_batches_per_epoch": data.batches_per_epoch,
        "num_epochs": math.ceil(run.steps * config.accumulation / data.batches_per_epoch),
        "gradient_checkpointing": config.gradient_checkpointing,
        "gradient_accumulation_steps": config.accumulation,
        "max_train_steps": run.steps,
        "lr_warmup_steps": round(config.warmup * run.steps) if config.warmup < 1 else int(config.warmup),
        "lr_scheduler": config.schedule,
        "mixed_precision": "no" if config.precision == "fp32" else config.precision,
        "full_fp16": False,
        "v2": base.family == "sd2",
        "base_model_version": VERSIONS[base.family]
        + ("_v" if (base.family, run.target) == ("sd2", "v") else ""),
        "sd_model_name": base.name,
        **_base_hashes(base, data),
        "cache_latents": True,
        "seed": config.seed,
        "lowram": False,
        "training_comment": config.comment,
        "sd_scripts_commit_hash": None,
        "optimizer": OPTIMIZERS[config.optimizer] + (f"({args})" if args else ""),
        "max_grad_norm": config.max_grad_norm,
        "fp8_base": False,
        "fp8_base_unet": False,
        "validation_seed": None,
        "validation_split": 0.0,
        "max_validation_steps": None,
        "validate_every_n_epochs": None,
        "validate_every_n_steps": None,
    }


def _base_hashes(base: Base, data: Prepared) -> dict[str, object]:
    """The base model's hashes: of a file as sd-scripts takes them, of a folder what the manifest recorded."""
    vae = data.meta.get("models", {}).get("vae", {})
    hashes: dict[str, object] = (
        {"vae_name": vae.get("name"), "new_vae_hash": vae.get("sha256")} if vae else {}
    )
    if base.path.is_file():
        with base.path.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0x100000)
            legacy = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
        return hashes | {"new_sd_model_hash": whole, "sd_model_hash": legacy}
    recorded = data.meta.get("models", {}).get("base", {})
    if recorded.get("sha256") and Path(recorded.get("path") or "").resolve() == base.path.resolve():
        hashes["new_sd_model_hash"] = recorded["sha256"]
    return hashes


def extracted_metadata(
    config: TrainConfig, base: Base, name: str, fingerprint: str, learned: Mapping[str, str]
) -> dict[str, str]:
    """What a LoRA says of itself that was not trained but taken from a fine-tuned model.

    Args:
        config: the settings of the extraction.
        base: the base model that it is a change of.
        name: of the LoRA.
        fingerprint: of the base model.
        learned: what the fine-tuned model says of its training, or is known of the set.
    """
    told = {key: value for key, value in learned.items() if key.startswith(("ss_", "modelspec."))}
    values = {"output_name": name, "base_model_version": VERSIONS[base.family], "v2": base.family == "sd2"}
    values |= {"sd_model_name": base.name} | _network_values(config)
    own = {f"ss_{key}": str(value) for key, value in values.items()}
    v = told.get("modelspec.prediction_type") == "v"
    own |= {
        "modelspec.architecture": ARCHITECTURES[base.family, v] + KINDS["network"],
        "modelspec.title": name,
        BASE_KEY: fingerprint,
    }
    return told | own


def known_of_set(
    config: TrainConfig, base: Base, trigger: str | None, captions: Iterable[tuple[str, Sequence[str]]]
) -> dict[str, str]:
    """What is known of a tuned model that does not say it: its set's tags, its trigger, how to draw it.

    Args:
        config: the settings that it is taken to be trained with.
        base: the base model.
        trigger: the trigger word, if the set has one.
        captions: folder and caption lines of each image.
    """
    target = base.prediction if config.target == "auto" else config.target
    said = {
        "ss_tag_frequency": json.dumps(tag_frequency(captions), ensure_ascii=False),
        "ss_clip_skip": str(config.clip_skip),
        "ss_zero_terminal_snr": str(config.zero_terminal_snr),
        "modelspec.sai_model_spec": MODELSPEC,
        "modelspec.prediction_type": PREDICTIONS[target],
    }
    if trigger:
        said["modelspec.trigger_phrase"] = trigger
    return said | ({"ss_weighted_captions": "True"} if config.weighted else {})


def _network_values(config: TrainConfig) -> dict[str, object]:
    values: dict[str, object] = {
        "network_module": "networks.lora" if config.network in ("lora", "locon") else "lycoris.kohya",
        "network_dim": config.rank,
        "network_alpha": config.alpha,
        "network_dropout": config.dropout or None,
        "scale_weight_norms": config.max_norm,
    }
    args: dict[str, object] = {}
    if config.network != "lora":
        args |= {"conv_dim": config.conv_rank or config.rank, "conv_alpha": config.conv_alpha or config.alpha}
    if config.network not in ("lora", "locon"):
        args["algo"] = "lora" if config.network == "dora" else config.network
    if config.network == "dora":
        args["dora_wd"] = True
    for name, blocks in (("block_dims", config.block_ranks), ("block_alphas", config.block_alphas)):
        args |= {name: json.dumps(dict(blocks))} if blocks else {}
    if args:
        values["network_args"] = json.dumps({name: str(value) for name, value in args.items()})
    return values


def _objective_values(config: TrainConfig) -> dict[str, object]:
    return {
        "clip_skip": config.clip_skip,
        "max_token_length": config.token_length if config.token_length > 75 else None,
        "noise_offset": config.noise_offset or None,
        "noise_offset_random_strength": False,
        "adaptive_noise_scale": None,
        "multires_noise_iterations": config.multires_iterations or None,
        "multires_noise_discount": config.multires_discount,
        "zero_terminal_snr": config.zero_terminal_snr,
        "caption_dropout_rate": config.caption_dropout,
        "caption_dropout_every_n_epochs": config.caption_dropout_every,
        "caption_tag_dropout_rate": config.tag_dropout,
        "face_crop_aug_range": None,
        "prior_loss_weight": config.prior_loss_weight,
        "min_snr_gamma": config.min_snr_gamma,
        "ip_noise_gamma": config.input_perturbation or None,
        "ip_noise_gamma_random_strength": False,
        "debiased_estimation": config.debiased,
        "loss_type": config.loss,
        "huber_schedule": config.huber_schedule,
        "huber_scale": 1.0,
        "huber_c": config.huber_c,
        "color_aug": False,
        "flip_aug": config.flip,
        "random_crop": False,
        "shuffle_caption": config.shuffle,
        "keep_tokens": config.keep_tokens,
    }


def _data_values(data: Prepared) -> dict[str, object]:
    """What sd-scripts says of a set in folders: directories, tags, buckets."""
    settings = data.meta.get("settings", {})
    bucket = settings.get("bucket", {}) if isinstance(settings, Mapping) else {}
    sizes = data.bucket_counts()
    side = int(bucket.get("resolution") or round(math.sqrt(max(w * h for w, h in sizes))))
    return {
        "batch_size_per_device": data.config.batch_size,
        "total_batch_size": data.config.batch_size,
        "resolution": f"({side}, {side})",
        "enable_bucket": True,
        "bucket_no_upscale": bool(bucket.get("no_upscale", False)),
        "min_bucket_reso": bucket.get("min_size", min(min(size) for size in sizes)),
        "max_bucket_reso": bucket.get("max_size", max(max(size) for size in sizes)),
        "resize_interpolation": None,
        "dataset_dirs": json.dumps(_directories(data, reg=False)),
        "reg_dataset_dirs": json.dumps(_directories(data, reg=True)),
        "tag_frequency": json.dumps(
            tag_frequency((image.folder, image.lines) for image in data.images), ensure_ascii=False
        ),
        "bucket_info": json.dumps(bucket_info(data)),
    }


def _directories(data: Prepared, *, reg: bool) -> dict[str, dict[str, int]]:
    counts = Counter(image.folder for image in data.images if image.reg == reg)
    return {folder: {"n_repeats": int(folder.split("_")[0]), "img_count": n} for folder, n in counts.items()}


def tag_frequency(captions: Iterable[tuple[str, Sequence[str]]]) -> dict[str, dict[str, int]]:
    """How many images of each folder carry each tag, lower case; not times repeats, reg included.

    Args:
        captions: folder and caption lines of each image.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for folder, lines in captions:
        for line in lines[:1]:
            counts[folder].update(tag for part in line.split(",") if (tag := part.strip().lower()))
    return {folder: dict(found) for folder, found in counts.items()}


def bucket_info(data: Prepared) -> dict[str, object]:
    """Images times repeats in each bucket, and the mean difference of aspect ratio that cropping mends."""
    buckets = {
        str(i): {"resolution": list(size), "count": count}
        for i, (size, count) in enumerate(data.bucket_counts().items())
    }
    used = [image for image in data.images if image.repeats]
    errors = [
        abs(im.bucket[0] / im.bucket[1] - im.source[0] / im.source[1])
        for im in used
        for _ in range(im.repeats)
    ]
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / len(errors)}


def file_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with its own hashes in its header.

    sshs_model_hash is the SHA-256 of everything after the header; sshs_legacy_hash that of 64 KiB at 1 MiB of
    the file with `ss_*` metadata alone, which older web UIs look models up by.
    """
    from safetensors.torch import save

    plain = save(dict(tensors), {name: value for name, value in metadata.items() if name.startswith("ss_")})
    hashes = {
        "sshs_model_hash": hashlib.sha256(plain[8 + int.from_bytes(plain[:8], "little") :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8],
    }
    whole: bytes = save(dict(tensors), {**metadata, **hashes})
    return whole


def modelspec(config: TrainConfig, base: Base, data: Prepared, run: Run) -> dict[str, str]:
    """The `modelspec.*` fields. Source: Stability AI's ModelSpec 1.0.1."""
    sizes = data.bucket_counts()
    side = round(math.sqrt(max(w * h for w, h in sizes)))
    xl = base.family == "sdxl"
    values = {
        "sai_model_spec": MODELSPEC,
        "architecture": ARCHITECTURES[base.family, run.target == "v"] + KINDS[config.method],
        "implementation": "https://github.com/Stability-AI/generative-models" if xl else "diffusers",
        "implementation_version": f"dataprep/{__version__}",
        "title": run.name,
        "resolution": f"{side}x{side}",
        "date": datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds"),
        "prediction_type": PREDICTIONS[run.target],
    }
    if data.meta.get("trigger"):
        values["trigger_phrase"] = str(data.meta["trigger"])
    if config.clip_skip is not None:
        values["encoder_layer"] = str(config.clip_skip)
    if (config.min_timestep, config.max_timestep) != (0, 1000):
        values["timestep_range"] = f"{config.min_timestep},{config.max_timestep}"
    return {f"modelspec.{name}": value for name, value in values.items()}
