"""A LoRA file put into a base model by adding its weight change, and taken out again.

Written from the published formulas, apart from peft, so that the tests can hold the exporter against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from dataprep.errors import ModelError
from dataprep.inference.base import Base
from dataprep.lora.names import module_key


@contextmanager
def applied(lora: Path | None, base: Base, multiplier: float = 1.0) -> Iterator[None]:
    """The base model with the file's change in it, for the length of a `with` block.

    Args:
        lora: kohya-format file, or None for no change.
        base: its weights are put back afterwards, bit for bit.
        multiplier: strength.
    Raises:
        ModelError: not a LoRA, for another model, or of a kind that is not known.
    """
    if lora is None:
        yield
        return
    changes = _read(lora)
    modules = named_modules(base)
    foreign = sorted(set(changes) - set(modules))
    if foreign:
        raise ModelError(
            f"{lora}: {len(foreign)} of its {len(changes)} modules are not in {base.path.name} "
            f"({base.family}), such as {foreign[0]}; it belongs to another family"
        )
    kept: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for name, parts in changes.items():
                weight = modules[name].weight
                kept[name] = weight.detach().clone()
                weight.copy_(
                    _changed(weight, {end: part.to(weight.device) for end, part in parts.items()}, multiplier)
                )
        yield
    finally:
        with torch.no_grad():
            for name, weight in kept.items():
                modules[name].weight.copy_(weight)


def named_modules(base: Base) -> dict[str, nn.Linear | nn.Conv2d]:
    """Every linear and convolution layer of U-Net and text encoders by kohya's name."""
    models = {"unet": base.unet} | {
        f"text_encoder_{i + 1}": model for i, model in enumerate(base.text_encoders)
    }
    per = base.unet.config.layers_per_block
    found: dict[str, nn.Linear | nn.Conv2d] = {}
    for part, model in models.items():
        for name, module in model.named_modules():
            inside = part != "unet" or name.startswith(("down_blocks", "mid_block", "up_blocks"))
            if inside and isinstance(module, nn.Linear | nn.Conv2d):
                found[module_key(name, part, base.family, per)] = module
    return found


def _read(path: Path) -> dict[str, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors: {error}") from error
    changes: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        module, _, end = key.partition(".")
        if not module.startswith("lora_"):
            raise ModelError(f"{path}: {key} is not kohya's way of naming; wanted lora_unet_* and lora_te_*")
        changes[module][end] = tensor.float()
    return dict(changes)


def _changed(weight: Tensor, parts: dict[str, Tensor], multiplier: float) -> Tensor:
    """The weight with its change. DoRA rescales each output row to its learned length."""
    merged: Tensor = weight.float() + multiplier * delta(parts).reshape(weight.shape)
    if "dora_scale" not in parts:
        return merged
    lengths = merged.flatten(1).norm(dim=1).view(parts["dora_scale"].shape)
    rescaled: Tensor = merged * (parts["dora_scale"] / lengths)
    return rescaled


def delta(parts: dict[str, Tensor]) -> Tensor:
    """One module's weight change from its tensors, alpha / rank included, (out, in x kernel).

    Raises:
        ModelError: no known kind has these tensors.
    """
    if "lora_down.weight" in parts:
        down, up = parts["lora_down.weight"], parts["lora_up.weight"]
        return _scale(parts, len(down)) * (up.flatten(1) @ down.flatten(1))
    if "hada_w1_a" in parts:
        one, two = (parts[f"hada_w{i}_a"] @ parts[f"hada_w{i}_b"] for i in (1, 2))
        return _scale(parts, len(parts["hada_w1_b"])) * one * two
    if "lokr_w1" in parts or "lokr_w1_a" in parts:
        return _kronecker(parts)
    raise ModelError(f"a module with tensors {', '.join(sorted(parts))}: not lora, loha or lokr")


def _kronecker(parts: dict[str, Tensor]) -> Tensor:
    rank = next((len(parts[name]) for name in ("lokr_w1_b", "lokr_w2_b") if name in parts), None)
    factors = [
        parts[f"lokr_w{i}"] if f"lokr_w{i}" in parts else parts[f"lokr_w{i}_a"] @ parts[f"lokr_w{i}_b"]
        for i in (1, 2)
    ]
    scale = 1.0 if rank is None else _scale(parts, rank)
    # A convolution's second factor is (b, d x kernel): the Kronecker product keeps the kernel innermost.
    return scale * torch.kron(factors[0], factors[1].flatten(1))


def _scale(parts: dict[str, Tensor], rank: int) -> float:
    return float(parts["alpha"]) / rank if "alpha" in parts else 1.0
