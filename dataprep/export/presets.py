"""The text of train.toml: settings for a purpose and a size of the set, with reasons, in sd-scripts' names.

The bundled trainer reads the same names, so that one file serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dataprep.export.kohya import CAPTION_SUFFIX, bucket_settings, cache_options, toml_value
from dataprep.export.kohya_rules import Family
from dataprep.framing.buckets import Size

Setting = tuple[str, object, str]  # name, value, why
Purpose = Literal["character", "style", "outfit", "pose", "object"]


@dataclass(frozen=True)
class Preset:
    """What differs between purposes. Source: practitioners' rules of thumb for SD LoRAs."""

    samples: int  # pictures seen over the whole training, repeats counted
    images: tuple[int, int]  # sizes of set that work: below, half the rank; above, twice
    rank: int
    text_encoder_share: float  # of the steps in which the text encoder is trained along
    why: str


PRESETS: dict[Purpose, Preset] = {
    "character": Preset(
        4000, (10, 50), 32, 0.7, "a character: its name has to be learned, so the text encoder goes along"
    ),
    "style": Preset(
        8000, (100, 4000), 32, 0.2, "a style: hardly any word to learn, and more pictures to see"
    ),
    "outfit": Preset(3000, (10, 200), 16, 0.5, "an outfit: fewer details than a whole character"),
    "pose": Preset(3000, (50, 2000), 16, 0.5, "a pose: a composition, which takes little rank"),
    "object": Preset(3000, (10, 200), 16, 0.7, "an object: few views are enough"),
}
# These make sense with a noise schedule only, which flow matching (flux, sd3) does not have.
_DIFFUSION: tuple[Setting, ...] = (
    ("min_snr_gamma", 5.0, "evens out the timesteps (arXiv:2303.09556)"),
    ("noise_offset", 0.0, "0.05 to 0.1 for very dark or bright pictures"),
)
_MIN_EPOCHS, _MAX_EPOCHS = 2, 100


@dataclass(frozen=True)
class TrainPlan:
    """What train.toml is written for."""

    purpose: Purpose
    family: Family
    resolution: int  # px
    batch_size: int
    images: int  # training pictures
    samples_per_epoch: int  # training pictures x repeats
    reg: int  # class pictures
    name: str  # of the file that training makes
    caption_tokens: int  # longest caption, in CLIP's tokens without start and end
    sizes: tuple[Size, ...]  # of all buckets, px
    extras: frozenset[str] = frozenset()  # what the latents files hold besides latents
    keep_tokens: int = 1
    cached_tokens: int | None = None  # of the captions whose text-encoder outputs are cached: 75, 150 or 225


# sd-scripts has a module and a program of their own for these.
_NETWORKS: dict[Family, str] = {"flux": "networks.lora_flux", "sd3": "networks.lora_sd3"}
_PROGRAMS: dict[Family, str] = {
    "flux": "flux_train_network.py, with --clip_l, --t5xxl and --ae",
    "sd3": "sd3_train_network.py, with --clip_l, --clip_g and --t5xxl",
}


def rank(plan: TrainPlan) -> tuple[int, str]:
    """The rank for the purpose and the size of the set, and why."""
    preset = PRESETS[plan.purpose]
    fewest, most = preset.images
    advice = f"{plan.images} pictures; {fewest} to {most} are usual for {plan.purpose}"
    if plan.images < fewest:
        return (
            preset.rank // 2,
            f"rank, half of the preset's, since a small set is soon learned by heart: {advice}",
        )
    if plan.images > most:
        return preset.rank * 2, f"rank, twice the preset's, since a large set has more to hold: {advice}"
    return preset.rank, f"rank: 4 to 128 are used, 16 to 32 are enough for most subjects; {advice}"


def needed_tokens(caption_tokens: int) -> Literal[75, 150, 225]:
    """The least max_token_length with which the longest caption is read whole; 225 at most."""
    return 75 if caption_tokens <= 75 else 150 if caption_tokens <= 150 else 225


def epochs(plan: TrainPlan) -> int:
    """Epochs that show about as many pictures as the purpose asks for."""
    wanted = round(PRESETS[plan.purpose].samples / max(1, plan.samples_per_epoch))
    return min(_MAX_EPOCHS, max(_MIN_EPOCHS, wanted))


