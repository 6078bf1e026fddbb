"""What is learned from: noise, timesteps, targets, loss; each one small function picked once from a table.

B is the batch, (C, H, W) a latent; timesteps 0 .. T - 1 run from nearly clean to nearly pure noise, and
alpha-bar (T,) falls from 1 to 0 along them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dataprep.inference.base import Prediction
from dataprep.train.config import TrainConfig

# sd-scripts' ceiling for weights that divide by the signal-to-noise ratio, which is 1,175 at t = 0.
MAX_SNR = 1000.0


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale sqrt(alpha-bar) so that the last timestep holds no signal and the first is unchanged.

    Source: Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """
    root = alphas_cumprod.sqrt()  # (T,)
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * first / (first - last)) ** 2


def snr(alphas_cumprod: Tensor) -> Tensor:
    """Signal-to-noise ratio alpha-bar / (1 - alpha-bar) of each timestep, (T,)."""
    return alphas_cumprod / (1 - alphas_cumprod)


# --- noise ----------------------------------------------------------------------------------------


def randn(like: Tensor, draw: Generator) -> Tensor:
    """Normal noise of a tensor's shape, drawn on the CPU so that it is the same on every device."""
    return torch.randn(like.shape, generator=draw, dtype=torch.float32).to(like.device)


def offset_noise(noise: Tensor, strength: float, draw: Generator) -> Tensor:
    """Noise (B, C, H, W) with one random value added to each channel, so that brightness is learned too.

    Source: Guttenberg 2023, crosslabs.org.
    """
    return noise + strength * randn(noise[:, :, :1, :1], draw)


def multires_noise(noise: Tensor, iterations: int, discount: float, draw: Generator) -> Tensor:
    """Noise (B, C, H, W) with ever coarser layers added, scaled to unit deviation.

    Each layer is 2 to 4 times coarser than the one before and weighted by discount to its number; a layer one
    latent cell high or wide is the last. Source: Whitaker 2023, "Multi-resolution noise".
    """
    b, c, height, width = noise.shape
    for i in range(iterations):
        shrink = (2 + 2 * torch.rand((), generator=draw).item()) ** i
        h, w = max(1, int(height / shrink)), max(1, int(width / shrink))
        layer = torch.randn(b, c, h, w, generator=draw).to(noise.device)
        noise = noise + discount**i * F.interpolate(layer, size=(height, width), mode="bilinear")
        if h == 1 or w == 1:
            break
    return noise / noise.std()


# --- targets: of latents x, noise and each sample's level (B,) --------------------------------------


