"""The miniature's VAE: AutoencoderKL, factor 8, 4 channels, fully convolutional, trained on crops."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import numpy as np
import torch
from torch import Tensor

from models.miniature.data import Pixels, drawings, rendered, strewn_pixels
from models.miniature.learning import Average, Log, channels_last, cosine, replace_folder, set_rate

SIDE, CROP, BATCH = 256, 128, 8
PICTURES, HELD_OUT = 2400, 96
SEED_TRAIN, SEED_HELD_OUT = 1_000, 2_000
# Latents nearer to a unit normal are easier to learn from; more than this costs visible sharpness.
SCHEDULE = 3000  # steps of the cosine; the training stops before its end
KL_WEIGHT = 5e-5
DECODER_BATCH = 8


def new_vae() -> diffusers.AutoencoderKL:
    """An untrained VAE: 1.6 M parameters, no attention, so that any size divisible by 8 fits."""
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=SIDE,
    )


def to_tensor(pictures: Pixels) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) in -1..1, channels last."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(pictures: Tensor) -> Pixels:
    """(B, 3, H, W) in -1..1 to uint8 (B, H, W, 3)."""
    scaled = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def crops(pictures: Pixels, rng: np.random.Generator, count: int = BATCH) -> Tensor:
    """A batch of random crops, half of them mirrored, float32 (count, 3, CROP, CROP)."""
    batch = np.empty((count, CROP, CROP, 3), dtype=np.uint8)
    for row, index in enumerate(rng.integers(0, len(pictures), count)):
        top, left = rng.integers(0, SIDE - CROP + 1, 2)
        crop = pictures[index, top : top + CROP, left : left + CROP]
        batch[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return to_tensor(batch)


def loss_of(vae: diffusers.AutoencoderKL, pictures: Tensor) -> Tensor:
    """Reconstruction (absolute, squared and edge error) plus the latents' divergence from a unit normal."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pictures).latent_dist
        output = vae.decode(posterior.sample()).sample.float()
    wrong = output - pictures
    edges = wrong.diff(dim=2).abs().mean() + wrong.diff(dim=3).abs().mean()
    divergence = (
        0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    )
    loss: Tensor = wrong.abs().mean() + 2 * (wrong**2).mean() + 0.5 * edges + KL_WEIGHT * divergence
    return loss


def train_vae(folder: Path, scratch: Path, steps: int) -> None:
    """Train and save to `folder` (diffusers layout, fp16), with the measured scaling factor in its config."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = rendered(scratch / "vae.npy", drawings(PICTURES, SEED_TRAIN), SIDE, SIDE, strewn_pixels)
    vae = channels_last(new_vae())
    optimiser = torch.optim.AdamW(vae.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    average, log = Average(vae, 0.995), Log("vae", 100)
    for step in range(steps):
        set_rate(optimiser, cosine(step, max(steps, SCHEDULE), 2e-3, 100))
        loss = loss_of(vae, crops(pictures, rng))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(vae)
        log.add(step, loss.item())
        if (step + 1) % 500 == 0 or step + 1 == steps:
            save_vae(average, folder, scratch)


def decoder_loss(vae: diffusers.AutoencoderKL, latents: Tensor, pictures: Tensor) -> Tensor:
    """Squared error above all, since that is what PSNR counts, with some absolute and edge error."""
    with torch.autocast("cpu", torch.bfloat16):
        output = vae.decode(latents).sample.float()
    wrong = output - pictures
    edges = wrong.diff(dim=2).abs().mean() + wrong.diff(dim=3).abs().mean()
    loss: Tensor = 8 * (wrong**2).mean() + 0.3 * wrong.abs().mean() + 0.2 * edges
    return loss


def train_decoder(folder: Path, scratch: Path, steps: int) -> None:
    """Go on with the decoder of the VAE in `folder` alone: its latents, and what learned from them, stay."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    pictures = rendered(scratch / "vae.npy", drawings(PICTURES, SEED_TRAIN), SIDE, SIDE, strewn_pixels)
    vae = channels_last(diffusers.AutoencoderKL.from_pretrained(folder).float())
    decoder = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    optimiser = torch.optim.AdamW(decoder, lr=0.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    average, log = Average(vae, 0.995), Log("decoder", 100)
    for step in range(steps):
        set_rate(optimiser, cosine(step, steps, 1.5e-3, 100))
        batch = crops(pictures, rng, DECODER_BATCH)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(batch).latent_dist.mean
        loss = decoder_loss(vae, latents, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(vae)
        log.add(step, loss.item())
        if (step + 1) % 300 == 0 or step + 1 == steps:
            save_decoder(average, folder, scratch)


def save_decoder(average: Average, folder: Path, scratch: Path) -> None:
    """As `save_vae`; the scaling factor stays that of the latents that the base was trained on."""
    vae = channels_last(new_vae().eval())
    average.copy_to(vae)
    print(f"decoder: {json.dumps(measure_vae(vae, scratch))}", flush=True)
    vae.register_to_config(scaling_factor=diffusers.AutoencoderKL.load_config(folder)["scaling_factor"])
    replace_folder(lambda path: vae.half().save_pretrained(path, safe_serialization=True), folder)


def save_vae(average: Average, folder: Path, scratch: Path) -> None:
    """Measure on held-out drawings, print the PSNR, save the averaged weights."""
    vae = channels_last(new_vae().eval())
    average.copy_to(vae)
    measured = measure_vae(vae, scratch)
    vae.register_to_config(scaling_factor=round(1 / measured["latent_std"], 5))
    print(f"vae: {json.dumps(measured)}", flush=True)
    replace_folder(lambda path: vae.half().save_pretrained(path, safe_serialization=True), folder)


@torch.no_grad()
def measure_vae(vae: diffusers.AutoencoderKL, scratch: Path) -> dict[str, float]:
    """PSNR in dB (of the mean error over all held-out drawings, and the worst), and the latents' std."""
    held_out = rendered(scratch / "vae_held_out.npy", drawings(HELD_OUT, SEED_HELD_OUT), SIDE, SIDE)
    errors, latents = [], []
    for start in range(0, HELD_OUT, 8):
        pictures = to_tensor(held_out[start : start + 8])
        with torch.autocast("cpu", torch.bfloat16):
            latent = vae.encode(pictures).latent_dist.mean
            output = vae.decode(latent).sample
        wrong = (output.float().clamp(-1, 1) - pictures) / 2  # on a scale of 0..1
        errors.append(wrong.square().mean(dim=(1, 2, 3)))
        latents.append(latent.float())
    mse = torch.cat(errors)
    return {
        "psnr_db": round(float(-10 * torch.log10(mse.mean())), 2),
        "worst_psnr_db": round(float(-10 * torch.log10(mse.max())), 2),
        "latent_std": round(float(torch.cat(latents).std()), 5),
    }
