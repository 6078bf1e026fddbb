"""Pictures from a base model, with or without a LoRA: a prompt line in kohya's form in, PIL images out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from dataprep.errors import ConfigError
from dataprep.inference.base import CHUNK, Base, Conditioning
from dataprep.inference.tokens import encode_texts, plain_ids
from dataprep.inference.torch_compat import prepare_torch

OPTIONS = {"w": "width", "h": "height", "s": "steps", "l": "scale", "d": "seed", "n": "negative"}
RANGES = {
    "width": (64, 8192),  # px; below 64 nothing is left of a latent at the U-Net's bottom
    "height": (64, 8192),
    "steps": (1, 1000),
    "scale": (0, 100),
    "seed": (0, 2**64 - 1),  # what torch's generators take
}
PARAMETERS = "parameters"  # A1111's name of the text chunk
SAMPLER_NAMES = {"ddim": "DDIM", "euler": "Euler", "euler_a": "Euler a", "dpm++_2m": "DPM++ 2M"}  # A1111's
NOISY = 0.75  # of the timesteps: sampling begins with pure noise, which latents are like from here on
BATCH = 8  # pictures drawn at once; a CPU gains nothing above


@dataclass(frozen=True)
class Prompt:
    """One picture's order.

    Attributes:
        width, height: px, multiples of 8; None for what the base model was trained at.
        steps: of the sampler.
        scale: classifier-free guidance; 1 draws without a negative prompt.
        seed: of this picture's noise, drawn on the CPU; None takes its number in the list.
    """

    text: str
    negative: str = ""
    width: int | None = None
    height: int | None = None
    steps: int = 30
    scale: float = 7.5
    seed: int | None = None


def parse_prompt(line: str) -> Prompt:
    """Read `text --w 512 --h 768 --s 28 --l 7.5 --d 1 --n negative text`.

    Raises:
        ConfigError: an unknown option, or a value that is not a number or out of range.
    """
    text, *parts = re.split(r"\s+--(?=[a-z])", " " + line)
    values: dict[str, Any] = {}
    for part in parts:
        option, _, value = part.partition(" ")
        name = OPTIONS.get(option)
        if name is None:
            raise ConfigError(
                f"prompt {line!r}: unknown option --{option}; known: {', '.join('--' + o for o in OPTIONS)}"
            )
        try:
            values[name] = value.strip() if option == "n" else float(value) if option == "l" else int(value)
        except ValueError as error:
            raise ConfigError(f"prompt {line!r}: --{option} wants a number, got {value!r}") from error
        low, high = RANGES.get(name, (0, 0))
        if name in RANGES and not low <= values[name] <= high:  # not a number is in no range
            raise ConfigError(f"prompt {line!r}: --{option} {value.strip()}: wanted {low} to {high}")
    return Prompt(text.strip(), **values)


def make_scheduler(name: str, base: Base, *, zero_snr: bool = False, steps: int = 30) -> Any:  # noqa: ANN401 - untyped
    """A diffusers sampler with the base model's noise schedule.

    Args:
        name: ddim, euler, euler_a or dpm++_2m; a flow model always takes its own Euler steps.
        base: whose betas and prediction it takes.
        zero_snr: the model was trained with zero_terminal_snr.
        steps: how many will be made; it decides how they are spaced.
    """
    prepare_torch()
    import diffusers

    if base.prediction == "flow":
        return diffusers.FlowMatchEulerDiscreteScheduler()
    betas = base.scheduler.config
    zero_snr = zero_snr or bool(betas.get("rescale_betas_zero_snr"))
    common = {
        name: betas[name]
        for name in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    }
    common["prediction_type"] = "v_prediction" if base.prediction == "v" else "epsilon"
    # "leading" is what SD was published with. "trailing" starts at the last timestep, where a zero-SNR model
    # begins, and which "leading" misses by far with few steps (1 of 1, 501 of 2) or many (600 of 600).
    last = betas["num_train_timesteps"]
    spaced = steps + (name == "dpm++_2m")  # which spaces one more and leaves out the first
    first = (spaced - 1) * (last // spaced) + 1
    leading = not zero_snr and first >= NOISY * last and 2 * steps <= last
    spacing = (
        {"timestep_spacing": "leading", "steps_offset": 1} if leading else {"timestep_spacing": "trailing"}
    )
    rescale = {"rescale_betas_zero_snr": True} if zero_snr else {}
    kinds: dict[str, Any] = {
        "ddim": lambda: diffusers.DDIMScheduler(
            **common, **spacing, **rescale, clip_sample=False, set_alpha_to_one=False
        ),
        "euler": lambda: diffusers.EulerDiscreteScheduler(**common, **spacing, **rescale),
        "euler_a": lambda: diffusers.EulerAncestralDiscreteScheduler(**common, **spacing, **rescale),
        "dpm++_2m": lambda: diffusers.DPMSolverMultistepScheduler(**common, **spacing, **rescale),
    }
    if name not in kinds:
        raise ConfigError(f"sampler {name!r}: there are {', '.join(kinds)}")
    return kinds[name]()


class Sampler:
    """Draws pictures from one base model with whatever change it carries at the moment."""

    def __init__(
        self,
        base: Base,
        sampler: str = "ddim",
        *,
        zero_snr: bool = False,
        clip_skip: int | None = None,
        weighted: bool = False,
    ) -> None:
        """Choose how to draw.

        Args:
            base: the model; read, never changed.
            sampler: see make_scheduler.
            zero_snr: the model was trained with zero_terminal_snr.
            clip_skip: as in training.
            weighted: read (a:1.2) in prompts as weights.
        """
        self.base, self.name, self.zero_snr = base, sampler, zero_snr
        self.clip_skip, self.weighted = clip_skip, weighted
        make_scheduler(sampler, base, zero_snr=zero_snr)  # an unknown name is said before anything is drawn
        self.side = int(base.unet.config.sample_size) * 8  # px

    def draw(self, prompts: Sequence[Prompt]) -> list[Image.Image]:
        """One RGB picture for each prompt, in order; prompt and seed alone decide what it shows."""
        whole = [self._whole(prompt, i) for i, prompt in enumerate(prompts)]
        pictures: dict[int, Image.Image] = {}
        alike: dict[tuple[object, ...], list[int]] = {}
        for i, prompt in enumerate(whole):
            alike.setdefault((prompt.width, prompt.height, prompt.steps, prompt.scale), []).append(i)
        for numbers in alike.values():
            for start in range(0, len(numbers), BATCH):
                part = numbers[start : start + BATCH]
                pictures |= zip(part, self._batch([whole[i] for i in part]), strict=True)
        for i, picture in pictures.items():
            picture.info[PARAMETERS] = self._parameters(whole[i])
        return [pictures[i] for i in range(len(whole))]

    def _parameters(self, prompt: Prompt) -> str:
        """A picture's order in the form that A1111 writes into its pictures, and many programs read."""
        lines = [prompt.text, *([f"Negative prompt: {prompt.negative}"] if prompt.negative else [])]
        facts = {
            "Steps": prompt.steps,
            "Sampler": SAMPLER_NAMES["euler" if self.base.prediction == "flow" else self.name],
            "CFG scale": f"{prompt.scale:g}",
            "Seed": prompt.seed,
            "Size": f"{prompt.width}x{prompt.height}",
            "Model": self.base.name.removesuffix(".safetensors"),
        }
        return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in facts.items())])

    def _whole(self, prompt: Prompt, number: int) -> Prompt:
        width, height = prompt.width or self.side, prompt.height or self.side
        seed = number if prompt.seed is None else prompt.seed
        return replace(prompt, width=width // 8 * 8, height=height // 8 * 8, seed=seed)

    @torch.inference_mode()
    def _batch(self, prompts: list[Prompt]) -> list[Image.Image]:
        """Pictures of one size, step count and scale."""
        first, base = prompts[0], self.base
        width, height = first.width or 0, first.height or 0
        device, dtype = base.unet.device, base.unet.dtype
        scheduler = make_scheduler(self.name, base, zero_snr=self.zero_snr, steps=first.steps)
        scheduler.set_timesteps(first.steps)
        draws = [torch.Generator().manual_seed(prompt.seed or 0) for prompt in prompts]
        noise = [
            torch.randn(1, base.unet.config.in_channels, height // 8, width // 8, generator=draw)
            for draw in draws
        ]
        latents = torch.cat(noise).to(device) * getattr(scheduler, "init_noise_sigma", 1.0)  # (B, 4, h, w)
        guided = first.scale != 1
        texts = [*[prompt.negative for prompt in prompts if guided], *[prompt.text for prompt in prompts]]
        told = self.condition(texts)
        extra = added_conditions(told, [(height, width, 0, 0, height, width)] * len(texts), device)
        # Ancestral noise comes from each picture's own generator too.
        step_args = (
            {"generator": draws} if self.name in ("ddim", "euler_a") and base.prediction != "flow" else {}
        )
        for t in scheduler.timesteps:
            inputs = torch.cat([latents] * 2) if guided else latents
            if base.prediction != "flow":
                inputs = scheduler.scale_model_input(inputs, t)
            answer = base.unet(
                inputs.to(dtype), t, told.context.to(dtype), added_cond_kwargs=extra
            ).sample.float()
            if guided:
                without, with_ = answer.chunk(2)
                answer = without + first.scale * (with_ - without)
            latents = scheduler.step(answer, t, latents, **step_args).prev_sample
        return self._decode(latents)

    def condition(self, texts: Sequence[str]) -> Conditioning:
        """Texts as the U-Net is told them, in as many passes of 75 tokens as the longest needs, at most 3."""
        base = self.base
        longest = max(len(plain_ids(base.tokenizers[0], text)) for text in texts)
        chunks = min(3, max(1, -(-longest // CHUNK)))
        return encode_texts(base, texts, chunks, self.clip_skip, self.weighted)

    def _decode(self, latents: Tensor) -> list[Image.Image]:
        vae = self.base.vae
        pictures = []
        for latent in latents:  # one by one: decoding is what fills the memory
            pixels = vae.decode((latent[None] / vae.config.scaling_factor).to(vae.dtype)).sample[0]
            levels = pixels.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
            pictures.append(Image.fromarray(levels.permute(1, 2, 0).cpu().numpy(), "RGB"))
        return pictures


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a picture with its order, where it has one, in the text chunk that A1111 and ComfyUI read."""
    notes = PngInfo()
    if PARAMETERS in picture.info:
        notes.add_itxt(PARAMETERS, picture.info[PARAMETERS])
    picture.save(path, "PNG", pnginfo=notes)


def added_conditions(
    told: Conditioning, time_ids: Tensor | Sequence[tuple[float, ...]], device: torch.device | str
) -> dict[str, Tensor] | None:
    """SDXL's further conditions; None for the other families.

    Args:
        told: with pooled (B, P), or without.
        time_ids: (B, 6): original h, w, crop top, left, target h, w, px.
        device: where the U-Net is.
    """
    if told.pooled is None:
        return None
    return {
        "text_embeds": told.pooled,
        "time_ids": torch.as_tensor(time_ids, dtype=torch.float32, device=device),
    }


def sample_images(
    lora: Path | None,
    base: Base,
    prompts: Sequence[str],
    *,
    multiplier: float = 1.0,
    sampler: str = "ddim",
    clip_skip: int | None = None,
) -> list[Image.Image]:
    """Draw prompt lines with a LoRA file, and leave the base model as it was.

    Args:
        lora: kohya-format .safetensors (lora, locon, loha, lokr, dora); None draws the base model alone.
        base: the base model.
        prompts: lines with kohya's options.
        multiplier: strength of the LoRA.
        sampler: see make_scheduler.
        clip_skip: as in training.
    Raises:
        ModelError: the file is no LoRA, or of another family.
        ConfigError: a prompt's options.
    """
    from dataprep.inference.lora import applied

    orders = [parse_prompt(prompt) for prompt in prompts]
    with applied(lora, base, multiplier):
        return Sampler(base, sampler, clip_skip=clip_skip).draw(orders)
