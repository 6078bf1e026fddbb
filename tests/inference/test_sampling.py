from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataprep.errors import ConfigError
from dataprep.inference.base import Base, load_base, model_name
from dataprep.inference.sampling import (
    Prompt,
    Sampler,
    make_scheduler,
    parse_prompt,
    sample_images,
    save_png,
)
from dataprep.train.config import TrainConfig
from dataprep.train.network import Network


@pytest.fixture
def base(base_path: Path) -> Base:
    return load_base(base_path, "cpu", torch.float32)


def test_prompts_carry_kohyas_options() -> None:
    prompt = parse_prompt("1girl, red -- hair --w 512 --h 768 --s 28 --l 7 --d 3 --n low quality, blur")
    assert prompt == Prompt("1girl, red -- hair", "low quality, blur", 512, 768, 28, 7.0, 3)
    assert parse_prompt("plain") == Prompt("plain")


@pytest.mark.parametrize(
    "line", ["a --q 3", "a --s many", "a --s 0", "a --w 4", "a --h -8", "a --l nan", "a --d -1", "a --s 1001"]
)
def test_wrong_options_are_named(line: str) -> None:
    with pytest.raises(ConfigError, match=line.split()[1]):
        parse_prompt(line)


@pytest.mark.slow
# diffusers' own samplers stumble over numpy 2 here.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("sampler", ["ddim", "euler", "euler_a", "dpm++_2m"])
def test_a_picture_hangs_on_its_own_prompt_and_seed_only(base: Base, sampler: str) -> None:
    draw = Sampler(base, sampler).draw
    one, other = Prompt("a", seed=1, steps=3), Prompt("b", seed=2, steps=3)
    together = draw([one, other, Prompt("c", width=64, height=128, steps=2)])
    assert [picture.size for picture in together] == [(64, 64), (64, 64), (64, 128)]
    alone = draw([other])[0]
    difference = np.abs(np.asarray(together[1], np.int16) - np.asarray(alone, np.int16))
    assert difference.max() <= 1
    assert np.abs(np.asarray(together[0], np.int16) - np.asarray(together[1], np.int16)).max() > 1


def test_drawing_equals_the_diffusers_pipeline(base: Base) -> None:
    from tiny import diffusers

    pipe = diffusers.StableDiffusionPipeline(
        vae=base.vae,
        unet=base.unet,
        text_encoder=base.text_encoders[0],
        tokenizer=base.tokenizers[0],
        scheduler=make_scheduler("ddim", base),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    wanted = pipe(
        "a girl",
        negative_prompt="blur",
        latents=noise,
        num_inference_steps=4,
        guidance_scale=5,
        height=64,
        width=64,
        output_type="np",
    ).images[0]
    found = Sampler(base).draw([Prompt("a girl", "blur", 64, 64, 4, 5.0, 5)])[0]
    assert np.abs(np.asarray(found) / 255 - wanted).max() < 0.01


@pytest.mark.slow
def test_a_lora_file_changes_the_picture_and_leaves_the_model(base: Base, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    donor = load_base(base.path, "cpu", torch.float32)
    network = Network(donor, TrainConfig(rank=2))
    for tensor in network.state().values():
        tensor.copy_(torch.randn_like(tensor))
    save_file(network.export(), tmp_path / "x.safetensors")
    lines = ["a --s 2 --d 1"]
    before = sample_images(None, base, lines)[0]
    changed = sample_images(tmp_path / "x.safetensors", base, lines)[0]
    weak = sample_images(tmp_path / "x.safetensors", base, lines, multiplier=0.0)[0]
    assert np.asarray(changed).tolist() != np.asarray(before).tolist()
    assert np.asarray(weak).tolist() == np.asarray(before).tolist()
    assert np.asarray(sample_images(None, base, lines)[0]).tolist() == np.asarray(before).tolist()


def test_long_prompts_are_read_in_more_passes(base: Base) -> None:
    told = Sampler(base).condition(["tag " * 100, "short"])
    assert told.context.shape == (2, 152, 32)


def test_sdxl_draws(xl_path: Path) -> None:
    xl = load_base(xl_path, "cpu", torch.float32)
    assert Sampler(xl).draw([Prompt("a", steps=2)])[0].size == (64, 64)


def test_a_picture_says_its_order_in_a1111s_form(base: Base, tmp_path: Path) -> None:
    plain, other = Sampler(base).draw(
        [Prompt("sks girl, ünder", "blur", 64, 64, 2, 7.0, 5), Prompt("a", width=64, height=72, steps=1)]
    )
    save_png(plain, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as read:
        assert read.info["parameters"] == (
            "sks girl, ünder\nNegative prompt: blur\n"
            f"Steps: 2, Sampler: DDIM, CFG scale: 7, Seed: 5, Size: 64x64, Model: {base.path.name}"
        )
    assert other.info["parameters"].startswith(
        "a\nSteps: 1, Sampler: DDIM, CFG scale: 7.5, Seed: 1, Size: 64x72"
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", ["ddim", "euler", "euler_a", "dpm++_2m"])
@pytest.mark.parametrize("steps", [1, 2, 4, 20, 30, 50, 400, 500, 501, 600, 999, 1000])
def test_drawing_begins_where_latents_are_noise_at_any_number_of_steps(
    base: Base, name: str, steps: int
) -> None:
    scheduler = make_scheduler(name, base, steps=steps)
    scheduler.set_timesteps(steps)
    assert len(scheduler.timesteps) == steps
    assert 750 <= float(scheduler.timesteps.max()) <= 999
    assert float(scheduler.timesteps.min()) >= 0
    if steps in (4, 20, 30, 50):  # spaced as Stable Diffusion was published
        assert scheduler.config.timestep_spacing == "leading"
    latents = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    for t in scheduler.timesteps:
        latents = scheduler.step(torch.zeros(1, 4, 2, 2), t, latents).prev_sample
    assert latents.isfinite().all()


def test_one_step_begins_at_the_last_timestep(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(base.unet, "forward", _noting(base.unet.forward, asked))
    Sampler(base).draw([parse_prompt("a girl --s 1 --w 64 --h 64")])
    assert asked == [999]


def _noting(forward: Any, asked: list[int]) -> Any:
    def noted(sample: torch.Tensor, timestep: torch.Tensor, *args: Any, **options: Any) -> Any:
        asked.append(int(timestep))
        return forward(sample, timestep, *args, **options)

    return noted


def test_a_hub_models_name_is_its_repository(tmp_path: Path) -> None:
    cached = tmp_path / "models--org--name" / "snapshots" / ("a" * 40)
    assert model_name(cached) == "org/name"
    assert model_name(tmp_path / "model.safetensors") == "model.safetensors"
