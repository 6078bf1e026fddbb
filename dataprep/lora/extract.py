"""A LoRA from a fine-tuned model: the best low-rank copy of what changed, with how much of it was kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dataprep.errors import ModelError
from dataprep.inference.base import Base
from dataprep.lora.names import module_key
from dataprep.train.config import TrainConfig
from dataprep.train.network import Size, text_plan, unet_plan


@dataclass(frozen=True)
class Extracted:
    """A LoRA in kohya's names, and the share of each module's squared change that it holds, 0 to 1."""

    tensors: dict[str, Tensor]
    kept: dict[str, float]


def extract(tuned: Base, base: Base, config: TrainConfig) -> Extracted:
    """Turn the difference of two models into a LoRA by singular value decomposition.

    Args:
        tuned: the fine-tuned model.
        base: the model it was tuned from.
        config: network lora or locon, rank, conv_rank, block_ranks; alpha is the rank: nothing is rescaled.
    Raises:
        ModelError: the two are of different families or shapes.
    """
    if tuned.family != base.family:
        raise ModelError(f"{tuned.path} is {tuned.family}, {base.path} is {base.family}: no common ancestor")
    tensors: dict[str, Tensor] = {}
    kept: dict[str, float] = {}
    parts = [("unet", tuned.unet, base.unet, unet_plan(base.unet, config))]
    for i, (new, old) in enumerate(zip(tuned.text_encoders, base.text_encoders, strict=True)):
        parts.append((f"text_encoder_{i + 1}", new, old, text_plan(old, config)))
    for part, new, old, plan in parts:
        for name, size in plan.items():
            key = module_key(name, part, base.family, base.unet.config.layers_per_block)
            found, kept[key] = _decompose(new.get_submodule(name), old.get_submodule(name), size)
            tensors |= {f"{key}.{end}": tensor for end, tensor in found.items()}
    return Extracted(tensors, kept)


@torch.no_grad()
def _decompose(new: nn.Module, old: nn.Module, size: Size) -> tuple[dict[str, Tensor], float]:
    """One module's factors, with singular values shared evenly between both, and the energy kept."""
    weight, before = new.get_parameter("weight"), old.get_parameter("weight")
    if weight.shape != before.shape:
        raise ModelError(
            f"shapes differ: {tuple(weight.shape)} and {tuple(before.shape)}: not the same architecture"
        )
    change = (weight.double() - before.double()).flatten(1)  # (out, in x kernel)
    u, s, v = torch.linalg.svd(change, full_matrices=False)
    rank = min(size.rank, len(s))
    root = s[:rank].sqrt()
    down = (root[:, None] * v[:rank]).reshape(rank, *weight.shape[1:])
    up = (u[:, :rank] * root).reshape(len(weight), rank, *[1] * (weight.dim() - 2))
    energy = float((s[:rank] ** 2).sum() / (s**2).sum()) if s[0] > 0 else 1.0
    factors = {"lora_down.weight": down.float().contiguous(), "lora_up.weight": up.float().contiguous()}
    return factors | {"alpha": torch.tensor(float(rank))}, energy
