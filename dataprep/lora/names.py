"""How LoRA files name parts of a model: kohya's keys, Stability's numbering for SDXL, the 25 U-Net blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataprep.inference.base import Family

BLOCKS = (*(f"IN{i:02d}" for i in range(12)), "MID", *(f"OUT{i:02d}" for i in range(12)))


# Smallest and largest number of a block, by setting; an alpha of 0 would divide what is learned by nothing.
LIMITS = {"block_ranks": (0, 1024), "block_alphas": (1e-9, 1024), "block_rates": (0, 1000)}


def block_values(value: object, setting: str) -> object:
    """A mapping of block names to numbers from a mapping, a list of 25 or kohya's text of 25 commas.

    Args:
        value: what the settings file holds; None stays None.
        setting: block_ranks, block_alphas or block_rates.
    Raises:
        ValueError: unknown block names, a list of another length, or a number out of range.
    """
    if isinstance(value, str):
        value = [float(number) for number in value.split(",")]
    if isinstance(value, Sequence):
        if len(value) != len(BLOCKS):
            raise ValueError(
                f"{len(value)} values, wanted one for each of the {len(BLOCKS)} blocks "
                f"{BLOCKS[0]}..{BLOCKS[-1]}"
            )
        value = dict(zip(BLOCKS, value, strict=True))
    if isinstance(value, Mapping):
        if unknown := set(value) - set(BLOCKS):
            raise ValueError(f"unknown block {sorted(unknown)[0]}; blocks are {', '.join(BLOCKS)}")
        low, high = LIMITS[setting]
        for block, number in value.items():
            if isinstance(number, int | float) and not low <= number <= high:  # NaN is in no range
                raise ValueError(f"{block} is {number:g}; wanted {'above 0' if low else '0'} to {high}")
    return value


def block_of(module: str, layers_per_block: int = 2) -> str | None:
    """The block of a diffusers U-Net module path, or None for what is in no block (conv_out, time_embedding).

    Args:
        module: such as "down_blocks.1.attentions.0.proj_in".
        layers_per_block: residual blocks at each depth; 2 in SD1.5, SD2 and SDXL.
    """
    if module.startswith("mid_block."):
        return "MID"
    per = layers_per_block + 1
    if found := re.match(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", module):
        return f"IN{per * int(found[1]) + int(found[3]) + 1:02d}"
    if found := re.match(r"down_blocks\.(\d+)\.downsamplers\.", module):
        return f"IN{per * (int(found[1]) + 1):02d}"
    if found := re.match(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.", module):
        return f"OUT{per * int(found[1]) + int(found[3]):02d}"
    if found := re.match(r"up_blocks\.(\d+)\.upsamplers\.", module):
        return f"OUT{per * int(found[1]) + per - 1:02d}"
    return "IN00" if module.startswith("conv_in") else None


_SGM_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


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