def train_toml(plan: TrainPlan, overrides: Mapping[str, object] | None = None) -> str:
    """Settings of a LoRA training with their reasons.

    The base model is not named: it is given on the command line, since this folder does not know it.

    Args:
        plan: the data set.
        overrides: settings that win over the preset's.
    """
    overrides = dict(overrides or {})
    lines = [
        "# Read by `dataprep train` and by sd-scripts (--config_file), which both ignore the section names.",
        f"# Preset for {PRESETS[plan.purpose].why}.",
        "# Yours to edit: a changed file is never overwritten, and flags win over it.",
        "# sd-scripts also needs: --pretrained_model_name_or_path MODEL --dataset_config dataset.toml",
        "# (or, in place of dataset.toml: --train_data_dir img --reg_data_dir reg)",
        *_family_lines(plan.family),
    ]
    sections = _sections(plan)
    preset = {name for settings in sections.values() for name, _, _ in settings}
    sections["set_for_this_data_set"] = [(n, value, "") for n, value in overrides.items() if n not in preset]
    for title, settings in sections.items():
        if settings:
            lines += ["", f"[{title}]"]
        for name, value, why in settings:
            chosen = overrides.get(name, value)
            note = "set in dataprep.toml" if chosen != value else why
            lines.append(f"{name} = {toml_value(chosen)}" + (f"  # {note}" if note else ""))
    return "\n".join(lines) + "\n"


def _family_lines(family: Family) -> list[str]:
    if program := _PROGRAMS.get(family):
        return [f"# {family}: `dataprep train` does not train it; in sd-scripts it is {program}."]
    if family == "sd2":
        return ["# If the base model predicts v (768-v models do), add: v_parameterization = true"]
    return []


def _sections(plan: TrainPlan) -> dict[str, list[Setting]]:
    preset = PRESETS[plan.purpose]
    many = plan.samples_per_epoch * epochs(plan)
    steps = many * (2 if plan.reg else 1) // plan.batch_size
    repeats = f"{plan.images} pictures with their repeats are {plan.samples_per_epoch} an epoch"
    length = f"{repeats}: {many} in all, about {steps} steps"
    dim, why_dim = rank(plan)
    return {
        "what_is_trained": [
            ("output_name", plan.name, ""),
            *((("v2", True, "the base model is of Stable Diffusion 2"),) if plan.family == "sd2" else ()),
            ("network_module", _NETWORKS.get(plan.family, "networks.lora"), ""),
            ("network_dim", dim, why_dim),
            ("network_alpha", dim // 2, "the change is scaled by alpha / dim; half of dim is usual"),
        ],
        "how_long": [
            ("max_train_epochs", epochs(plan), length + (" with the class pictures" if plan.reg else "")),
            ("train_batch_size", plan.batch_size, "each batch comes from one bucket"),
            ("save_every_n_epochs", max(1, epochs(plan) // 4), "to choose an earlier, less over-trained one"),
            ("seed", 42, ""),
        ],
        "how_fast": [
            ("optimizer_type", "AdamW", ""),
            ("unet_lr", 1e-4, ""),
            ("text_encoder_lr", 5e-5, "half of the U-Net's or less: words are forgotten faster than shapes"),
            (
                "text_encoder_until",
                preset.text_encoder_share,
                "share of the steps that train the text encoder; `dataprep train` only",
            ),
            ("lr_scheduler", "cosine", ""),
            ("lr_warmup_steps", steps // 10, "a tenth of the steps"),
        ],
        "the_objective": [
            *(_DIFFUSION if plan.family not in _NETWORKS else ()),
            (
                "prior_loss_weight",
                1.0,
                "of the class pictures" if plan.reg else "there are no class pictures",
            ),
        ],
        "captions": _caption_settings(plan),
        "the_pictures": _picture_settings(plan),
        "the_machine": [
            ("mixed_precision", "bf16", "fp16 on GPUs before Ampere, no on a CPU"),
            ("save_precision", "fp16", ""),
            ("cache_latents", True, "the latents beside the pictures are used as they are"),
            ("cache_latents_to_disk", True, ""),
            *((("no_half_vae", True, "SDXL's own VAE overflows in fp16"),) if plan.family == "sdxl" else ()),
        ],
    }


def _picture_settings(plan: TrainPlan) -> list[Setting]:
    """What dataset.toml says too, and --train_data_dir would otherwise lack."""
    why = "so that each picture stays in the bucket whose size it has"
    settings: list[Setting] = [("resolution", f"{plan.resolution},{plan.resolution}", "as in dataset.toml")]
    for name, value in bucket_settings(plan.sizes, plan.resolution, plan.family).items():
        settings.append((name, value, why if name == "bucket_no_upscale" else ""))
    settings.append(("caption_extension", CAPTION_SUFFIX, "sd-scripts looks for .caption by itself"))
    return [
        *settings,
        *((name, value, "the latents hold it") for name, value in cache_options(plan.extras).items()),
    ]


def _caption_settings(plan: TrainPlan) -> list[Setting]:
    settings: list[Setting] = [("keep_tokens", plan.keep_tokens, "the trigger stays first")]
    if plan.family in _NETWORKS:  # T5 reads captions whole, and there is no clip skip
        return settings
    length = plan.cached_tokens or needed_tokens(plan.caption_tokens)
    if length > 75:
        why = f"the longest caption has {plan.caption_tokens} tokens; they are read in parts of 75"
        why = "as the cached text-encoder outputs" if plan.cached_tokens else why
        settings.append(("max_token_length", length, why))
    if plan.family != "sdxl":
        settings.append(("clip_skip", 1, "2 for anime models that were trained so"))
    return settings
