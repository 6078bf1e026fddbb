"""The trainer's settings: one flat frozen model, read from `train.toml`, sd-scripts' own files, or flags.

Every rule about which settings go together is checked here, before a model is loaded. Importing this file
must not import torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from dataprep.errors import ConfigError
from dataprep.train.blocks import BLOCKS, block_values
from dataprep.train.kohya_args import translate

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=10)]

# Optimizers that estimate the rate themselves take a multiplier near 1 instead of a rate.
SELF_TUNING = ("prodigy", "dadaptadam")


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """Every setting of `dataprep train`; `dataprep explain train` prints this table."""

    # What is trained
    base: str | None = Field(
        None, description="Base model: a diffusers folder or one .safetensors file. Unset: the manifest's."
    )
    output_name: str | None = Field(
        None,
        pattern=r"^[^/\\:*?\"<>|]+$",
        description="Name of the file under model/. Unset: the trigger word.",
    )
    method: Literal["network", "full", "embedding"] = Field(
        "network",
        description="network: LoRA and its kin; full: DreamBooth fine-tuning of U-Net and text encoder; "
        "embedding: textual inversion of the trigger word (Gal 2022, arXiv:2208.01618).",
    )
    network: Literal["lora", "locon", "loha", "lokr", "dora"] = Field(
        "lora",
        description="Form of the change. lora: linear layers (Hu 2021, arXiv:2106.09685); locon: also 3x3 "
        "convolutions; loha, lokr: LyCORIS (arXiv:2309.14859); dora: experimental (arXiv:2402.09353).",
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank (kohya: network_dim) of the weight change.")
    alpha: float = Field(
        8.0, gt=0, le=1024, description="The change is scaled by alpha / rank; half of rank is usual."
    )
    conv_rank: int | None = Field(None, ge=1, le=1024, description="Rank of 3x3 convolutions. Unset: rank.")
    conv_alpha: float | None = Field(
        None, gt=0, le=1024, description="Alpha of 3x3 convolutions. Unset: alpha."
    )
    block_ranks: Mapping[str, int] | None = Field(
        None,
        description=f"Rank of U-Net blocks ({BLOCKS[0]} .. {BLOCKS[-1]}, or 25 numbers); 0 leaves one out.",
    )
    block_alphas: Mapping[str, float] | None = Field(
        None, description="Alpha of named U-Net blocks, as block_ranks."
    )
    block_rates: Mapping[str, float] | None = Field(
        None, description="Factor on unet_rate for named U-Net blocks, as block_ranks; 0 leaves a block out."
    )
    dropout: Fraction = Field(0.0, description="Share of the adapter's input values dropped in training.")
    rank_dropout: Fraction = Field(0.0, description="Share of ranks dropped in training (loha and lokr).")
    module_dropout: Fraction = Field(0.0, description="Share of modules skipped in training (loha and lokr).")
    max_norm: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Largest norm of one module's weight change (kohya: scale_weight_norms).",
    )
    embedding_tokens: int = Field(
        4, ge=1, le=75, description="Tokens of the learned word (method = embedding)."
    )
    embedding_init: str | None = Field(
        None, description="Word whose embedding the learned word starts from. Unset: the class word."
    )

    # How long and how fast
    steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Optimizer steps. Unset: epochs decides."
    )
    epochs: int = Field(
        10, ge=1, le=100_000, description="Passes over all images x repeats, where steps is unset."
    )
    batch_size: int = Field(2, ge=1, le=1024, description="Images a step, all from one bucket.")
    accumulation: int = Field(
        1, ge=1, le=1024, description="Batches whose gradients make one optimizer step."
    )
    train_unet: bool = Field(True, description="Train the U-Net.")
    train_text_encoder: bool = Field(True, description="Train the text encoder(s) too.")
    text_encoder_until: Fraction = Field(
        1.0,
        description="Share of the steps in which text encoders learn too; 0.7 characters, 0.2 styles.",
    )
    unet_rate: Rate = Field(1e-4, description="Learning rate of the U-Net.")
    text_encoder_rate: Rate = Field(5e-5, description="Learning rate of the text encoder(s).")
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "sgd", "lion", "prodigy", "dadaptadam"] = Field(
        "adamw", description="lion, prodigy, dadaptadam need pytorch_optimizer; adamw8bit needs bitsandbytes."
    )
    optimizer_args: Mapping[str, Any] = Field(
        default_factory=dict, description="Further arguments of the optimizer, such as weight_decay = 0.01."
    )
    schedule: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = Field(
        "cosine", description="How the learning rate moves over the steps; as diffusers' of the same name."
    )
    warmup: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Rising part of the schedule: below 1 a share of the steps, else steps.",
    )
    cycles: int = Field(1, ge=1, le=1000, description="Restarts of cosine_with_restarts.")
    power: float = Field(1.0, gt=0, le=10, description="Exponent of polynomial.")
    max_grad_norm: float = Field(
        1.0, ge=0, le=1000, description="Gradients are clipped to this norm; 0 clips nothing."
    )

    # The objective
    target: Literal["auto", "eps", "v", "flow"] = Field(
        "auto",
        description="What the U-Net predicts: noise, velocity or flow. auto: what the base model says.",
    )
    loss: Literal["l2", "l1", "huber", "smooth_l1"] = Field("l2", description="Loss of each element.")
    huber_c: float = Field(
        0.1, gt=0, le=10, description="Huber threshold at the noisiest end (sd-scripts: huber_c)."
    )
    huber_schedule: Literal["snr", "exponential", "constant"] = Field(
        "snr", description="Threshold over timesteps."
    )
    huber_scale: float = Field(1.0, gt=0, le=100, description="Factor on the Huber threshold.")
    min_snr_gamma: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Min-SNR clamp; 5 in the paper (Hang 2023, arXiv:2303.09556). Unset: off.",
    )
    debiased: bool = Field(False, description="Weight by 1/sqrt(SNR) (Yu 2023, arXiv:2310.08442).")
    scale_v_like_noise: bool = Field(
        False, description="Weight v losses by SNR/(SNR+1), as noise losses weigh."
    )
    v_like_loss: float = Field(
        0.0, ge=0, le=10, description="Adds this share of the v-like weighted loss (eps only)."
    )
    prior_loss_weight: float = Field(1.0, ge=0, le=100, description="Loss weight of regularization images.")
    use_reg: bool = Field(
        True, description="Train on the regularization images (prior preservation, arXiv:2208.12242)."
    )
    noise_offset: float = Field(
        0.0, ge=0, le=1, description="Strength of one random value a channel; 0.05-0.15 is usual."
    )
    noise_offset_random: bool = Field(
        False, description="Draw each image's offset strength from 0 to noise_offset."
    )
    adaptive_noise: float = Field(
        0.0, ge=-10, le=10, description="Added to noise_offset times the latent channel's mean magnitude."
    )
    multires_iterations: int = Field(
        0, ge=0, le=20, description="Layers of coarser noise; 6-10 is usual, 0 is off."
    )
    multires_discount: float = Field(
        0.3, gt=0, lt=1, description="Weight of each coarser layer, to its power."
    )
    input_perturbation: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Extra noise on the input only, not in the target (Ning 2023, arXiv:2301.11706).",
    )
    input_perturbation_random: bool = Field(
        False, description="Draw its strength from 0 to input_perturbation."
    )
    zero_terminal_snr: bool = Field(
        False, description="Last timestep is pure noise (Lin 2023, arXiv:2305.08891); v only."
    )
    min_timestep: int = Field(0, ge=0, le=999, description="First timestep drawn.")
    max_timestep: int = Field(1000, ge=1, le=1000, description="One past the last timestep drawn.")
    masked: bool = Field(False, description="Multiply the loss by the alpha masks in the latents files.")

    # Captions
    token_length: Literal[75, 150, 225] = Field(
        75, description="Longest caption, tokens; more is read in 75s."
    )
    clip_skip: int | None = Field(
        None,
        ge=1,
        le=12,
        description="Text encoder layer counted from the end, 1 the last. Unset: the last. Not SDXL.",
    )
    shuffle: bool = Field(False, description="Shuffle the tags after keep_tokens anew each time.")
    keep_tokens: int = Field(
        1, ge=0, le=100, description="Leading tags that stay first and are never dropped."
    )
    keep_tokens_separator: str = Field(
        "", description='Text such as "|||" that ends the kept part, instead of a count.'
    )
    separator: str = Field(",", min_length=1, description="Text between tags.")
    secondary_separator: str | None = Field(
        None, min_length=1, description="Text that binds tags which move together."
    )
    caption_dropout: Fraction = Field(0.0, description="Share of captions replaced by the empty one.")
    caption_dropout_every: int = Field(
        0, ge=0, le=100_000, description="Empty captions every so many epochs; 0 never."
    )
    tag_dropout: Fraction = Field(0.0, description="Share of tags after keep_tokens that are dropped.")
    warmup_tags: int = Field(
        1, ge=0, le=1000, description="Tags after keep_tokens at the start of a tag warm-up."
    )
    warmup_tag_steps: float = Field(
        0.0, ge=0, description="Steps (below 1: share of them) until all tags are there; 0 off."
    )
    wildcard: bool = Field(False, description="{a|b} picks one; of several caption lines one is picked.")
    caption_prefix: str | None = Field(None, description="Text put before each caption, with a space.")
    caption_suffix: str | None = Field(None, description="Text put after each caption, with a space.")
    weighted: bool = Field(False, description="(a:1.2) and [b] in captions weigh their tokens.")

    # Data
    flip: bool = Field(
        False, description="Half the time use the mirrored latents; not for asymmetric subjects."
    )
    size_condition: Literal["true", "sd-scripts", "zero"] = Field(
        "true",
        description="SDXL's crop condition: what was really cut, sd-scripts' letterbox numbers, or zero.",
    )

    # The machine
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="Arithmetic of the forward pass.")
    save_precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp16", description="Number format of the saved file."
    )
    gradient_checkpointing: bool = Field(False, description="Less memory, about half again the arithmetic.")
    compile: bool = Field(
        False, description="Compile the repeated U-Net blocks (pays on a GPU, after a minute)."
    )
    channels_last: bool = Field(False, description="Convolution memory layout; measure before use.")
    deterministic: bool = Field(
        False, description="Ask for deterministic kernels, so that CUDA resumes bit-exactly too."
    )
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Every draw hangs on this and the step.")

    # What is kept and shown
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints (network and optimizer).")
    keep_checkpoints: int = Field(2, ge=1, le=100, description="Newest checkpoints that are kept.")
    save_every_epochs: int | None = Field(
        None, ge=1, description="Also save NAME-000005.safetensors so often, epochs."
    )
    save_every_steps: int | None = Field(
        None, ge=1, description="Also save NAME-step00000500.safetensors, steps."
    )
    samples: bool = Field(True, description="Draw sample pictures into model/samples/.")
    sample_prompts: tuple[str, ...] = Field(
        (),
        description="Prompts with kohya's options (--w --h --s --l --d --n). Unset: two captions of the set, "
        "each with and without the trigger.",
    )
    sample_every_epochs: int | None = Field(
        None, ge=1, description="Draw the prompts so often, epochs. Unset: at the end."
    )
    sample_every_steps: int | None = Field(None, ge=1, description="Draw the prompts so often, steps.")
    sampler: Literal["ddim", "euler", "euler_a", "dpm++_2m"] = Field(
        "ddim", description="Sampler of those pictures."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard events (needs tensorboard).")
    comment: str | None = Field(None, description="Free text kept in the file's metadata.")

    @field_validator("block_ranks", "block_alphas", "block_rates", mode="before")
    @classmethod
    def _named_blocks(cls, value: object) -> object:
        return block_values(value)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for wrong, why in self._contradictions():
            if wrong:
                raise ValueError(why)
        return self

    def _contradictions(self) -> list[tuple[bool, str]]:
        lyco = self.network in ("loha", "lokr")
        until = self.train_text_encoder and self.text_encoder_until > 0
        return [
            (
                not (self.train_unet or until),
                "train_unet and train_text_encoder are both off: nothing is trained",
            ),
            (self.min_timestep >= self.max_timestep, "min_timestep must be below max_timestep"),
            (
                self.zero_terminal_snr and self.target == "eps",
                "zero_terminal_snr needs target v: pure noise holds no signal to predict noise from",
            ),
            (
                self.target == "flow" and self._snr_weighted(),
                "target flow has no SNR: min_snr_gamma, debiased, "
                "scale_v_like_noise, v_like_loss and a huber_schedule other than constant must be off",
            ),
            (self.v_like_loss > 0 and self.target == "v", "v_like_loss is for target eps"),
            (
                self.network == "lora" and (self.conv_rank or self.conv_alpha) is not None,
                "conv_rank and conv_alpha need network locon, loha, lokr or dora",
            ),
            (
                not lyco and (self.rank_dropout or self.module_dropout) > 0,
                "rank_dropout and module_dropout need network loha or lokr",
            ),
            (lyco and self.dropout > 0, "loha and lokr take rank_dropout or module_dropout, not dropout"),
            (
                self.max_norm is not None and self.network not in ("lora", "locon"),
                "max_norm needs lora or locon",
            ),
            (
                self.method == "embedding" and not until,
                "method embedding trains the text side: text encoder is off",
            ),
            (
                self.multires_iterations > 0 and self.noise_offset > 0,
                "multires noise and noise_offset exclude each other",
            ),
        ]

    def _snr_weighted(self) -> bool:
        huber = self.loss in ("huber", "smooth_l1") and self.huber_schedule != "constant"
        return bool(
            self.min_snr_gamma or self.debiased or self.scale_v_like_noise or self.v_like_loss or huber
        )

    def warnings(self) -> list[str]:
        """What is allowed but seldom meant, for the command to print."""
        found = []
        if self.optimizer in SELF_TUNING and self.unet_rate < 0.1:
            found.append(
                f"{self.optimizer} finds its own rate; set unet_rate to 1 (it is {self.unet_rate:g})"
            )
        if self.network in ("loha", "lokr"):
            found.append(f"{self.network} files load in ComfyUI, A1111 and LyCORIS; not in diffusers")
        if self.network == "dora":
            found.append(
                "dora is experimental: only peft and LyCORIS draw it exactly; diffusers drops its magnitudes"
            )
        if self.alpha > self.rank:
            found.append(f"alpha {self.alpha:g} above rank {self.rank} multiplies the learning rate")
        return found


def load_config(
    path: Path | None, overrides: Mapping[str, object] | Sequence[str] = ()
) -> tuple[TrainConfig, list[str]]:
    """Read settings from a file and flags; flags win.

    Args:
        path: train.toml, ours or sd-scripts'; None for the defaults.
        overrides: name to value, or texts "name=value" whose value is read as TOML (bare words as text).
    Returns:
        The settings, and lines on what of an sd-scripts file was not honoured and what is seldom meant.
    Raises:
        ConfigError: unreadable, unknown, out of range or contradictory settings.
    """
    table, notes = translate(_read_toml(path)) if path is not None else ({}, [])
    table |= dict(overrides) if isinstance(overrides, Mapping) else dict(map(_assignment, overrides))
    try:
        config = TrainConfig.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{path or 'train settings'}: {_first(error)}") from error
    return config, notes + config.warnings()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _assignment(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: expected name=value")
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    name = ".".join(map(str, found["loc"]))
    if found["type"] == "extra_forbidden":
        return f"unknown setting {name}; `dataprep explain train` lists them"
    rule = found["msg"].removeprefix("Value error, ")
    return f"{name} = {found['input']!r}: {rule}" if name else rule
