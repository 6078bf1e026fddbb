from __future__ import annotations

import pytest
import torch

from dataprep.inference.torch_compat import prepare_torch
from dataprep.lora.tensors import ADAPTER
from dataprep.train.config import TrainConfig
from dataprep.train.network import Size, inject

prepare_torch()  # before peft is imported


@pytest.mark.parametrize("bias", [True, False])
def test_the_joined_low_rank_layer_has_pefts_output_and_gradients(bias: bool) -> None:
    from peft.tuners.lora.layer import Linear

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 20, bias=bias)).requires_grad_(False)
    inject(model, {"0": Size(4, 3.0)}, TrainConfig(rank=4, alpha=3))
    torch.nn.init.normal_(model[0].lora_B[ADAPTER].weight)
    model.double()
    found = []
    for forward in (model[0].forward, lambda x: Linear.forward(model[0], x)):
        x = torch.linspace(-2, 2, 2 * 5 * 12, dtype=torch.float64).view(2, 5, 12).requires_grad_()
        answer = forward(x)
        learned = [p for p in model.parameters() if p.requires_grad]
        found.append([answer, *torch.autograd.grad(answer.sin().sum(), [x, *learned])])
    assert type(found[0][0].grad_fn).__name__ == "LowRankBackward"
    assert type(found[1][0].grad_fn).__name__ != "LowRankBackward"
    for ours, pefts in zip(*found, strict=True):
        torch.testing.assert_close(ours, pefts)


def test_mixed_precision_and_dropout_are_left_to_peft() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(12, 20)).requires_grad_(False)
    inject(model, {"0": Size(4, 3.0)}, TrainConfig(rank=4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = model(torch.ones(2, 12))
    assert answer.dtype == torch.bfloat16
    assert type(answer.grad_fn).__name__ != "LowRankBackward"
    dropped = torch.nn.Sequential(torch.nn.Linear(12, 20)).requires_grad_(False)
    inject(dropped, {"0": Size(4, 3.0)}, TrainConfig(rank=4, dropout=0.5))
    assert type(dropped(torch.ones(2, 12)).grad_fn).__name__ != "LowRankBackward"
