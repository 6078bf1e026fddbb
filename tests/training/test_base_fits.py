from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dataprep.errors import ModelError
from dataprep.inference.base import load_base
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared
from dataprep.training.base_fits import encoder_difference, latents_note, refuse_other_latents


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
