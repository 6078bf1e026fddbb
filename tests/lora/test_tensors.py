from __future__ import annotations

import pytest
import torch
from torch import nn

from dataprep.inference.lora import delta
from dataprep.inference.torch_compat import prepare_torch
from dataprep.lora.tensors import ADAPTER, kohya_tensors
from dataprep.train.config import TrainConfig
from dataprep.train.network import Size, inject

prepare_torch()  # before peft is imported

PATH = "mid_block.attentions.0.proj_in"
KEY = "lora_unet_mid_block_attentions_0_proj_in"


class _Part(nn.Module):
    """One changed layer under a path that a U-Net has."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.mid_block = nn.ModuleDict({"attentions": nn.ModuleList([nn.ModuleDict({"proj_in": layer})])})


def changed(layer: nn.Module, network: str, rank: int = 4, alpha: float = 3.0) -> nn.Module:
    """A layer with a change that is not zero, in a model."""
    torch.manual_seed(0)
    model = _Part(layer).requires_grad_(False)
    inject(model, {PATH: Size(rank, alpha)}, TrainConfig(network=network, rank=rank, alpha=alpha))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def told(model: nn.Module, family: str = "sd1") -> dict[str, torch.Tensor]:
    return dict(kohya_tensors(model, "unet", family))


@pytest.mark.parametrize("layer", [nn.Linear(12, 20), nn.Conv2d(12, 20, 1), nn.Conv2d(12, 20, 3)], ids=str)
@pytest.mark.parametrize("network", ["locon", "loha", "lokr"])
def test_the_tensors_give_pefts_change_by_the_published_formula(network: str, layer: nn.Module) -> None:
    model = changed(layer, network)
    tensors = told(model)
    parts = {key.partition(".")[2]: tensor for key, tensor in tensors.items()}
    assert {key.partition(".")[0] for key in tensors} == {KEY}
    wanted = model.get_submodule(PATH).get_delta_weight(ADAPTER).detach()
    assert float(wanted.abs().max()) > 0.01
    torch.testing.assert_close(delta(parts).reshape(wanted.shape), wanted, atol=1e-5, rtol=1e-4)


def test_lora_comes_as_down_up_and_the_alpha_that_was_set() -> None:
    tensors = told(changed(nn.Linear(12, 20), "lora", rank=4, alpha=3.0))
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == {
        f"{KEY}.lora_down.weight": (4, 12),
        f"{KEY}.lora_up.weight": (20, 4),
        f"{KEY}.alpha": (),
    }
    assert float(tensors[f"{KEY}.alpha"]) == 3.0


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(12, 20), (20, 1)), (nn.Conv2d(12, 20, 3), (20, 1, 1, 1))], ids=str
)
def test_dora_adds_its_magnitudes_as_one_row_an_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    before = layer.weight.detach().clone()
    tensors = told(changed(layer, "dora"))
    found = tensors[f"{KEY}.dora_scale"]
    assert found.shape == shape
    torch.testing.assert_close(found.flatten(), before.flatten(1).norm(dim=1))


def test_lokr_with_both_factors_whole_says_a_scale_of_one() -> None:
    # 4 x 4 = (2 x 2) x (2 x 2): rank 4 is more than either factor holds, so neither is split.
    tensors = told(changed(nn.Linear(4, 4), "lokr", rank=4, alpha=2.0))
    assert set(tensors) == {f"{KEY}.lokr_w1", f"{KEY}.lokr_w2", f"{KEY}.alpha"}
    assert float(tensors[f"{KEY}.alpha"]) == 4.0  # of rank 4: readers that divide get 1, as those that do not


def test_sdxl_takes_stabilitys_numbering_and_untouched_layers_say_nothing() -> None:
    model = changed(nn.Linear(12, 20), "lora")
    model.mid_block["resnets"] = nn.ModuleList([nn.Linear(3, 3)])
    assert {key.partition(".")[0] for key in told(model, "sdxl")} == {"lora_unet_middle_block_1_proj_in"}
