from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataprep.train import objective as o
from dataprep.train.config import TrainConfig

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "objective.json").read_text())
NOISE = json.loads((Path(__file__).parent.parent / "golden" / "noise.json").read_text())
ROWS = GOLDEN["timesteps"]
ALPHAS = torch.cumprod(
    1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0
).float()


def at(values: torch.Tensor) -> list[float]:
    return [float(values[row["t"]]) for row in ROWS]


def wanted(name: str) -> list[float]:
    return [row[name] for row in ROWS]


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_weights_of_each_timestep_equal_the_golden_numbers() -> None:
    snr = o.snr(ALPHAS)
    found = {
        "alpha_bar": ALPHAS,
        "snr": snr,
        "min_snr_eps": o.min_snr_weight(snr, 5, "eps"),
        "min_snr_v": o.min_snr_weight(snr, 5, "v"),
        "debiased_eps": o.debiased_weight(snr, "eps"),
        "debiased_v": o.debiased_weight(snr, "v"),
        "v_to_noise": o.v_to_noise_weight(snr),
        "huber_snr": o.huber_thresholds("snr", 0.1, ALPHAS),
        "zero_terminal": o.zero_terminal_snr(ALPHAS),
        "huber_exponential": o.huber_thresholds("exponential", 0.1, ALPHAS),
    }
    for name, values in found.items():
        assert at(values) == pytest.approx(wanted(name), rel=2e-4, abs=1e-7), name


def test_losses_of_each_element_equal_the_golden_numbers() -> None:
    for row in GOLDEN["elements"]:
        d, c = torch.tensor(row["d"]), torch.tensor(row["c"])
        for name, loss in o.LOSSES.items():
            assert float(loss(d, torch.tensor(0.0), c)) == pytest.approx(row[name], rel=1e-5), name


def test_combined_weights_are_their_product() -> None:
    snr = o.snr(ALPHAS)
    both = o.timestep_weights(TrainConfig(min_snr_gamma=5, debiased=True), "eps", snr)
    product = np.array(wanted("min_snr_eps")) * np.array(wanted("debiased_eps"))
    assert at(both) == pytest.approx(product.tolist(), rel=2e-4)


def test_targets_equal_diffusers() -> None:
    from tiny import diffusers

    scheduler = diffusers.DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    x, noise = torch.randn(3, 4, 8, 8, generator=drawn()), torch.randn(3, 4, 8, 8, generator=drawn(1))
    t = torch.tensor([0, 400, 999])
    alphas = scheduler.alphas_cumprod[t]
    torch.testing.assert_close(o.add_noise(x, noise, alphas), scheduler.add_noise(x, noise, t))
    torch.testing.assert_close(o.v_target(x, noise, alphas), scheduler.get_velocity(x, noise, t))
    assert o.eps_target(x, noise, alphas) is noise


def test_flow_target_leads_from_the_noised_latent_back_to_the_clean_one() -> None:
    x, noise = torch.randn(2, 4, 8, 8, generator=drawn()), torch.randn(2, 4, 8, 8, generator=drawn(1))
    sigmas = torch.tensor([0.25, 1.0])
    noised = o.add_noise_flow(x, noise, sigmas)
    torch.testing.assert_close(noised - sigmas.view(-1, 1, 1, 1) * o.flow_target(x, noise, sigmas), x)


def test_zero_terminal_schedule_ends_in_pure_noise_and_keeps_its_beginning() -> None:
    rescaled = o.zero_terminal_snr(ALPHAS)
    assert rescaled[-1] == 0
    assert rescaled[0] == pytest.approx(float(ALPHAS[0]))


def test_offset_noise_adds_one_value_to_each_channel() -> None:
    added = o.offset_noise(torch.zeros(2, 4, 8, 8), 0.1, drawn())
    assert (added == added[:, :, :1, :1]).all()
    values = torch.randn(2, 4, 1, 1, generator=drawn())
    torch.testing.assert_close(added[:, :, :1, :1], 0.1 * values)


