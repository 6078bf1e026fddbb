from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dataprep.errors import ModelError
from dataprep.inference.base import load_base
from dataprep.inference.lora import applied
from dataprep.lora.extract import extract
from dataprep.train.config import TrainConfig


@pytest.mark.parametrize("network", ["lora", "locon"])
def test_a_low_rank_change_is_extracted_whole(network: str, base_path: Path, tmp_path: Path) -> None:
    base, tuned = (load_base(base_path, "cpu", torch.float32) for _ in range(2))
    layers = {
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 64,
        "mid_block.resnets.0.conv1": 64,
        "down_blocks.0.attentions.0.proj_in": 32,
    }
    draw = torch.Generator().manual_seed(0)
    for name in layers:
        weight = tuned.unet.get_submodule(name).weight
        rows = weight.flatten(1).shape
        change = torch.randn(rows[0], 3, generator=draw) @ torch.randn(3, rows[1], generator=draw)
        weight.data += 0.1 * change.reshape(weight.shape)
    found = extract(tuned, base, TrainConfig(network=network, rank=4))
    assert min(found.kept.values()) > 0.999999
    save_file(found.tensors, tmp_path / "x.safetensors")
    with applied(tmp_path / "x.safetensors", base):
        for name in layers:
            if network == "locon" or "conv1" not in name:
                torch.testing.assert_close(
                    base.unet.get_submodule(name).weight,
                    tuned.unet.get_submodule(name).weight,
                    atol=1e-5,
                    rtol=1e-4,
                )


def test_energy_kept_falls_with_the_rank(base_path: Path) -> None:
    base, tuned = (load_base(base_path, "cpu", torch.float32) for _ in range(2))
    name = "mid_block.attentions.0.proj_in"
    weight = tuned.unet.get_submodule(name).weight
    weight.data += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    kept = [
        extract(tuned, base, TrainConfig(rank=rank)).kept["lora_unet_" + name.replace(".", "_")]
        for rank in (2, 16, 64)
    ]
    assert kept[0] < kept[1] < kept[2] == pytest.approx(1)
    assert kept[0] < 0.3


def test_models_of_two_families_have_no_common_ancestor(base_path: Path, xl_path: Path) -> None:
    base, other = (load_base(path, "cpu", torch.float32) for path in (base_path, xl_path))
    with pytest.raises(ModelError, match="no common ancestor"):
        extract(other, base, TrainConfig())
