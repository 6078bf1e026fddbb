"""What is trained: a low-rank change of chosen modules (peft), all weights, or the embedding of one new word.

Owns one decision: which modules get a change. Names, shapes and alphas of the file are those of sd-scripts'
networks.lora; the tests hold them against its key lists.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dataprep.errors import ConfigError
from dataprep.export.lora_metadata import file_bytes
from dataprep.export.pipeline import SUFFIXES, write_pipeline
from dataprep.inference.base import Base
from dataprep.inference.tokens import plain_ids
from dataprep.inference.word import with_word
from dataprep.lora.joined import join_linear_layers
from dataprep.lora.names import block_of
from dataprep.lora.tensors import ADAPTER, kohya_tensors
from dataprep.store import write_bytes
from dataprep.train.config import TrainConfig
from dataprep.train.optimizers import Groups

# Ends of module paths: everything inside Transformer2DModel, then what LoCon adds in ResnetBlock2D.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
RESNET = ("conv1", "conv2", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj", "conv_shortcut")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


# --- LoRA and its kin -------------------------------------------------------------------------------


class Size(NamedTuple):
    """Rank and alpha of one module's change."""

    rank: int
    alpha: float


def unet_plan(unet: nn.Module, config: TrainConfig) -> dict[str, Size]:
    """Which U-Net modules are changed, and by how much rank each.

    3x3 convolutions take conv_rank; the 1x1 and linear layers beside them take rank, as in sd-scripts.
    """
    ends = tuple("." + end for end in (ATTENTION if config.network == "lora" else ATTENTION + RESNET))
    usual = Size(config.rank, config.alpha)
    conv = Size(config.conv_rank or config.rank, config.conv_alpha or config.alpha)
    ranks, alphas, rates = config.block_ranks or {}, config.block_alphas or {}, config.block_rates or {}
    plan = {}
    for name, module in unet.named_modules():
        if name.endswith(ends):
            block = block_of(name, unet.config.layers_per_block) or ""  # type: ignore[union-attr, arg-type]
            size = conv if getattr(module, "kernel_size", (1, 1)) == (3, 3) else usual
            rank = ranks.get(block, size.rank)
            if rank > 0 and rates.get(block, 1.0) > 0:
                plan[name] = Size(rank, alphas.get(block, size.alpha))
    return plan


def text_plan(encoder: nn.Module, config: TrainConfig) -> dict[str, Size]:
    """Which text encoder modules are changed: attention and MLP of every layer."""
    ends, size = tuple("." + end for end in TEXT), Size(config.rank, config.alpha)
    return {name: size for name, _ in encoder.named_modules() if name.endswith(ends)}


def inject(model: nn.Module, plan: Mapping[str, Size], config: TrainConfig) -> None:
    """Put a zero change of the planned sizes into a model, in place, drawn from torch's seed."""
    from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model

    if not plan:
        raise ConfigError(
            "block_ranks and block_rates leave out every U-Net module that this network changes"
        )
    common: dict[str, Any] = {
        "r": config.rank,
        "target_modules": list(plan),
        # peft reads pattern keys as regular expressions for the end of a module's path.
        "rank_pattern": {re.escape(n): size.rank for n, size in plan.items() if size.rank != config.rank},
        "alpha_pattern": {re.escape(n): size.alpha for n, size in plan.items() if size.alpha != config.alpha},
    }
    if config.network in ("loha", "lokr"):
        kind = LoHaConfig if config.network == "loha" else LoKrConfig
        common |= {"rank_dropout": config.rank_dropout, "module_dropout": config.module_dropout}
        chosen = kind(alpha=config.alpha, **common)
    else:
        common |= {"lora_dropout": config.dropout, "use_dora": config.network == "dora"}
        chosen = LoraConfig(lora_alpha=config.alpha, **common)
    inject_adapter_in_model(chosen, model, adapter_name=ADAPTER)
    if config.network in ("lora", "locon") and not config.dropout:
        join_linear_layers(model)
    for parameter in model.parameters():
        if parameter.requires_grad:  # small, and too coarse in bf16 to take a step of 1e-4
            parameter.data = parameter.data.float()


