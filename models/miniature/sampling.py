"""Drawing with the miniature's text-to-image model: DDIM with classifier-free guidance."""

from __future__ import annotations

import diffusers
import numpy as np
import torch
import transformers
from torch import Tensor

from models.miniature.data import Pixels
from models.miniature.vae import to_pixels


@torch.no_grad()
def sample(
    unet: diffusers.UNet2DConditionModel,
    text_encoder: transformers.CLIPTextModel,
    vae: diffusers.AutoencoderKL,
    ids: Tensor,
    empty_ids: Tensor,
    seed: int,
    width: int = 256,
    height: int = 256,
    steps: int = 25,
    guidance: float = 4.0,
) -> Pixels:
    """Pictures for token ids, uint8 (B, height, width, 3).

    Args:
        unet: predicts noise.
        text_encoder: gives the U-Net its context.
        vae: decodes; its configuration's scaling_factor is applied.
        ids: prompts, (B, 77).
        empty_ids: the empty prompt, (1, 77), guided away from.
        seed: of the starting noise.
        width: px, a multiple of 32.
        height: px, a multiple of 32.
        steps: of the sampler.
        guidance: 1 is none.
    """
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    context = torch.cat([text_encoder(i).last_hidden_state for i in (empty_ids.expand_as(ids), ids)])
    noise = torch.Generator().manual_seed(seed)
    latents = torch.randn((len(ids), 4, height // 8, width // 8), generator=noise)
    with torch.autocast("cpu", torch.bfloat16):
        for timestep in scheduler.timesteps:
            free, told = unet(torch.cat([latents, latents]), timestep, context).sample.float().chunk(2)
            latents = scheduler.step(free + guidance * (told - free), timestep, latents).prev_sample
        pictures = [vae.decode(part / vae.config.scaling_factor).sample for part in latents.split(8)]
    return np.asarray(to_pixels(torch.cat(pictures)))
