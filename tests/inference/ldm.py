"""Random tiny base models as one file in the original naming, the inverse of what the loader has to do."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from dataprep.lora.names import sgm_path

_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def unet_tensors(unet: Any) -> dict[str, Tensor]:
    """A diffusers U-Net's weights under `model.diffusion_model.`."""
    found = {}
    for name, tensor in unet.state_dict().items():
        module, end = name.rsplit(".", 1)
        if module in _UNET:
            path = _UNET[module]
        else:
            path = (
                sgm_path(module).replace("norm1", "in_layers.0")
                if ".resnets." in module
                else sgm_path(module)
            )
            path = path.replace("norm2", "out_layers.0") if ".resnets." in module else path
            if match := re.match(r"up_blocks\.(\d)\.upsamplers", module):
                attention = hasattr(unet.up_blocks[int(match[1])], "attentions")
                path = path if attention else path.replace(".2.conv", ".1.conv")
        found[f"model.diffusion_model.{path}.{end}"] = tensor
    return found


def vae_tensors(vae: Any) -> dict[str, Tensor]:
    """A diffusers VAE's weights under `first_stage_model.`; attention becomes 1x1 convolutions."""
    blocks = len(vae.config.block_out_channels)
    found = {}
    for name, tensor in vae.state_dict().items():
        path = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        path = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", path)
        path = re.sub(
            r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{blocks - 1 - int(m[1])}.block.{m[2]}", path
        )
        path = re.sub(
            r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", path
        )
        path = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", path)
        path = path.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
        path = path.replace("conv_shortcut", "nin_shortcut")
        if "attn_1" in path:
            for ours, theirs in (
                ("group_norm", "norm"),
                ("to_q", "q"),
                ("to_k", "k"),
                ("to_v", "v"),
                ("to_out.0", "proj_out"),
            ):
                path = path.replace(f".{ours}.", f".{theirs}.")
            tensor = tensor[:, :, None, None] if tensor.dim() == 2 else tensor
        found[f"first_stage_model.{path}"] = tensor
    return found


def clip_tensors(encoder: Any, prefix: str) -> dict[str, Tensor]:
    """A CLIP text encoder's weights as transformers named them when these files were made."""
    names = {
        name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith("position_ids")
    }
    return {
        prefix + (name if name.startswith("text_model.") else "text_model." + name): t
        for name, t in names.items()
    }


def open_clip_tensors(encoder: Any, prefix: str) -> dict[str, Tensor]:
    """A CLIP text encoder's weights in open_clip's naming, q, k and v in one matrix."""
    state = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    found = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        # SD2 files hold a projection that its loader reads the width from; only SDXL uses it.
        "text_projection": state.get("text_projection.weight", torch.eye(encoder.config.hidden_size)).T,
    }
    pairs = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    pairs |= {"self_attn.out_proj": "attn.out_proj"}
    for i in range(encoder.config.num_hidden_layers):
        ours, theirs = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
        for kind in ("weight", "bias"):
            parts = [state[f"{ours}self_attn.{x}_proj.{kind}"] for x in "qkv"]
            found[f"{theirs}attn.in_proj_{kind}"] = torch.cat(parts)
            found |= {f"{theirs}{b}.{kind}": state[f"{ours}{a}.{kind}"] for a, b in pairs.items()}
    return {prefix + name: tensor.contiguous() for name, tensor in found.items()}
