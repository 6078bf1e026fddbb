from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dataprep.lora.header import TensorInfo
from dataprep.lora.network_keys import module_of, read_content

GOLDEN = Path(__file__).parent.parent / "golden"


def tensors(shapes: dict[str, Any]) -> dict[str, TensorInfo]:
    return {name: TensorInfo("F16", tuple(shape), 0, 0) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("file", "family", "parts"),
    [
        ("lora_keys_sd15.json.gz", "Stable Diffusion 1.x", {"U-Net": 192, "text encoder": 72}),
        ("lora_keys_sdxl.json.gz", "SDXL", {"U-Net": 722, "text encoder": 72, "text encoder 2": 192}),
    ],
)
def test_the_keys_that_sd_scripts_writes_are_understood(
    file: str, family: str, parts: dict[str, int]
) -> None:
    with gzip.open(GOLDEN / file) as stream:
        golden = json.load(stream)
    content = read_content(tensors({name: shape for name, (shape, _) in golden["lora"].items()}))
    assert (content.kind, content.family) == ("LoRA", family)
    assert (dict(content.parts), dict(content.ranks)) == (parts, {8: sum(parts.values())})
    locon = read_content(tensors({name: shape for name, (shape, _) in golden["locon"].items()}))
    assert (locon.kind, locon.family) == ("LoCon (LoRA with convolutions)", family)
    assert set(locon.ranks) == {8, 4}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("lora_unet_a.lora_down.weight", "lora_unet_a"),
        ("lora_unet_a.alpha", "lora_unet_a"),
        ("unet.a.to_q.lora_A.weight", "unet.a.to_q"),
        ("m.hada_w1_a", "m"),
        ("m.lokr_w2_b", "m"),
        ("m.dora_scale", "m"),
        ("m.weight", "m"),
    ],
)
def test_a_tensor_belongs_to_its_module(name: str, module: str) -> None:
    assert module_of(name) == module


def test_ranks_that_differ_by_block_are_counted() -> None:
    content = read_content(tensors({"a.lora_down.weight": (4, 8), "b.lora_down.weight": (16, 8)}))
    assert dict(content.ranks) == {4: 1, 16: 1}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "FLUX"),
        ("lora_unet_x.lora_down.weight", None),
    ],
)
def test_families_that_cannot_be_told_are_not_guessed(name: str, family: str | None) -> None:
    assert read_content(tensors({name: (4, 8)})).family == family


ATTENTION = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
JOINT = "transformer.transformer_blocks.0.attn"


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        ({f"{ATTENTION}.hada_w1_a": (320, 8), f"{ATTENTION}.hada_w1_b": (8, 768)}, "Stable Diffusion 1.x"),
        ({f"{ATTENTION}.hada_w1_a": (320, 8), f"{ATTENTION}.hada_w1_b": (8, 1024)}, "Stable Diffusion 2.x"),
        ({f"{ATTENTION}.lokr_w1": (4, 4), f"{ATTENTION}.lokr_w2_b": (8, 192)}, "Stable Diffusion 1.x"),
        (
            {
                f"{ATTENTION}.lokr_w1_a": (2, 2),
                f"{ATTENTION}.lokr_w1_b": (2, 4),
                f"{ATTENTION}.lokr_w2": (8, 512),
            },
            "SDXL",
        ),
        ({f"{ATTENTION}.lokr_w1": (4, 4)}, None),
        ({f"{JOINT}.to_k.lora_A.weight": (8, 1536)}, "Stable Diffusion 3"),
        ({f"{JOINT}.add_q_proj.lora_A.default.weight": (8, 2432)}, "Stable Diffusion 3"),
        ({f"{JOINT}.to_k.lora_A.weight": (8, 3072)}, None),
        ({"unet.down_blocks.0.transformer_blocks.0.attn.to_k.lora_A.weight": (8, 1536)}, None),
    ],
)
def test_a_networks_family_is_told_by_the_widths_of_its_factors(
    shapes: dict[str, tuple[int, ...]], family: str | None
) -> None:
    assert read_content(tensors(shapes)).family == family
