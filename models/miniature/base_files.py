"""How the miniature's text-to-image model lies on disk: diffusers layout, fp16, without tokenizer files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from models.miniature.learning import replace_file, replace_folder

if TYPE_CHECKING:
    from models.miniature.base import TextToImage

PREFIX = "text_model."


def save_base(model: TextToImage, scheduler: diffusers.DDPMScheduler, folder: Path) -> None:
    """Write unet/, text_encoder/, scheduler/ and model_index.json, each swapped in whole."""
    replace_folder(lambda path: save_half(model.unet, path), folder / "unet")
    replace_folder(lambda path: save_text_encoder(model.text_encoder, path), folder / "text_encoder")
    replace_folder(lambda path: scheduler.save_pretrained(path), folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    replace_file(
        lambda path: write_text(path, json.dumps(index, indent=2) + "\n"), folder / "model_index.json"
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text."""
    path.write_text(text, "utf-8")


def half_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's weights in fp16, contiguous, on their own memory."""
    return {
        name: value.detach()
        .to(torch.float16 if value.is_floating_point() else value.dtype)
        .contiguous()
        .clone()
        for name, value in model.state_dict().items()
    }


def save_half(unet: diffusers.UNet2DConditionModel, folder: Path) -> None:
    """Write the U-Net's configuration and fp16 weights."""
    folder.mkdir(parents=True)
    unet.save_config(folder)
    save_file(half_weights(unet), folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})


def save_text_encoder(encoder: transformers.CLIPTextModel, folder: Path) -> None:
    """Write the text encoder with the `text_model.` prefix that every release of transformers reads.

    transformers 5 writes the keys without it, and then transformers 4 finds no weights at all.
    """
    encoder.config.save_pretrained(folder)
    weights = {
        name if name.startswith(PREFIX) else PREFIX + name: value
        for name, value in half_weights(encoder).items()
        if not name.endswith("position_ids")
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def weight_names(folder: Path) -> list[str]:
    """The tensors' names in a folder's model.safetensors."""
    return sorted(load_file(folder / "model.safetensors"))


def load_base_parts(
    folder: Path,
) -> tuple[diffusers.UNet2DConditionModel, transformers.CLIPTextModel, diffusers.AutoencoderKL]:
    """U-Net, text encoder and VAE from the folder, float32, ready to draw."""
    return (
        diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").float().eval(),
        transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval(),
        diffusers.AutoencoderKL.from_pretrained(folder / "vae").float().eval(),
    )