def add_noise(x: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """sqrt(alpha-bar) x + sqrt(1 - alpha-bar) noise."""
    a = alphas.view(-1, 1, 1, 1)
    return a.sqrt() * x + (1 - a).sqrt() * noise


def add_noise_flow(x: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """(1 - sigma) x + sigma noise: the straight line of rectified flow, sigma in 0 to 1."""
    s = sigmas.view(-1, 1, 1, 1)
    return (1 - s) * x + s * noise


def eps_target(x: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """The noise itself."""
    return noise


def v_target(x: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """Velocity sqrt(alpha-bar) noise - sqrt(1 - alpha-bar) x. Salimans & Ho 2022, arXiv:2202.00512."""
    a = alphas.view(-1, 1, 1, 1)
    return a.sqrt() * noise - (1 - a).sqrt() * x


def flow_target(x: Tensor, noise: Tensor, sigmas: Tensor) -> Tensor:
    """noise - x, the line's constant direction. Source: Liu et al. 2022, arXiv:2209.03003."""
    return noise - x


Mix = Callable[[Tensor, Tensor, Tensor], Tensor]
NOISED: dict[Prediction, Mix] = {"eps": add_noise, "v": add_noise, "flow": add_noise_flow}
TARGETS: dict[Prediction, Mix] = {"eps": eps_target, "v": v_target, "flow": flow_target}


# --- losses: of each element; c (B, 1, 1, 1) is Huber's threshold ----------------------------------


def l2(prediction: Tensor, target: Tensor, c: Tensor) -> Tensor:
    """Squared error."""
    return (prediction - target) ** 2


def l1(prediction: Tensor, target: Tensor, c: Tensor) -> Tensor:
    """Absolute error."""
    return (prediction - target).abs()


def huber(prediction: Tensor, target: Tensor, c: Tensor) -> Tensor:
    """2 c (sqrt(d^2 + c^2) - c): squared for errors under c, linear above (pseudo-Huber)."""
    return 2 * c * (torch.sqrt((prediction - target) ** 2 + c**2) - c)


def smooth_l1(prediction: Tensor, target: Tensor, c: Tensor) -> Tensor:
    """2 (sqrt(d^2 + c^2) - c): pseudo-Huber that nears absolute error whatever c is."""
    return 2 * (torch.sqrt((prediction - target) ** 2 + c**2) - c)


LOSSES: dict[str, Mix] = {"l2": l2, "l1": l1, "huber": huber, "smooth_l1": smooth_l1}


def huber_thresholds(
    schedule: Literal["snr", "exponential", "constant"], c: float, alphas_cumprod: Tensor
) -> Tensor:
    """Huber threshold of each timestep, (T,): c at the noisiest end.

    snr: (1 - c) / (1 + sigma)^2 + c; exponential: c^(t / T); constant: c.
    Source: Khrapov et al. 2024, arXiv:2403.16728, in sd-scripts' form.
    """
    steps = len(alphas_cumprod)
    if schedule == "constant":
        return torch.full((steps,), c)
    if schedule == "exponential":
        return torch.exp(math.log(c) / steps * torch.arange(steps))
    sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt()
    return (1 - c) / (1 + sigmas) ** 2 + c


# --- weights: of each timestep, (T,) ---------------------------------------------------------------


def min_snr_weight(snr: Tensor, gamma: float, target: Prediction) -> Tensor:
    """min(snr, gamma) / snr for "eps", / (snr + 1) for "v"; gamma 5 in Hang et al. 2023, arXiv:2303.09556."""
    return snr.clamp(max=gamma) / (snr + 1 if target == "v" else snr)


def debiased_weight(snr: Tensor, target: Prediction) -> Tensor:
    """1 / sqrt(snr) for "eps", 1 / (snr + 1) for "v". Source: Yu et al. 2023, arXiv:2310.08442."""
    capped = snr.clamp(max=MAX_SNR)
    return 1 / (capped + 1) if target == "v" else 1 / capped.sqrt()


def v_to_noise_weight(snr: Tensor) -> Tensor:
    """SNR / (SNR + 1): a v loss then weighs timesteps as an eps loss does."""
    capped = snr.clamp(max=MAX_SNR)
    return capped / (capped + 1)


def timestep_weights(config: TrainConfig, target: Prediction, snr: Tensor) -> Tensor:
    """The product of all weights that hang on the timestep alone, in sd-scripts' order.

    Weights use the schedule's own SNR, not the one rescaled by zero_terminal_snr, as sd-scripts does: at the
    last timestep the rescaled one is 0 and min-SNR would be 0/0. A flow model has no SNR to weigh by.
    """
    weights = torch.ones_like(snr)
    if target == "flow":
        return weights
    if config.min_snr_gamma:
        weights = weights * min_snr_weight(snr, config.min_snr_gamma, target)
    if config.scale_v_like_noise and target == "v":
        weights = weights * v_to_noise_weight(snr)
    if config.debiased:
        weights = weights * debiased_weight(snr, target)
    return weights


# --- together -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noised:
    """One batch as the U-Net sees it, and what it should answer."""

    inputs: Tensor  # (B, C, H, W)
    timesteps: Tensor  # (B,)
    answer: Tensor  # (B, C, H, W)
    thresholds: Tensor  # (B, 1, 1, 1)
    weights: Tensor  # (B,)


class Objective:
    """Noise, target and loss of one training run, chosen once from its settings."""

    def __init__(self, config: TrainConfig, target: Prediction, alphas_cumprod: Tensor) -> None:
        """Tabulate everything that hangs on the timestep alone; alphas_cumprod (T,) is the base model's."""
        self.config, steps = config, len(alphas_cumprod)
        self.weights = timestep_weights(config, target, snr(alphas_cumprod))
        self.thresholds = huber_thresholds(config.huber_schedule, config.huber_c, alphas_cumprod)
        if config.zero_terminal_snr:
            alphas_cumprod = zero_terminal_snr(alphas_cumprod)
        # Flow's sigma takes the place of alpha-bar: t / T, so that t = T - 1 is nearly pure noise.
        self.levels = (torch.arange(steps) + 1) / steps if target == "flow" else alphas_cumprod
        self.noised, self.target, self.loss = NOISED[target], TARGETS[target], LOSSES[config.loss]

    def noise(self, latents: Tensor, draw: Generator) -> Noised:
        """Draw noise and timesteps for latents (B, C, H, W) and mix them."""
        config = self.config
        noise = randn(latents, draw)
        if config.noise_offset:
            noise = offset_noise(noise, config.noise_offset, draw)
        if config.multires_iterations:
            noise = multires_noise(noise, config.multires_iterations, config.multires_discount, draw)
        last = min(config.max_timestep, len(self.levels))
        t = torch.randint(config.min_timestep, last, (len(latents),), generator=draw)
        mixed = noise
        if config.input_perturbation:
            mixed = noise + config.input_perturbation * randn(noise, draw)
        levels = self.levels[t].to(latents)
        return Noised(
            inputs=self.noised(latents, mixed, levels),
            timesteps=t.to(latents.device),
            answer=self.target(latents, noise, levels),
            thresholds=self.thresholds[t].to(latents).view(-1, 1, 1, 1),
            weights=self.weights[t].to(latents),
        )

    def losses(self, prediction: Tensor, noised: Noised, weights: Tensor, masks: Tensor | None) -> Tensor:
        """Loss of each sample, (B,).

        Args:
            prediction: the U-Net's answer, (B, C, H, W).
            noised: what it was asked.
            weights: of each sample, (B,); the prior loss weight for regularization images.
            masks: (B, 1, H, W), 0 to 1, or None. Not renormalised by its area, as in sd-scripts.
        """
        loss = self.loss(prediction.float(), noised.answer.float(), noised.thresholds)  # (B, C, H, W)
        if masks is not None:
            loss = loss * masks
        return loss.mean(dim=(1, 2, 3)) * weights * noised.weights  # (B,)
