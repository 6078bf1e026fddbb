"""What a weights file is, told by the names and shapes of its tensors: kind, rank, base-model family."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dataprep.lora.header import TensorInfo

# First match wins: the more particular marks stand first.
_NETWORKS = (
    (".dora_scale", "DoRA"),
    (".hada_w1_a", "LoHa"),
    (".lokr_w1", "LoKr"),
    (".lokr_w1_a", "LoKr"),
    (".oft_blocks", "OFT"),
    (".oft_diag", "OFT"),
    (".on_input", "IA3"),
    (".a1.weight", "GLoRA"),
    (".lora_mid.weight", "LoCon (Tucker)"),
    (".lora_down.weight", "LoRA"),
    (".lora_A.weight", "LoRA (peft names)"),
    (".lora_A.default.weight", "LoRA (peft names)"),
    (".lora.down.weight", "LoRA (early diffusers names)"),
    ("_lora.down.weight", "LoRA (early diffusers names)"),
    (".diff", "full difference"),
)
_DOWN = (".lora_down.weight", ".lora_A.weight", "lora.down.weight", ".hada_w1_b", ".lokr_w2_b", ".lokr_w1_b")
# Width of the text encoder that cross-attention reads -> family
_CONTEXT_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}
_CROSS_ATTENTION = ("attn2_to_k", "attn2.to_k", "attn2.processor.to_k_lora")
# Of SD3 in diffusers' names; FLUX's blocks of these names, and other transformers', are 3072 wide.
_SD3_ATTENTION = re.compile(
    r"(?:transformer\.)?transformer_blocks\.\d+\.attn\.(?:to|add)_[qkv](?:_proj)?\.lora_A(?:\.\w+)?\.weight"
)
_SD3_WIDTHS = ((1536,), (2432,))  # SD3 and SD3.5 medium; SD3.5 large
_PARTS = ("U-Net", "transformer", "text encoder", "text encoder 2")
# Beginning of a key -> what the file is and of which family, None where the family has to be told by shapes
_WHOLE_FILES = (
    ("conditioner.embedders.1.", ("checkpoint", "SDXL")),
    ("conditioner.embedders.0.model.", ("checkpoint", "SDXL refiner")),
    ("cond_stage_model.model.", ("checkpoint", "Stable Diffusion 2.x")),
    ("cond_stage_model.transformer.", ("checkpoint", "Stable Diffusion 1.x")),
    ("model.diffusion_model.joint_blocks.", ("checkpoint", "Stable Diffusion 3")),
    ("model.diffusion_model.double_blocks.", ("checkpoint", "FLUX")),
    ("control_model.", ("ControlNet", None)),
    ("controlnet_", ("ControlNet", None)),
    ("model.diffusion_model.", ("checkpoint", None)),
    ("joint_blocks.", ("transformer alone", "Stable Diffusion 3")),
    ("double_blocks.", ("transformer alone", "FLUX")),
    ("first_stage_model.", ("VAE", None)),
    ("decoder.up", ("VAE", None)),
    ("down_blocks.", ("U-Net alone", None)),
    ("text_model.encoder.", ("text encoder alone", None)),
    ("emb_params", ("textual inversion", None)),
    ("clip_g", ("textual inversion", "SDXL")),
)
_LORA_FAMILIES = (
    (("double_blocks", "single_transformer_blocks"), "FLUX"),
    (("joint_blocks",), "Stable Diffusion 3"),
    (("lora_te2_", "text_encoder_2.", "lora_unet_input_blocks_4_1", "lora_unet_middle_block"), "SDXL"),
)


@dataclass(frozen=True)
class Content:
    """What the tensors say."""

    kind: str  # such as "LoRA", "LoCon", "checkpoint", "VAE"
    family: str | None  # of the base model, None if the tensors do not tell
    modules: int  # adapted modules of a network, 0 for other files
    parts: Mapping[str, int]  # "U-Net", "text encoder", ... -> modules
    ranks: Mapping[int, int]  # rank -> modules
    dtypes: Mapping[str, int]  # number format -> tensors


def read_content(tensors: Mapping[str, TensorInfo]) -> Content:
    """Tell what a file is by its tensors' names and shapes."""
    dtypes = dict(Counter(tensor.dtype for tensor in tensors.values()).most_common())
    network = next((kind for mark, kind in _NETWORKS if any(name.endswith(mark) for name in tensors)), None)
    if network is None:
        kind, family = _whole_file(tensors)
        return Content(kind, family, 0, {}, {}, dtypes)
    modules = {module_of(name) for name in tensors}
    if network == "LoRA" and any(_is_conv3(name, tensor) for name, tensor in tensors.items()):
        network = "LoCon (LoRA with convolutions)"
    counts = Counter(map(_part, modules))
    parts = {part: counts[part] for part in _PARTS if counts[part]}
    return Content(network, _lora_family(tensors), len(modules), parts, _ranks(tensors), dtypes)


