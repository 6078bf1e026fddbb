"""The weight change that is learned: which modules get one (peft), and its file in kohya's names.

Names, shapes and alphas are those of sd-scripts' networks.lora; the tests hold them against its key lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataprep.inference.base import Base, Family
from dataprep.store import write_bytes
from dataprep.train.blocks import block_of
from dataprep.train.config import TrainConfig
from dataprep.train.metadata import file_bytes
from dataprep.train.optimizers import Groups

ADAPTER = "default"

# Ends of module paths: everything inside Transformer2DModel, then what LoCon adds in ResnetBlock2D.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
RESNET = ("conv1", "conv2", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj", "conv_shortcut")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


@dataclass(frozen=True)
class Size:
    """Rank and alpha of one module's change."""

    rank: int
    alpha: float


def unet_plan(unet: nn.Module, config: TrainConfig) -> dict[str, Size]:
    """Which U-Net modules are changed, and by how much rank each.

    3x3 convolutions take conv_rank; the 1x1 and linear layers beside them take rank, as in sd-scripts.
    """
    ends = ATTENTION if config.network == "lora" else ATTENTION + RESNET
    conv = Size(config.conv_rank or config.rank, config.conv_alpha or config.alpha)
    plan = {}
    for name, module in unet.named_modules():
        if not name.endswith(tuple("." + end for end in ends)):
            continue
        size = conv if getattr(module, "kernel_size", (1, 1)) == (3, 3) else Size(config.rank, config.alpha)
        block = block_of(name, unet.config.layers_per_block)  # type: ignore[union-attr, arg-type]
        rank = (config.block_ranks or {}).get(block or "", size.rank)
        alpha = (config.block_alphas or {}).get(block or "", size.alpha)
        if rank > 0 and (config.block_rates or {}).get(block or "", 1.0) > 0:
            plan[name] = Size(rank, alpha)
    return plan


def text_plan(encoder: nn.Module, config: TrainConfig) -> dict[str, Size]:
    """Which text encoder modules are changed: attention and MLP of every layer."""
    ends = tuple("." + end for end in TEXT)
    return {
        name: Size(config.rank, config.alpha) for name, _ in encoder.named_modules() if name.endswith(ends)
    }


def inject(model: nn.Module, plan: Mapping[str, Size], config: TrainConfig) -> None:
    """Put a zero change of the planned sizes into a model, in place, drawn from torch's seed."""
    from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model

    usual = Size(config.rank, config.alpha)
    # peft reads pattern keys as regular expressions for the end of a module's path.
    ranks = {re.escape(name): size.rank for name, size in plan.items() if size.rank != usual.rank}
    alphas = {re.escape(name): size.alpha for name, size in plan.items() if size.alpha != usual.alpha}
    common: dict[str, Any] = {
        "r": config.rank,
        "target_modules": list(plan),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    }
    if config.network in ("loha", "lokr"):
        kind = LoHaConfig if config.network == "loha" else LoKrConfig
        drops = {"rank_dropout": config.rank_dropout, "module_dropout": config.module_dropout}
        peft_config = kind(alpha=config.alpha, **common, **drops)
    else:
        peft_config = LoraConfig(
            lora_alpha=config.alpha, lora_dropout=config.dropout, use_dora=config.network == "dora", **common
        )
    inject_adapter_in_model(peft_config, model, adapter_name=ADAPTER)
    for parameter in model.parameters():
        if parameter.requires_grad:  # small, and too coarse in bf16 to take a step of 1e-4
            parameter.data = parameter.data.float()


