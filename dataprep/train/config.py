"""The trainer's settings: one flat frozen model; `training/settings.py` reads it from files and flags.

Every rule about which settings go together stands here and is checked before a model is loaded. Importing
this file must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from dataprep.lora.names import BLOCKS, block_values
from dataprep.training.sources import with_source

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=10)]
PerBlock = Mapping[str, float] | None


def setting(default: object, description: str, **limits: Any) -> Any:  # noqa: ANN401 - pydantic's FieldInfo
    """A field with its default, what it means, and its range."""
    return Field(default, description=description, **limits)


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """Every setting of `dataprep train`; `dataprep explain train` prints this table."""

    # What is trained
    base: str | None = setting(
        None, "Base model: folder, .safetensors or hub name. Unset: the manifest's.", min_length=1
    )
    output_name: str | None = setting(
        None, "File name under model/. Unset: the trigger word.", pattern=r"^[^/\\:*?\"<>|]+$"
    )
    method: Literal["network", "full", "embedding"] = setting(
        "network",
        "network: LoRA and its kin; full: DreamBooth fine-tuning of U-Net and text encoder; "
        "embedding: textual inversion of the trigger word (Gal 2022, arXiv:2208.01618).",
    )
    network: Literal["lora", "locon", "loha", "lokr", "dora"] = setting(
        "lora",
        "Form of the change. lora: linear layers (Hu 2021, arXiv:2106.09685); locon: also 3x3 "
        "convolutions; loha, lokr: LyCORIS (arXiv:2309.14859); dora: experimental (arXiv:2402.09353).",
    )
    rank: int = setting(16, "Rank (kohya: network_dim) of the weight change.", ge=1, le=1024)
    alpha: float = setting(8.0, "Scales the change by alpha / rank; half of rank is usual.", gt=0, le=1024)
    conv_rank: int | None = setting(None, "Rank of 3x3 convolutions. Unset: rank.", ge=1, le=1024)
    conv_alpha: float | None = setting(None, "Alpha of 3x3 convolutions. Unset: alpha.", gt=0, le=1024)
    block_ranks: Mapping[str, int] | None = setting(
        None, "Rank by U-Net block (IN00 .. OUT11, or 25 numbers), to 1024; 0 leaves one out."
    )
    block_alphas: PerBlock = setting(None, "Alpha of U-Net blocks, as block_ranks; > 0, to 1024.")
    block_rates: PerBlock = setting(None, "Factor on unet_rate, as block_ranks, to 1000; 0 leaves one out.")
    dropout: Share = setting(
        0.0, "Share of the adapter's input values dropped; sd-scripts drops behind the down matrix."
    )
    rank_dropout: Share = setting(0.0, "Share of ranks dropped in training (loha and lokr).")
    module_dropout: Share = setting(0.0, "Share of modules skipped in training (loha and lokr).")
    max_norm: float | None = setting(
        None, "Largest norm of a module's change (scale_weight_norms).", gt=0, le=100
    )
    embedding_tokens: int = setting(4, "Tokens of the learned word (method embedding).", ge=1, le=75)
    embedding_init: str | None = setting(None, "Word that the learned one starts as. Unset: class word.")

    # How long and how fast
    steps: int | None = setting(None, "Optimizer steps. Unset: by epochs.", ge=1, le=10_000_000)
    epochs: int = setting(10, "Passes over images x repeats, if steps is unset.", ge=1, le=100_000)
    batch_size: int = setting(2, "Images a step, all from one bucket.", ge=1, le=1024)
    accumulation: int = setting(1, "Batches whose gradients make one optimizer step.", ge=1, le=1024)
    train_unet: bool = setting(True, "Train the U-Net.")
    train_text_encoder: bool = setting(True, "Train the text encoder(s) too.")
    text_encoder_until: Share = setting(
        1.0, "Share of the steps in which it learns; 0.7 characters, 0.2 styles."
    )
    unet_rate: Rate = setting(1e-4, "Learning rate of the U-Net.")
    text_encoder_rate: Rate = setting(5e-5, "Learning rate of the text encoder(s).")
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "sgd", "lion", "prodigy", "dadaptadam"] = setting(
        "adamw", "lion, prodigy, dadaptadam need pytorch_optimizer; adamw8bit needs bitsandbytes."
    )
    optimizer_args: Mapping[str, Any] = setting({}, "Its further arguments, such as weight_decay = 0.01.")
    schedule: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = setting("cosine", "The learning rate over the steps; as diffusers' of the same name.")
    warmup: float = setting(0.0, "Rising part: below 1 a share of the steps, else steps.", ge=0, le=1_000_000)
    cycles: int = setting(1, "Restarts of cosine_with_restarts.", ge=1, le=1000)
    power: float = setting(1.0, "Exponent of polynomial.", gt=0, le=10)
    max_grad_norm: float = setting(1.0, "Gradients are clipped to this norm; 0: never.", ge=0, le=1000)

    # The objective
    target: Literal["auto", "eps", "v", "flow"] = setting(
        "auto", "The U-Net predicts noise, velocity or flow. auto: what the base model says."
    )
    loss: Literal["l2", "l1", "huber", "smooth_l1"] = setting("l2", "Loss of each element.")
    huber_c: float = setting(0.1, "Huber threshold at the noisiest end.", gt=0, le=10)
    huber_schedule: Literal["snr", "exponential", "constant"] = setting(
        "snr", "Huber threshold over timesteps (arXiv:2403.16728)."
    )
    min_snr_gamma: float | None = setting(None, "Min-SNR clamp, usually 5 (arXiv:2303.09556).", gt=0, le=100)
    debiased: bool = setting(False, "Weight by 1/sqrt(SNR) (Yu 2023, arXiv:2310.08442).")
    scale_v_like_noise: bool = setting(False, "Weight v losses by SNR/(SNR+1), as noise losses weigh.")
    prior_loss_weight: float = setting(1.0, "Loss weight of regularization images.", ge=0, le=100)
    use_reg: bool = setting(True, "Train on regularization images too (arXiv:2208.12242).")
    noise_offset: Share = setting(0.0, "Strength of one random value a channel; 0.05-0.15 is usual.")
    multires_iterations: int = setting(0, "Layers of coarser noise; 6-10 usual, 0 off.", ge=0, le=20)
    multires_discount: float = setting(0.3, "Weight of each coarser layer, to its power.", gt=0, lt=1)
    input_perturbation: Share = setting(0.0, "Extra noise on the input only (arXiv:2301.11706).")
    zero_terminal_snr: bool = setting(False, "Last timestep is pure noise (arXiv:2305.08891); v only.")
    min_timestep: int = setting(0, "First timestep drawn.", ge=0, le=999)
    max_timestep: int = setting(1000, "One past the last timestep drawn.", ge=1, le=1000)
    masked: bool = setting(False, "Multiply the loss by the alpha masks in the latents files.")

    # Captions
    token_length: Literal[75, 150, 225] = setting(75, "Longest caption, tokens; more in 75s.")
    clip_skip: int | None = setting(None, "Text encoder layer from the end; 1 is last.", ge=1, le=12)
    shuffle: bool = setting(False, "Shuffle the tags after keep_tokens anew each time.")
    keep_tokens: int = setting(1, "Leading tags that stay first, never dropped.", ge=0, le=100)
    keep_tokens_separator: str = setting("", 'Text such as "|||" that ends the kept part instead.')
    separator: str = setting(",", "Text between tags.", min_length=1)
    secondary_separator: str | None = setting(None, "Binds tags that move together.", min_length=1)
    caption_dropout: Share = setting(0.0, "Share of captions replaced by the empty one.")
    caption_dropout_every: int = setting(0, "Empty captions every so many epochs; 0 never.", ge=0, le=100_000)
    tag_dropout: Share = setting(0.0, "Share of tags after keep_tokens that are dropped.")
    wildcard: bool = setting(False, "{a|b} picks one; of several caption lines one is picked.")
    caption_prefix: str | None = setting(None, "Text put before each caption, with a space.")
    caption_suffix: str | None = setting(None, "Text put after each caption, with a space.")
    weighted: bool = setting(False, "(a:1.2) and [b] in captions weigh their tokens.")

    # Data
    flip: bool = setting(False, "Half the time use the mirrored latents; not for asymmetric subjects.")
    size_condition: Literal["true", "sd-scripts", "zero"] = setting(
        "true", "SDXL's crop condition: the true cut, sd-scripts' letterbox numbers, or zero."
    )

    # The machine
    precision: Literal["fp32", "bf16", "fp16"] = setting("fp32", "Arithmetic of the forward pass.")
    save_precision: Literal["fp32", "bf16", "fp16"] = setting("fp16", "Number format of the file.")
    gradient_checkpointing: bool = setting(False, "Less memory, about half again the arithmetic.")
    compile: bool = setting(False, "Compile the U-Net's blocks (pays on a GPU, after a minute).")
    channels_last: bool = setting(False, "Convolution memory layout; measure before use.")
    deterministic: bool = setting(False, "Deterministic kernels, so that CUDA resumes bit-exactly.")
    seed: int = setting(42, "Every draw hangs on this and the step.", ge=0, le=2**32 - 1)

    # What is kept and shown
    checkpoint_every: int = setting(200, "Steps between checkpoints (network and optimizer).", ge=1)
    keep_checkpoints: int = setting(2, "Newest checkpoints that are kept; full: 2 or more.", ge=1, le=100)
    save_every_epochs: int | None = setting(None, "Also save NAME-000005.safetensors, epochs.", ge=1)
    save_every_steps: int | None = setting(None, "Also save NAME-step00000500.safetensors, steps.", ge=1)
    samples: bool = setting(True, "Draw sample pictures into model/samples/.")
    sample_prompts: tuple[str, ...] = setting(
        (),
        "Prompts with kohya's options (--w --h --s --l --d --n), or a .txt file. Unset: two captions, "
        "each with and without the trigger.",
    )
    sample_every_epochs: int | None = setting(None, "Draw so often, epochs. Unset: at the end.", ge=1)
    sample_every_steps: int | None = setting(None, "Draw the prompts so often, steps.", ge=1)
    sampler: Literal["ddim", "euler", "euler_a", "dpm++_2m"] = setting("ddim", "Sampler of those pictures.")
    tensorboard: bool = setting(False, "Also write TensorBoard events (needs tensorboard).")
    comment: str | None = setting(None, "Free text kept in the file's metadata.")

    @field_validator(
        *(
            "min_snr_gamma",
            "max_norm",
            "clip_skip",
            "save_every_epochs",
            "save_every_steps",
            "secondary_separator",
        ),
        *("sample_every_epochs", "sample_every_steps", "caption_prefix", "caption_suffix"),
        mode="before",
    )
    @classmethod
    def _switched_off(cls, value: object) -> object:
        return None if value in (0, "", "none", "off") else value

    @field_validator("block_ranks", "block_alphas", "block_rates", mode="before")
    @classmethod
    def _named_blocks(cls, value: object, info: ValidationInfo) -> object:
        return block_values(value, str(info.field_name))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse what does not go together."""
        for rule, broken in self._rules().items():
            if broken:
                raise ValueError(rule)
        return self

    def _rules(self) -> dict[str, object]:
        """Each rule, and what is true where it is broken."""
        other, kind = self.method != "network", self.network
        lyco, plain = kind in ("loha", "lokr"), kind in ("lora", "locon")
        words = self.train_text_encoder and self.text_encoder_until > 0
        huber = self.loss in ("huber", "smooth_l1") and self.huber_schedule != "constant"
        drops = self.dropout or self.rank_dropout or self.module_dropout
        blocks = self.block_ranks or self.block_alphas or self.block_rates
        ranks, rates = self.block_ranks or {}, self.block_rates or {}
        changed = any(ranks.get(block, 1) > 0 and rates.get(block, 1) > 0 for block in BLOCKS)
        by_snr = self.min_snr_gamma or self.debiased or self.scale_v_like_noise or huber
        return {
            "train_unet and train_text_encoder are both off, or their rates 0: nothing is trained": not (
                (self.train_unet and self.unet_rate) or (words and self.text_encoder_rate)
            ),
            "network other than lora, dropouts, max_norm and block_* need method network": (
                other and (kind != "lora" or drops or blocks or self.max_norm)
            ),
            "block_ranks or block_rates leave out all blocks; see train_unet": self.train_unet
            and not changed,
            "method full needs keep_checkpoints of 2 up": self.method == "full" and self.keep_checkpoints < 2,
            "method embedding trains the text side: text encoder is off": (
                self.method == "embedding" and not words
            ),
            "min_timestep must be below max_timestep": self.min_timestep >= self.max_timestep,
            "zero_terminal_snr (pure noise has no signal to predict) and scale_v_like_noise need target v": (
                self.target == "eps" and (self.zero_terminal_snr or self.scale_v_like_noise)
            ),
            "target flow has no SNR: min_snr_gamma, debiased, scale_v_like_noise and a huber_schedule other "
            "than constant must be off": self.target == "flow" and by_snr,
            "multires noise and noise_offset exclude each other": (
                self.multires_iterations and self.noise_offset
            ),
            "conv_rank and conv_alpha need network locon, loha, lokr or dora": (
                kind == "lora" and (self.conv_rank or self.conv_alpha)
            ),
            "rank_dropout and module_dropout need network loha or lokr": (
                not lyco and (self.rank_dropout or self.module_dropout)
            ),
            "loha and lokr take rank_dropout or module_dropout, not dropout": lyco and self.dropout,
            "max_norm needs lora or locon": self.max_norm and not plain,
        }


for _name, _field in TrainConfig.model_fields.items():  # as `dataprep explain train` prints it
    _field.description = with_source(_name, str(_field.description))
