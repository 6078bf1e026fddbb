"""The 25 U-Net blocks that per-block settings name: IN00 .. IN11, MID, OUT00 .. OUT11, in kohya's order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

BLOCKS = (*(f"IN{i:02d}" for i in range(12)), "MID", *(f"OUT{i:02d}" for i in range(12)))


def block_values(value: object) -> object:
    """A mapping of block names to numbers from a mapping, a list of 25 or kohya's text of 25 commas.

    Args:
        value: what the settings file holds; None stays None.
    Raises:
        ValueError: unknown block names, or a list of another length.
    """
    if isinstance(value, str):
        value = [float(number) for number in value.split(",")]
    if isinstance(value, Sequence):
        if len(value) != len(BLOCKS):
            raise ValueError(
                f"{len(value)} values, wanted one for each of the {len(BLOCKS)} blocks "
                f"{BLOCKS[0]}..{BLOCKS[-1]}"
            )
        return dict(zip(BLOCKS, value, strict=True))
    if isinstance(value, Mapping) and (unknown := set(value) - set(BLOCKS)):
        raise ValueError(f"unknown block {sorted(unknown)[0]}; blocks are {', '.join(BLOCKS)}")
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
