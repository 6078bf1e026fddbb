from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from dataprep.errors import ModelError
from dataprep.inference.torch_compat import prepare_torch
from dataprep.inference.vae import Vae
from dataprep.inference.vae_files import load_vae, told_scaling
from dataprep.models import find


def tiny(**changes: Any) -> Any:
    prepare_torch()
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    settings = {
        "block_out_channels": (32, 32, 64), "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3, "layers_per_block": 2, "latent_channels": 4,
    }  # fmt: skip
    return AutoencoderKL(**(settings | changes))


def original_names(state: dict[str, Any], levels: int) -> dict[str, Any]:
    """A VAE's weights under the names of the original training program, as checkpoints have them."""
    renamed = {}
    for name, tensor in state.items():
        for old, new in (
            ("mid_block.attentions.0", "mid.attn_1"), ("mid_block.resnets.0", "mid.block_1"),
            ("mid_block.resnets.1", "mid.block_2"), ("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"),
            ("to_v", "v"), ("to_out.0", "proj_out"), ("conv_norm_out", "norm_out"), ("down_blocks", "down"),
            ("downsamplers.0", "downsample"), ("upsamplers.0", "upsample"), ("resnets", "block"),
            ("conv_shortcut", "nin_shortcut"),
        ):  # fmt: skip
            name = name.replace(old, new)
        for level in range(levels):
            name = name.replace(f"up_blocks.{level}.", f"up.{levels - 1 - level}.")
        if "attn_1" in name and name.endswith("weight") and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]
        renamed[name] = tensor.contiguous().clone()
    return renamed


def encode(model: Any) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
    return Vae(lambda: model).encode([image])


@pytest.mark.parametrize(
    "changes", [{}, {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}]
)
@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_vae_in_the_original_names_is_read_alone_and_from_a_checkpoint(
    tmp_path: Path, prefix: str, changes: dict[str, Any]
) -> None:
    import torch

    model = tiny(**changes)
    tensors = {f"{prefix}{name}": value for name, value in original_names(model.state_dict(), 3).items()}
    if prefix:
        tensors |= {
            "model.diffusion_model.x": torch.zeros(1),
            "cond_stage_model.transformer.y": torch.zeros(1),
        }
    save_file(tensors, tmp_path / "m.safetensors")
    assert np.allclose(encode(load_vae(tmp_path / "m.safetensors")), encode(model), atol=1e-6)


@pytest.mark.parametrize("name", ["ae.sft", "ae.safetensors"])
def test_a_file_is_read_under_fluxs_suffix_and_through_the_hubs_links(tmp_path: Path, name: str) -> None:
    model = tiny(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False)
    save_file(original_names(model.state_dict(), 3), tmp_path / "0a1b2c")
    (tmp_path / name).symlink_to("0a1b2c")
    assert np.allclose(encode(load_vae(find("vae", str(tmp_path / name)).path)), encode(model), atol=1e-6)


def test_diffusers_own_file_is_read_without_its_configuration(tmp_path: Path) -> None:
    model = tiny()
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    loaded = load_vae(tmp_path / "diffusion_pytorch_model.safetensors")
    assert np.allclose(encode(loaded), encode(model), atol=1e-6)


@pytest.mark.slow
def test_a_folder_is_read_of_a_vae_or_of_a_whole_model(tmp_path: Path) -> None:
    model = tiny()
    model.save_pretrained(tmp_path / "vae")
    for folder in (tmp_path, tmp_path / "vae"):
        assert np.allclose(encode(load_vae(folder)), encode(model), atol=1e-6)


def test_a_folder_that_holds_no_vae_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no VAE"):
        load_vae(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ModelError, match="no VAE"):
        load_vae(tmp_path)


@pytest.mark.parametrize("name", ["m.ckpt", "m.pt", "m.bin"])
def test_pickles_are_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02")
    with pytest.raises(ModelError, match=r"pickle.*convert it to \.safetensors"):
        load_vae(tmp_path / name)


def test_a_folder_with_only_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(ModelError, match="pickle"):
        load_vae(tmp_path)


def test_a_file_without_a_vae_is_named(tmp_path: Path) -> None:
    import torch

    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="no VAE in this file"):
        load_vae(tmp_path / "m.safetensors")
    (tmp_path / "m.safetensors").write_bytes(b"1234567890")
    with pytest.raises(ModelError, match="safetensors"):
        load_vae(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="no such VAE"):
        load_vae(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("mark", "scaling"),
    [
        ("conditioner.embedders.1.x", 0.13025),
        ("cond_stage_model.transformer.x", 0.18215),
        ("model.diffusion_model.double_blocks.0.x", 0.3611),
        ("", None),
    ],
)
def test_a_checkpoint_tells_the_scaling_factor_of_its_vae_and_a_vae_alone_does_not(
    tmp_path: Path, mark: str, scaling: float | None
) -> None:
    tensors = {f"first_stage_model.{k}": v for k, v in original_names(tiny().state_dict(), 3).items()}
    file = tmp_path / "one.safetensors"
    save_file(
        tensors | ({mark: tensors["first_stage_model.encoder.conv_in.bias"].clone()} if mark else {}), file
    )
    load_vae(file)
    assert told_scaling(file) == scaling


def test_a_folder_tells_the_scaling_factor_only_where_its_configuration_does(tmp_path: Path) -> None:
    tiny(scaling_factor=0.13025).save_pretrained(tmp_path / "model/vae")
    assert told_scaling(tmp_path / "model") == told_scaling(tmp_path / "model/vae") == 0.13025
    config = tmp_path / "model/vae/config.json"
    config.write_text(config.read_text().replace('"scaling_factor": 0.13025,', ""))
    assert told_scaling(tmp_path / "model") is None
