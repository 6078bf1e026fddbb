"""Finding a VAE in what the user has: a diffusers folder, a VAE file, a whole checkpoint; never the network.

A single file holds weights only; its architecture is read from the shapes of its tensors.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.errors import InputError, ModelError
from dataprep.export.kohya_rules import FLUX_SCALE
from dataprep.lora.header import TensorInfo, read_header
from dataprep.lora.network_keys import read_content

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_PREFIXES = ("first_stage_model.", "vae.", "")  # of the VAE's tensors in a checkpoint
# Family of a whole checkpoint -> the scaling factor of its VAE
FAMILY_SCALINGS: Mapping[str, float] = {
    "Stable Diffusion 1.x": 0.18215,
    "Stable Diffusion 2.x": 0.18215,
    "SDXL": 0.13025,
    "SDXL refiner": 0.13025,
    "Stable Diffusion 3": 1.5305,
    "FLUX": FLUX_SCALE,
}
# The same block in the original names and in diffusers'
_BLOCK = re.compile(r"encoder\.(?:down|down_blocks)\.(\d+)\.(?:block|resnets)\.(\d+)\.conv1\.weight")


def load_vae(path: Path) -> AutoencoderKL:
    """Load a VAE in float32, on the CPU.

    Args:
        path: a folder in diffusers layout (of the VAE, or of a model with a `vae` folder), or a .safetensors
            or .sft file (a VAE, or a checkpoint that contains one).
    Raises:
        ModelError: there is none, it is broken, or it is a pickle.
    """
    from dataprep.inference.torch_compat import prepare_torch

    prepare_torch()
    if path.is_dir():
        return _from_folder(path / "vae" if (path / "vae" / "config.json").is_file() else path)
    if path.suffix in _PICKLES:
        raise ModelError(
            f"{path}: is a pickle, which runs programs when loaded and is not opened; convert it to "
            ".safetensors with a tool you trust, on a machine you can lose, or fetch it in that format"
        )
    if not path.is_file():
        raise ModelError(f"{path}: there is no such VAE; give a diffusers folder or a .safetensors file")
    return _from_file(path)


def told_scaling(path: Path) -> float | None:
    """The scaling factor that a VAE's own files tell, None where nothing does: a VAE alone in one file.

    Args:
        path: as for `load_vae`, which has loaded it.
    """
    if path.is_dir():
        folder = path / "vae" if (path / "vae" / "config.json").is_file() else path
        found = json.loads((folder / "config.json").read_text("utf-8")).get("scaling_factor")
        return None if found is None else float(found)
    return FAMILY_SCALINGS.get(read_content(read_header(path).tensors).family or "")


def _from_folder(folder: Path) -> AutoencoderKL:
    import torch
    from diffusers import AutoencoderKL

    if not list(folder.glob("*.safetensors")) and list(folder.glob("*.bin")):
        raise ModelError(
            f"{folder}: holds only a pickle (.bin), which runs programs when loaded; fetch the "
            ".safetensors file"
        )
    try:
        return AutoencoderKL.from_pretrained(
            folder, torch_dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: is no VAE in diffusers layout: {error}") from error


def _from_file(path: Path) -> AutoencoderKL:
    import torch
    from diffusers import AutoencoderKL
    from safetensors import SafetensorError

    try:
        tensors = read_header(path).tensors
    except InputError as error:
        raise ModelError(str(error)) from error
    try:
        config = architecture(path, tensors)
    except (KeyError, IndexError) as error:
        raise ModelError(f"{path}: its VAE lacks tensors or has them in strange shapes: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), "utf-8")
        try:
            # Read here: diffusers tells the format by the file's name, and FLUX's VAE is published as ae.sft.
            return AutoencoderKL.from_single_file(
                _weights(path, tensors), config=folder, local_files_only=True, torch_dtype=torch.float32
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise ModelError(f"{path}: its VAE does not load: {error}") from error


def _prefix(tensors: Mapping[str, TensorInfo]) -> str | None:
    """What the names of the VAE's tensors begin with; None where there is no VAE."""
    return next((start for start in _PREFIXES if f"{start}encoder.conv_in.weight" in tensors), None)


def _weights(path: Path, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The VAE's tensors of a file, by their names there."""
    from safetensors import safe_open

    prefix = _prefix(tensors) or ""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in tensors if name.startswith(prefix)}


def architecture(path: Path, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The diffusers configuration of the VAE in a file, told by its tensors' shapes.

    Raises:
        ModelError: there is no VAE in it.
    """
    prefix = _prefix(tensors)
    if prefix is None or f"{prefix}decoder.conv_in.weight" not in tensors:
        raise ModelError(
            f"{path}: there is no VAE in this file (no tensor encoder.conv_in.weight); give the "
            "checkpoint or VAE that belongs to the base model"
        )
    vae = {name.removeprefix(prefix): info for name, info in tensors.items() if name.startswith(prefix)}
    blocks: dict[int, list[int]] = {}
    for name, info in vae.items():
        if match := _BLOCK.fullmatch(name):
            blocks.setdefault(int(match[1]), []).append(info.shape[0])
    channels = [blocks[level][0] for level in sorted(blocks)]
    if not channels:
        raise ModelError(f"{path}: its VAE is of a kind that is not known here")
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": len(blocks[0]),
        "latent_channels": vae["decoder.conv_in.weight"].shape[1],
        "norm_num_groups": min(32, channels[0]),
        "use_quant_conv": "quant_conv.weight" in vae,
        "use_post_quant_conv": "post_quant_conv.weight" in vae,
        "mid_block_add_attention": any(".mid.attn_1." in n or ".mid_block.attentions." in n for n in vae),
        "act_fn": "silu",
        "sample_size": 512,
    }
