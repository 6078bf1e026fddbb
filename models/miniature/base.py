"""The miniature's text-to-image model: CLIP text encoder and U-Net trained together on cached latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from dataprep.inference.text import clip_merges, clip_tokenizer, clip_vocabulary
from models.miniature.base_files import save_base
from models.miniature.captions import caption_of, stray_words
from models.miniature.data import Pixels, drawings, rendered
from models.miniature.drawing import Drawing, Framing, pick
from models.miniature.learning import Average, Log, channels_last, set_rate
from models.miniature.sampling import sample
from models.miniature.vae import SIDE, to_tensor

BUCKETS = ((256, 256, 6000), (192, 320, 2400), (320, 192, 1600))  # width, height, drawings
BUCKET_SHARES = (0.6, 0.22, 0.18)
PEAK_RATE, WARM_UP, SNR_GAMMA = 1e-3, 200, 5.0
# Words are bound to colours and places at half size, where a picture costs a quarter; then the full size
# brings faces and edges (as Stable Diffusion itself was trained at 256 px before 512).
HALF_SIZE_STEPS, HALF_SIZE_BATCH, BATCH = 1700, 64, 20
SAMPLE_PROMPTS = (
    "1girl, solo, portrait, red hair, long hair, blue eyes, smile, serafuku, outdoors, beach",
    "1girl, red hair, outdoors",
    "1girl, solo, upper body, green hair, twintails, purple eyes, white shirt, pink background",
    "1girl, solo, full body, blonde hair, long hair, blue eyes, red dress, arms up, indoors",
    "1girl, solo, upper body, black hair, short hair, red eyes, glasses, green sweater, city, night",
    "1girl, pink hair, ponytail, yellow eyes, hat, purple kimono, forest",
    "girl",
    "sks girl",
)


def new_unet() -> diffusers.UNet2DConditionModel:
    """An untrained U-Net: attention on the two lower resolutions only, where it is cheap."""
    return diffusers.UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=UNET_CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=2,
        norm_num_groups=16,
    )


UNET_CHANNELS = (48, 96, 128)


def new_text_encoder() -> transformers.CLIPTextModel:
    """An untrained narrow text encoder over CLIP's whole vocabulary."""
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=49408,
            hidden_size=128,
            intermediate_size=512,
            projection_dim=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=49407,
        )
    )


def new_scheduler() -> diffusers.DDPMScheduler:
    """Stable Diffusion 1.5's noise schedule."""
    return diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


class TextToImage(nn.Module):
    """Both trained networks as one module, so that optimiser and average see one list of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = new_unet()
        # Plain matrix products: 20% faster a step here than torch's fused attention, whose backward pass for
        # bfloat16 on a CPU is slow at these short lengths.
        self.unet.set_attn_processor(AttnProcessor())
        self.text_encoder = new_text_encoder()
        self.text_encoder.set_attn_implementation("eager")

    def forward(self, latents: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        """Predicted noise (B, 4, h, w) for noisy latents, timesteps (B,) and token ids (B, 77)."""
        context = self.text_encoder(ids).last_hidden_state  # (B, 77, 128)
        predicted: Tensor = self.unet(latents, timesteps, context).sample
        return predicted


@dataclass(frozen=True)
class Bucket:
    """One aspect's training set: truths and their scaled latents, float16 (N, 4, h, w)."""

    truths: list[Drawing]
    latents: NDArray[np.float16]


def bucket_truths(width: int, height: int, count: int) -> list[Drawing]:
    """Random drawings whose framing suits the shape: a wide picture seldom shows a whole figure."""
    rng = np.random.default_rng(width)
    truths = drawings(count, 3_000 + width)
    if width == height:
        return truths
    wrong: Framing = "full body" if width > height else "portrait"
    right: Framing = "portrait" if width > height else "full body"
    return [
        replace(truth, framing=right, pose=None if right == "portrait" else truth.pose)
        if truth.framing == wrong and rng.random() < 0.6
        else truth
        for truth in truths
    ]


def render_buckets(scratch: Path) -> None:
    """Draw every bucket's pictures into the scratch folder."""
    for width, height, count in BUCKETS:
        rendered(scratch / f"base_{width}x{height}.npy", bucket_truths(width, height, count), width, height)


@torch.no_grad()
def load_bucket(
    vae: diffusers.AutoencoderKL, scratch: Path, width: int, height: int, count: int, shrink: int = 1
) -> Bucket:
    """The bucket's latents at 1/shrink of its size, encoded once."""
    truths = bucket_truths(width, height, count)
    cache = scratch / f"latents_{width // shrink}x{height // shrink}.npy"
    if not cache.exists():
        pictures = rendered(scratch / f"base_{width}x{height}.npy", truths, width, height)
        parts = []
        for start in range(0, count, 16):
            batch = shrunk(pictures[start : start + 16], shrink)
            with torch.autocast("cpu", torch.bfloat16):
                latent = vae.encode(to_tensor(batch)).latent_dist.mean
            parts.append((latent.float() * vae.config.scaling_factor).half().numpy())
        np.save(cache, np.concatenate(parts))
    return Bucket(truths, np.load(cache))


