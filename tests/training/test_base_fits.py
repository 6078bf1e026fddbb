from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dataprep.errors import ConfigError, ModelError
from dataprep.inference.base import load_base
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared
from dataprep.training import base_fits
from dataprep.training.base_fits import (
    encoder_difference,
    fingerprint,
    latents_note,
    refuse_other_base,
    refuse_other_latents,
    refuse_other_target,
)


@pytest.fixture
def data(tmp_path: Path, base_path: Path) -> Prepared:
    """A folder whose latents were made for SD1 by the base model's own VAE."""
    from tiny import prepare_folder

    found = Prepared(prepare_folder(tmp_path / "set", base_path), TrainConfig())
    found.meta["settings"] = {"latents": {"family": "sd1"}}
    found.meta["models"]["vae"] = {"name": "tiny", "path": str(base_path / "vae")}
    return found


def saved_vae(folder: Path, **changes: Any) -> Path:
    """The tiny VAE with other weights where a name says so, as a folder."""
    from tiny import tiny_vae

    vae = tiny_vae()
    scale = changes.pop("scaling_factor", None)
    with torch.no_grad():
        for part, factor in changes.items():
            for parameter in getattr(vae, part).parameters():
                parameter.mul_(factor)
    vae.save_pretrained(folder)
    if scale is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"scaling_factor": scale}))
    return folder


def test_a_base_model_of_another_family_is_refused_with_the_command(data: Prepared, xl_path: Path) -> None:
    with pytest.raises(ModelError, match=r"family sdxl.*made for sd1.*VAE tiny.*--models 'sdxl, vae="):
        refuse_other_latents(xl_path, data)
    data.meta["settings"]["latents"]["family"] = "sdxl"
    refuse_other_latents(xl_path, data)


def test_another_scaling_factor_is_another_kind_of_latents(
    data: Prepared, base_path: Path, tmp_path: Path
) -> None:
    refuse_other_latents(base_path, data)
    data.meta["models"]["vae"]["path"] = str(saved_vae(tmp_path / "vae", scaling_factor=0.13025))
    with pytest.raises(ModelError, match=r"scaling factor 0\.13025, this one's 0\.5"):
        refuse_other_latents(base_path, data)


def test_a_vae_with_another_encoder_is_said_and_one_with_another_decoder_is_not(
    data: Prepared, base_path: Path, tmp_path: Path
) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    assert latents_note(base, data) is None
    data.meta["models"]["vae"]["path"] = str(saved_vae(tmp_path / "decoder", decoder=1.5))
    assert latents_note(base, data) is None
    data.meta["models"]["vae"]["path"] = str(saved_vae(tmp_path / "encoder", encoder=1.5))
    note = latents_note(base, data) or ""
    assert "encoders differ by" in note
    assert f"vae={base_path}" in note


def test_number_formats_make_no_difference_and_other_shapes_an_infinite_one() -> None:
    from tiny import diffusers, tiny_vae

    assert encoder_difference(tiny_vae(), tiny_vae().bfloat16()) < 0.01
    assert encoder_difference(tiny_vae(), diffusers.AutoencoderKL(norm_num_groups=4)) == float("inf")


def test_a_vae_that_is_gone_or_unknown_is_not_compared(data: Prepared, base_path: Path) -> None:
    data.meta["models"]["vae"]["path"] = "/nowhere"
    assert latents_note(load_base(base_path, "cpu", torch.float32), data) is None
    data.meta.clear()
    refuse_other_latents(base_path, data)


def test_a_base_model_is_known_by_its_content_not_its_name(base_path: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy, other = tmp_path / "copy", tmp_path / "other" / base_path.name
    shutil.copytree(base_path, copy)
    shutil.copytree(base_path, other)
    (copy / "readme.txt").write_text("a copy")
    (copy / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not loaded")
    assert fingerprint(copy) == fingerprint(base_path)
    weights = next((other / "unet").glob("*.safetensors"))
    tensors = load_file(weights)
    middle = sorted(tensors)[len(tensors) // 2]
    save_file(tensors | {middle: tensors[middle] + 1}, weights, {"format": "pt"})
    assert fingerprint(other) != fingerprint(base_path)
    settings = copy / "scheduler" / "scheduler_config.json"
    said = json.loads(settings.read_text())
    settings.write_text(json.dumps(said | {"_diffusers_version": "0"}))
    assert fingerprint(copy) == fingerprint(base_path)
    settings.write_text(json.dumps(said | {"prediction_type": "v_prediction"}))
    assert fingerprint(copy) != fingerprint(base_path)
    with pytest.raises(ModelError, match="cannot be read"):
        fingerprint(tmp_path / "nothing.safetensors")


def test_a_large_file_is_known_by_blocks_of_all_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_fits, "_WHOLE_BYTES", 1 << 20)
    path = tmp_path / "x.safetensors"
    content = bytearray(8 << 20)
    path.write_bytes(content)
    plain = fingerprint(path)
    for place in (0, len(content) * 31 // 63, len(content) - 1):
        changed = bytearray(content)
        changed[place] = 1
        path.write_bytes(changed)
        assert fingerprint(path) != plain


@pytest.mark.parametrize("name", ["zero_terminal_snr", "scale_v_like_noise"])
def test_what_needs_velocities_is_refused_by_the_models_configuration(
    base_path: Path, tmp_path: Path, name: str
) -> None:
    config = TrainConfig(**{name: True})
    with pytest.raises(ConfigError, match=f"{name} needs a v-prediction model; .* predicts eps"):
        refuse_other_target(base_path, config)
    refuse_other_target(base_path, config.model_copy(update={"target": "v"}))
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "v_prediction"}')
    refuse_other_target(tmp_path, config)


def test_a_checkpoint_that_tells_no_base_model_goes_on_with_any(base_path: Path) -> None:
    refuse_other_base({"step": 1}, base_path)
    with pytest.raises(ConfigError, match="another base model, /there"):
        refuse_other_base({"fingerprint": "f", "base": "/there"}, base_path)