def test_multires_noise_has_unit_deviation_and_more_power_in_coarse_shapes() -> None:
    plain = torch.randn(4, 4, 64, 64, generator=drawn())
    coarse = o.multires_noise(plain, 8, 0.8, drawn(1))
    assert float(coarse.std()) == pytest.approx(1, abs=1e-5)
    pooled = [torch.nn.functional.avg_pool2d(noise, 16).std() for noise in (plain, coarse)]
    assert pooled[1] > 4 * pooled[0]
    # Without iterations only the scale changes; one iteration is white noise of twice the parts.
    torch.testing.assert_close(o.multires_noise(plain, 0, 0.8, drawn()), plain / plain.std())
    one = o.multires_noise(plain, 1, 0.8, drawn(1))
    draw = drawn(1)
    torch.rand((), generator=draw)
    both = plain + torch.randn(plain.shape, generator=draw)
    torch.testing.assert_close(one, both / both.std())


def test_input_perturbation_changes_the_input_and_not_the_target() -> None:
    latents = torch.randn(2, 4, 8, 8, generator=drawn())
    plain = o.Objective(TrainConfig(), "eps", ALPHAS).noise(latents, drawn(5))
    perturbed = o.Objective(TrainConfig(input_perturbation=0.1), "eps", ALPHAS).noise(latents, drawn(5))
    torch.testing.assert_close(plain.answer, perturbed.answer)
    assert not torch.equal(plain.inputs, perturbed.inputs)


def test_timesteps_stay_in_their_range_and_reach_both_ends() -> None:
    objective = o.Objective(TrainConfig(min_timestep=10, max_timestep=13), "eps", ALPHAS)
    drawn_steps = objective.noise(torch.zeros(200, 4, 8, 8), drawn()).timesteps
    assert set(drawn_steps.tolist()) == {10, 11, 12}


def test_sample_weight_and_mask_multiply_the_mean_without_renormalising() -> None:
    objective = o.Objective(TrainConfig(min_snr_gamma=5), "eps", ALPHAS)
    noised = objective.noise(torch.zeros(2, 4, 8, 8), drawn())
    answer = noised.answer + 2
    half = torch.zeros(2, 1, 8, 8)
    half[:, :, :4] = 1
    losses = objective.losses(answer, noised, torch.tensor([1.0, 0.5]), half)
    torch.testing.assert_close(
        losses, 4 * 0.5 * torch.tensor([1.0, 0.5]) * objective.weights[noised.timesteps]
    )


def test_huber_uses_each_samples_own_threshold() -> None:
    objective = o.Objective(TrainConfig(loss="huber"), "eps", ALPHAS)
    noised = objective.noise(torch.zeros(3, 4, 8, 8), drawn())
    losses = objective.losses(noised.answer + 0.7, noised, torch.ones(3), None)
    c = objective.thresholds[noised.timesteps]
    torch.testing.assert_close(losses, 2 * c * ((0.49 + c**2).sqrt() - c))
    assert len(set(losses.tolist())) == 3


@pytest.mark.parametrize("case", NOISE["cases"], ids=lambda case: " ".join(case["settings"]) or "plain")
def test_each_kind_of_noise_equals_numbers_computed_apart(case: dict[str, Any]) -> None:
    latents = torch.tensor(NOISE["latents"])
    noised = o.Objective(TrainConfig(**case["settings"]), "eps", ALPHAS).noise(latents, drawn(NOISE["seed"]))
    assert noised.timesteps.tolist() == case["timesteps"]
    torch.testing.assert_close(noised.answer.flatten(), torch.tensor(case["answer"]), rtol=0, atol=2e-5)
    torch.testing.assert_close(noised.inputs.flatten(), torch.tensor(case["inputs"]), rtol=0, atol=2e-5)