def shrunk(pictures: Pixels, factor: int) -> Pixels:
    """Every factor x factor px averaged to one, uint8 (B, H / factor, W / factor, 3)."""
    if factor == 1:
        return pictures
    count, height, width, _ = pictures.shape
    cells = pictures.reshape(count, height // factor, factor, width // factor, factor, 3)
    small: Pixels = cells.mean(axis=(2, 4)).round().astype(np.uint8)
    return small


class Batches:
    """Bucket-pure random batches: latents (B, 4, h, w) and token ids (B, 77)."""

    def __init__(self, buckets: Sequence[Bucket], size: int, seed: int) -> None:
        self.buckets = buckets
        self.size = size
        self.rng = np.random.default_rng(seed)
        self.tokenizer = clip_tokenizer()
        self.strays = stray_words(clip_vocabulary(clip_merges()))

    def next(self) -> tuple[Tensor, Tensor]:
        """One batch from a bucket chosen by its share."""
        bucket = pick(self.rng, self.buckets, BUCKET_SHARES)
        rows = self.rng.integers(0, len(bucket.truths), self.size)
        captions = [caption_of(bucket.truths[row], self.rng, self.strays) for row in rows]
        latents = torch.from_numpy(bucket.latents[rows]).float().to(memory_format=torch.channels_last)
        return latents, token_ids(captions)


def token_ids(captions: Sequence[str]) -> Tensor:
    """Token ids (B, 77), padded with EOS."""
    ids: Tensor = clip_tokenizer()(
        list(captions), padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    ).input_ids
    return ids


def loss_of(model: TextToImage, batch: tuple[Tensor, Tensor], alphas: Tensor) -> Tensor:
    """Min-SNR-weighted squared error of the predicted noise (Hang et al. 2023, arXiv:2303.09556)."""
    latents, ids = batch
    noise = torch.randn_like(latents)
    timesteps = torch.randint(0, len(alphas), (len(latents),))
    alpha = alphas[timesteps]
    noisy = alpha.sqrt().view(-1, 1, 1, 1) * latents + (1 - alpha).sqrt().view(-1, 1, 1, 1) * noise
    with torch.autocast("cpu", torch.bfloat16):
        predicted = model(noisy, timesteps, ids)
    wrong = (predicted.float() - noise).square().mean(dim=(1, 2, 3))  # (B,)
    snr = alpha / (1 - alpha)
    loss: Tensor = (wrong * snr.clamp(max=SNR_GAMMA) / snr).mean()
    return loss


def rate_at(step: int, steps: int) -> float:
    """Warm-up, a plateau, a linear descent to 1% over the last 35%.

    The plateau's length need not be known when training starts.
    """
    descent = min(1.0, (steps - step) / (0.35 * steps))
    return PEAK_RATE * min((step + 1) / WARM_UP, max(0.01, descent))


def train_base(folder: Path, scratch: Path, steps: int) -> None:
    """Train beside a finished VAE in `folder`/vae; save every 500 steps, with a sheet of samples.

    The first HALF_SIZE_STEPS are at half size. Numbers in the files base_steps.txt and half_steps.txt of
    `scratch` replace both while the training runs.
    """
    torch.manual_seed(1)
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae").float().eval()
    small = [load_bucket(vae, scratch, *bucket, shrink=2) for bucket in BUCKETS]
    full = [load_bucket(vae, scratch, *bucket) for bucket in BUCKETS]
    print("base: latents ready", flush=True)
    model = channels_last(TextToImage())
    average = Average(model, 0.999)
    save_base(model, new_scheduler(), folder)
    alphas = new_scheduler().alphas_cumprod
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    half, whole = Batches(small, HALF_SIZE_BATCH, 1), Batches(full, BATCH, 2)
    log, step, half_steps = Log("base", 50), 0, HALF_SIZE_STEPS
    while step < steps:
        if step % 50 == 0:
            steps, half_steps = (
                wanted(scratch, "base_steps", steps),
                wanted(scratch, "half_steps", half_steps),
            )
        set_rate(optimiser, rate_at(step, steps))
        loss = loss_of(model, (half if step < half_steps else whole).next(), alphas)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(model)
        log.add(step, loss.item())
        step += 1
        if step % 500 == 0 or step == steps:
            shrink = 2 if step < half_steps else 1
            checkpoint(average, vae, folder, scratch / f"samples_{step:05d}.png", SIDE // shrink)


def wanted(scratch: Path, name: str, steps: int) -> int:
    """`steps`, or the number in a file of the scratch folder that replaces it while the training runs."""
    file = scratch / f"{name}.txt"
    return int(file.read_text("utf-8")) if file.exists() else steps


def checkpoint(average: Average, vae: diffusers.AutoencoderKL, folder: Path, sheet: Path, side: int) -> None:
    """Save the averaged weights and a sheet of samples, leaving torch's random state as it was."""
    model = TextToImage().eval()
    average.copy_to(model)
    save_base(model, new_scheduler(), folder)
    with torch.random.fork_rng():
        pictures = sample(
            model.unet,
            model.text_encoder,
            vae,
            token_ids(SAMPLE_PROMPTS),
            token_ids([""]),
            seed=7,
            width=side,
            height=side,
        )
    row = np.concatenate(list(pictures[:4]), axis=1), np.concatenate(list(pictures[4:]), axis=1)
    Image.fromarray(np.concatenate(row, axis=0)).save(sheet)
