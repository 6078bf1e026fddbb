"""What a LoRA file holds of a model with peft's layers in it: kohya's keys, factors and alphas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dataprep.inference.base import Family
from dataprep.lora.names import module_key

ADAPTER = "default"  # peft's name of the one change that a model carries


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


_ENDS = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight", "lora_magnitude_vector": "dora_scale"}


def _module_tensors(module: Any) -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401 - peft's layers are untyped
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
        yield _ENDS.get(name, name), tensor * scale if whole and name == "lokr_w1" else tensor
    yield "alpha", torch.tensor(rank if whole else scale * rank)
