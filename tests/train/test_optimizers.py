from __future__ import annotations

import copy

import pytest
import torch

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig
from dataprep.train.optimizers import OPTIMIZERS, SCHEDULES, lr_at, make_optimizer

PACKAGES = {"lion": "pytorch_optimizer", "prodigy": "pytorch_optimizer", "dadaptadam": "pytorch_optimizer"}
PACKAGES |= {"adamw8bit": "bitsandbytes"}


@pytest.mark.parametrize("schedule", ["constant", *SCHEDULES])
@pytest.mark.parametrize("warmup", [0, 7, 0.25])
def test_rates_equal_diffusers_schedules(schedule: str, warmup: float) -> None:
    import tiny  # noqa: F401  prepares torch for diffusers
    from diffusers.optimization import get_scheduler

    steps, cycles, power = 40, 3, 2.0
    config = TrainConfig(schedule=schedule, warmup=warmup, cycles=cycles, power=power)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    warm = round(warmup * steps) if warmup < 1 else int(warmup)
    theirs = get_scheduler(
        schedule, optimizer, num_warmup_steps=warm, num_training_steps=steps, num_cycles=cycles, power=power
    )
    for step in range(steps):
        assert lr_at(config, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=2e-7), step
        optimizer.step()
        theirs.step()


def problem() -> list[dict[str, object]]:
    torch.manual_seed(0)
    return [{"params": [torch.nn.Parameter(torch.randn(8, 8))], "lr": 0.05, "initial_lr": 0.05}]


def advance(optimizer: torch.optim.Optimizer, weight: torch.Tensor, steps: int) -> float:
    loss = torch.zeros(())
    for _ in range(steps):
        loss = ((weight - 1) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_learns_and_resumes_to_the_same_bits(name: str) -> None:
    pytest.importorskip(PACKAGES.get(name, "torch"))
    groups = problem()
    weight = groups[0]["params"][0]  # type: ignore[index]
    optimizer = make_optimizer(TrainConfig(optimizer=name), groups)
    first = advance(optimizer, weight, 1)
    advance(optimizer, weight, 5)
    state, middle = copy.deepcopy(optimizer.state_dict()), weight.detach().clone()
    assert advance(optimizer, weight, 6) < first
    again = problem()
    other = again[0]["params"][0]  # type: ignore[index]
    other.data.copy_(middle)
    resumed = make_optimizer(TrainConfig(optimizer=name), again)
    resumed.load_state_dict(state)
    advance(resumed, other, 6)
    assert torch.equal(other, weight)


def test_arguments_reach_the_optimizer_and_unknown_ones_are_named() -> None:
    optimizer = make_optimizer(
        TrainConfig(optimizer_args={"weight_decay": 0.3, "betas": [0.8, 0.9]}), problem()
    )
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    with pytest.raises(ConfigError, match=r"optimizer_args: adamw has no colour; it takes betas"):
        make_optimizer(TrainConfig(optimizer_args={"colour": 1}), problem())
    with pytest.raises(ConfigError, match="lr is set by unet_rate"):
        make_optimizer(TrainConfig(optimizer_args={"lr": 1.0}), problem())
    with pytest.raises(ConfigError, match="optimizer_args: adamw: Invalid beta"):
        make_optimizer(TrainConfig(optimizer_args={"betas": [2, 3]}), problem())


def test_arguments_that_a_package_would_ignore_are_refused() -> None:
    pytest.importorskip("pytorch_optimizer")
    with pytest.raises(ConfigError, match=r"prodigy has no decouple; it takes .*weight_decouple"):
        make_optimizer(TrainConfig(optimizer="prodigy", optimizer_args={"decouple": True}), problem())


def test_adafactor_takes_the_rate_as_it_is() -> None:
    weight = torch.nn.Parameter(torch.zeros(8, 8))  # as a LoRA's second matrix begins
    groups = [{"params": [weight], "lr": 0.01, "initial_lr": 0.01}]
    advance(make_optimizer(TrainConfig(optimizer="adafactor"), groups), weight, 1)
    assert weight.detach().abs().mean() == pytest.approx(0.01, rel=0.1)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(ConfigError, match="pip install pytorch_optimizer"):
        make_optimizer(TrainConfig(optimizer="lion"), problem())


def test_every_named_optimizer_has_a_maker() -> None:
    names = TrainConfig.model_fields["optimizer"].annotation.__args__  # type: ignore[union-attr]
    assert set(names) == set(OPTIMIZERS)