def module_of(name: str) -> str:
    """The adapted module that a network's tensor belongs to."""
    for mark in (".lora_", ".lora.", "_lora.", ".hada_", ".lokr_", ".oft_", ".alpha", ".dora_scale", ".diff"):
        head, found, _ = name.partition(mark)
        if found:
            return head
    return name.rpartition(".")[0]


def _is_conv3(name: str, tensor: TensorInfo) -> bool:
    return name.endswith(".lora_down.weight") and tensor.shape[2:] == (3, 3)


def _ranks(tensors: Mapping[str, TensorInfo]) -> dict[int, int]:
    ranks: dict[str, int] = {}
    for name, tensor in tensors.items():
        if name.endswith(_DOWN) and tensor.shape:
            ranks.setdefault(module_of(name), tensor.shape[0])
    return dict(Counter(ranks.values()).most_common())


def _part(module: str) -> str:
    if module.startswith(("lora_te2", "text_encoder_2.")):
        return "text encoder 2"
    if module.startswith(("lora_te", "text_encoder.")):
        return "text encoder"
    return "U-Net" if "unet" in module or module.startswith("down_blocks") else "transformer"


def _lora_family(tensors: Mapping[str, TensorInfo]) -> str | None:
    for marks, family in _LORA_FAMILIES:
        if any(mark in name for name in tensors for mark in marks):
            return family
    if any(
        _SD3_ATTENTION.match(name) and tensor.shape[1:] in _SD3_WIDTHS for name, tensor in tensors.items()
    ):
        return "Stable Diffusion 3"
    ends = (".lora_down.weight", ".lora_A.weight", "lora.down.weight", ".hada_w1_b")
    return _by_context_width(tensors, ends) or _by_kronecker_width(tensors)


def _by_kronecker_width(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The family by LoKr's two factors, whose widths multiply; each may be split in two again."""
    for name in tensors:
        module, found, _ = name.partition(".lokr_w1")
        if not found or not any(mark in name for mark in _CROSS_ATTENTION):
            continue
        halves = ([tensors.get(f"{module}.lokr_w{n}{end}") for end in ("", "_b")] for n in (1, 2))
        widths = [next((t.shape[1] for t in half if t and len(t.shape) >= 2), 0) for half in halves]
        return _CONTEXT_WIDTHS.get(widths[0] * widths[1])
    return None


def _by_context_width(tensors: Mapping[str, TensorInfo], ends: tuple[str, ...]) -> str | None:
    for name, tensor in tensors.items():
        if any(mark in name for mark in _CROSS_ATTENTION) and name.endswith(ends) and len(tensor.shape) >= 2:
            return _CONTEXT_WIDTHS.get(tensor.shape[1])
    return None


def _whole_file(tensors: Mapping[str, TensorInfo]) -> tuple[str, str | None]:
    found = _first_beginning(tensors)
    if found is None:
        return "unknown", None
    kind, family = found
    return kind, family or _by_context_width(tensors, (".weight",))


def _first_beginning(names: Iterable[str]) -> tuple[str, str | None] | None:
    beginnings = list(names)
    for start, found in _WHOLE_FILES:
        if any(name.startswith(start) for name in beginnings):
            return found
    return None