class Trainable:
    """What all three kinds have in common: tensors by part and name, which a checkpoint holds."""

    suffix = ".safetensors"  # of the file that save() writes
    base: Base
    config: TrainConfig
    parts: dict[str, nn.Module]

    def tensors(self) -> dict[str, nn.Parameter]:
        """Every trained tensor by part and name."""
        return {
            f"{part}.{name}": parameter
            for part, model in self.parts.items()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def state(self) -> dict[str, Tensor]:
        """The trained tensors' values, for a checkpoint."""
        return {name: parameter.detach() for name, parameter in self.tensors().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint's tensors."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def rate(self, name: str) -> float:
        """Learning rate of a tensor."""
        return self.config.unet_rate if name.startswith("unet.") else self.config.text_encoder_rate

    def groups(self) -> Groups:
        """Parameter groups for the optimizer: one for each part and rate."""
        alike: dict[tuple[str, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.tensors().items():
            alike[name.partition(".")[0], self.rate(name)].append(parameter)
        return [{"params": p, "lr": lr, "initial_lr": lr, "part": part} for (part, lr), p in alike.items()]

    def constrain(self) -> None:
        """What has to hold after each step; nothing here."""


class Network(Trainable):
    """A low-rank change of U-Net and text encoder(s), whose own weights stay frozen."""

    def __init__(self, base: Base, config: TrainConfig, trigger: str | None = None) -> None:
        """Inject the change into the base model's parts, in place; the trigger is not needed here."""
        self.base, self.config, self.parts = base, config, {}
        self.per = base.unet.config.layers_per_block
        torch.manual_seed(config.seed)
        if config.train_unet:
            inject(base.unet, unet_plan(base.unet, config), config)
            self.parts["unet"] = base.unet
        if config.train_text_encoder and config.text_encoder_until > 0:
            for i, encoder in enumerate(base.text_encoders):
                inject(encoder, text_plan(encoder, config), config)
                self.parts[f"text_encoder_{i + 1}"] = encoder

    def rate(self, name: str) -> float:
        """Learning rate of a tensor, by its block in the U-Net."""
        block = block_of(name.removeprefix("unet."), self.per) if name.startswith("unet.") else None
        return super().rate(name) * (self.config.block_rates or {}).get(block or "", 1.0)

    def constrain(self) -> None:
        """Shrink each module's change to at most max_norm."""
        if self.config.max_norm is not None:
            for model in self.parts.values():
                shrink(model, self.config.max_norm)

    def export(self) -> dict[str, Tensor]:
        """The change in kohya's names."""
        parts = self.parts.items()
        return {k: t for part, m in parts for k, t in kohya_tensors(m, part, self.base.family, self.per)}

    def save(self, path: Path, facts: Mapping[str, str], dtype: torch.dtype) -> None:
        """Write the change in kohya's names with what the file says of itself. Raises DiskError."""
        tensors = {key: t.detach().to("cpu", dtype).contiguous() for key, t in self.export().items()}
        write_bytes(path, file_bytes(tensors, facts))


@torch.no_grad()
def shrink(model: nn.Module, max_norm: float) -> None:
    """Scale LoRA pairs whose scaled product's Frobenius norm is above max_norm, both factors alike.

    Source: sd-scripts' scale_weight_norms.
    """
    module: Any  # peft's layers declare nothing
    for module in model.modules():
        if not hasattr(module, "lora_A") or ADAPTER not in module.lora_A:
            continue
        factors = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
        down, up = (factor.flatten(1) for factor in factors)  # (r, in), (out, r)
        # ||UD||^2 = tr(U'U DD'): two r x r products instead of one out x in.
        squared = ((up.T @ up) * (down @ down.T)).sum().clamp(min=0)
        norm = module.scaling[ADAPTER] * squared.sqrt()
        for factor in factors:
            factor.mul_((max_norm / norm.clamp(min=max_norm)).sqrt())


# --- all weights ------------------------------------------------------------------------------------


class FullModel(Trainable):
    """DreamBooth fine-tuning (Ruiz 2022, arXiv:2208.12242): all of U-Net and text encoder(s) learns."""

    suffix = ""  # saved as a diffusers folder

    def __init__(self, base: Base, config: TrainConfig, trigger: str | None) -> None:
        """Let the base model's own weights learn; the trigger is not needed here."""
        self.base, self.config = base, config
        self.parts = {"unet": base.unet} if config.train_unet else {}
        if config.train_text_encoder:
            self.parts |= {f"text_encoder{SUFFIXES[i]}": part for i, part in enumerate(base.text_encoders)}
        for model in self.parts.values():
            model.requires_grad_(True)

    def save(self, path: Path, facts: Mapping[str, str], dtype: torch.dtype) -> None:
        """Write a diffusers folder, whole or not at all, with training.json in it. Raises DiskError."""
        write_pipeline(path, self.base, dtype, facts)


# --- one new word -----------------------------------------------------------------------------------


class Embedding(Trainable):
    """Textual inversion (Gal 2022, arXiv:2208.01618): only the trigger word's own token embeddings learn."""

    def __init__(self, base: Base, config: TrainConfig, trigger: str | None) -> None:
        """Give the trigger word its own tokens; the models stay frozen.

        Raises:
            ConfigError: there is no trigger word.
        """
        if trigger is None:
            raise ConfigError(
                "method embedding learns the trigger word: run `dataprep run --trigger WORD` first"
            )
        starts = []
        for encoder, tokenizer in zip(base.text_encoders, base.tokenizers, strict=True):
            known = plain_ids(tokenizer, config.embedding_init or "object")
            ids = [known[j % len(known)] for j in range(config.embedding_tokens)]
            starts.append(encoder.get_input_embeddings().weight[ids])  # (n, C)
        self.config, (self.base, words) = config, with_word(base, trigger, starts)
        self.parts = {f"embedding_{i + 1}": word for i, word in enumerate(words)}

    def groups(self) -> Groups:
        """As ever, but a word's embedding has a natural length: decay would pull it to nothing."""
        return [group | {"weight_decay": 0.0} for group in super().groups()]

    def save(self, path: Path, facts: Mapping[str, str], dtype: torch.dtype) -> None:
        """Write the word in the names that sd-scripts, A1111 and ComfyUI read. Raises DiskError."""
        names = ("clip_l", "clip_g") if len(self.parts) == 2 else ("emb_params",)
        rows = [rows.to("cpu", dtype) for rows in self.state().values()]
        write_bytes(path, file_bytes(dict(zip(names, rows, strict=True)), facts))


TRAINABLE: dict[str, type[Network] | type[FullModel] | type[Embedding]] = {
    "network": Network,
    "full": FullModel,
    "embedding": Embedding,
}