class Network:
    """The trained change of U-Net and text encoder(s), as the loop uses it."""

    suffix = ".safetensors"

    def __init__(self, base: Base, config: TrainConfig, trigger: str | None = None) -> None:
        """Inject the change into the base model's parts, in place.

        Args:
            base: its weights stay frozen.
            config: network, rank, alpha, conv_*, block_*, dropout, train_*, *_rate.
            trigger: not needed here.
        """
        self.base, self.config = base, config
        self.parts: dict[str, nn.Module] = {}
        torch.manual_seed(config.seed)
        if config.train_unet:
            inject(base.unet, unet_plan(base.unet, config), config)
            self.parts["unet"] = base.unet
        if config.train_text_encoder and config.text_encoder_until > 0:
            for i, encoder in enumerate(base.text_encoders):
                inject(encoder, text_plan(encoder, config), config)
                self.parts[f"text_encoder_{i + 1}"] = encoder

    def groups(self) -> Groups:
        """Parameter groups for the optimizer: one for each rate."""
        by_rate: dict[tuple[str, float], list[nn.Parameter]] = {}
        for part, model in self.parts.items():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    by_rate.setdefault((part, self._rate(part, name)), []).append(parameter)
        return [
            {"params": parameters, "lr": rate, "initial_lr": rate, "part": part}
            for (part, rate), parameters in by_rate.items()
        ]

    def _rate(self, part: str, name: str) -> float:
        if part != "unet":
            return self.config.text_encoder_rate
        block = block_of(name, self.base.unet.config.layers_per_block)
        return self.config.unet_rate * (self.config.block_rates or {}).get(block or "", 1.0)

    def state(self) -> dict[str, Tensor]:
        """Every trained tensor by part and name, for a checkpoint."""
        return {
            f"{part}.{name}": parameter.detach()
            for part, model in self.parts.items()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint's tensors.

        Raises:
            KeyError: it belongs to another network.
        """
        with torch.no_grad():
            for name, tensor in self.state().items():
                tensor.copy_(state[name])

    def constrain(self) -> None:
        """Shrink each module's change to at most max_norm, after a step."""
        if self.config.max_norm is not None:
            for model in self.parts.values():
                shrink(model, self.config.max_norm)

    def export(self) -> dict[str, Tensor]:
        """The change in kohya's names."""
        return {
            key: tensor
            for part, model in self.parts.items()
            for key, tensor in kohya_tensors(
                model, part, self.base.family, self.base.unet.config.layers_per_block
            )
        }

    def save(self, path: Path, facts: Mapping[str, str], dtype: torch.dtype) -> None:
        """Write the change in kohya's names with what the file says of itself. Raises DiskError."""
        tensors = {
            key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in self.export().items()
        }
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
        down, up = (
            module.lora_A[ADAPTER].weight.flatten(1),
            module.lora_B[ADAPTER].weight.flatten(1),
        )  # (r, in), (out, r)
        # ||UD||^2 = tr(U'U DD'): two r x r products instead of one out x in.
        squared = ((up.T @ up) * (down @ down.T)).sum().clamp(min=0)
        norm = module.scaling[ADAPTER] * squared.sqrt()
        ratio = (max_norm / norm.clamp(min=max_norm)).sqrt()
        module.lora_A[ADAPTER].weight.mul_(ratio)
        module.lora_B[ADAPTER].weight.mul_(ratio)


# --- kohya's names --------------------------------------------------------------------------------

_SGM_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_LORA = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight", "lora_magnitude_vector": "dora_scale"}


def kohya_tensors(
    model: nn.Module, part: str, family: Family, layers_per_block: int = 2
) -> Iterator[tuple[str, Tensor]]:
    """One model's change as (key, tensor) pairs, as sd-scripts and LyCORIS name them.

    Args:
        model: U-Net or text encoder with peft's layers in it.
        part: "unet", "text_encoder_1" or "text_encoder_2".
        family: decides prefixes, and SDXL's U-Net names.
        layers_per_block: residual blocks at each depth of the U-Net.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and ADAPTER in module.scaling:
            key = module_key(name, part, family, layers_per_block)
            yield from ((f"{key}.{end}", tensor) for end, tensor in _module_tensors(module))


def module_key(name: str, part: str, family: Family, layers_per_block: int = 2) -> str:
    """kohya's name of a module, such as lora_unet_mid_block_attentions_0_proj_in."""
    if part == "unet":
        path = sgm_path(name, layers_per_block) if family == "sdxl" else name
        return "lora_unet_" + path.replace(".", "_")
    prefix = f"lora_te{part[-1]}_" if family == "sdxl" else "lora_te_"
    # transformers 5.6 dropped CLIPTextModel's inner `text_model`, which every reader of these files expects.
    path = name if name.startswith("text_model.") else "text_model." + name
    return prefix + path.replace(".", "_")


def sgm_path(name: str, layers_per_block: int = 2) -> str:
    """A diffusers U-Net module path in the numbering of Stability's own code, which SDXL files use."""
    per = layers_per_block + 1
    place, _, end = name.partition(".")
    block, kind, index, *rest = (
        [place, *end.split(".")] if place == "mid_block" else [place, *end.split(".")[1:]]
    )
    depth = 0 if place == "mid_block" else int(end.split(".")[0])
    inner = [_SGM_RESNET.get(".".join(rest), ".".join(rest))] if kind == "resnets" else rest
    column = {"resnets": "0", "attentions": "1"}.get(kind)
    if block == "mid_block":
        number = 2 * int(index) if kind == "resnets" else 1
        return ".".join(["middle_block", str(number), *inner])
    if kind == "downsamplers":
        return f"input_blocks.{per * (depth + 1)}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{per * depth + per - 1}.2.conv"
    if block == "down_blocks":
        return ".".join([f"input_blocks.{per * depth + int(index) + 1}", str(column), *inner])
    return ".".join([f"output_blocks.{per * depth + int(index)}", str(column), *inner])


def _module_tensors(  # peft's layers declare none of this
    module: Any,  # noqa: ANN401
) -> Iterator[tuple[str, Tensor]]:
    """Ends of keys and tensors of one peft layer: its factors, then alpha."""
    rank, scale = float(module.r[ADAPTER]), float(module.scaling[ADAPTER])
    # LoKr with both factors whole has no rank to divide by: every reader takes scale 1, peft alpha / rank.
    whole = ADAPTER in getattr(module, "lokr_w1", {}) and ADAPTER in getattr(module, "lokr_w2", {})
    for name in module.adapter_layer_names:
        store = getattr(module, name)
        if ADAPTER not in store:
            continue
        tensor = getattr(store[ADAPTER], "weight", store[ADAPTER]).detach()
        if name == "lora_magnitude_vector":
            tensor = tensor.reshape(-1, *[1] * (module.get_base_layer().weight.dim() - 1))
        yield _LORA.get(name, name), tensor * scale if whole and name == "lokr_w1" else tensor
    yield "alpha", torch.tensor(rank if whole else scale * rank)
