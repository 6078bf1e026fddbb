from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from dataprep.export.kohya_rules import Family
from dataprep.export.presets import Purpose, TrainPlan, epochs, train_toml
from dataprep.training.settings import load_config

PLAN = TrainPlan("character", "sd1", 512, 2, 20, 200, 20, "sks", 18, ((512, 512), (384, 640)))


def settings(plan: TrainPlan) -> dict[str, Any]:
    return {
        name: value for section in tomllib.loads(train_toml(plan)).values() for name, value in section.items()
    }


@pytest.mark.parametrize("purpose", get_args(Purpose))
def test_the_bundled_trainer_takes_every_preset_without_a_word(tmp_path: Path, purpose: Purpose) -> None:
    (tmp_path / "train.toml").write_text(train_toml(replace(PLAN, purpose=purpose)), "utf-8")
    config, notes = load_config(tmp_path / "train.toml")
    assert [note for note in notes if "decided by the prepared folder" not in note] == []
    assert config.batch_size == 2
    assert config.epochs == epochs(replace(PLAN, purpose=purpose))


@pytest.mark.parametrize(("samples", "expected"), [(200, 20), (4000, 2), (100_000, 2), (1, 100), (0, 100)])
def test_epochs_show_about_as_many_pictures_as_the_purpose_asks(samples: int, expected: int) -> None:
    assert epochs(replace(PLAN, samples_per_epoch=samples)) == expected


@pytest.mark.parametrize(("tokens", "length"), [(75, None), (76, 150), (150, 150), (151, 225)])
def test_long_captions_are_read_whole(tokens: int, length: int | None) -> None:
    assert settings(replace(PLAN, caption_tokens=tokens)).get("max_token_length") == length


@pytest.mark.parametrize(("images", "expected"), [(5, 16), (10, 32), (50, 32), (51, 64)])
def test_rank_follows_the_size_of_the_set_and_says_so(images: int, expected: int) -> None:
    plan = replace(PLAN, images=images)
    assert settings(plan)["network_dim"] == 2 * settings(plan)["network_alpha"] == expected
    assert f"{images} pictures; 10 to 50 are usual for character" in train_toml(plan)


def test_the_file_alone_tells_sd_scripts_how_to_read_folders() -> None:
    told = settings(replace(PLAN, extras=frozenset({"latents_flipped", "alpha_mask"})))
    assert (told["resolution"], told["caption_extension"]) == ("512,512", ".txt")
    assert (told["enable_bucket"], told["bucket_no_upscale"], told["bucket_reso_steps"]) == (True, True, 64)
    assert (told["min_bucket_reso"], told["max_bucket_reso"]) == (384, 640)
    assert told["flip_aug"] is told["alpha_mask"] is True
    assert not {"flip_aug", "alpha_mask"} & set(settings(PLAN))


def test_sdxl_has_no_clip_skip() -> None:
    assert "clip_skip" in settings(PLAN)
    assert "clip_skip" not in settings(replace(PLAN, family="sdxl"))
    assert settings(replace(PLAN, family="sdxl"))["no_half_vae"] is True


def test_class_pictures_double_the_steps() -> None:
    assert settings(PLAN)["lr_warmup_steps"] == 2 * settings(replace(PLAN, reg=0))["lr_warmup_steps"]


def test_the_data_sets_own_settings_win_over_the_preset(tmp_path: Path) -> None:
    text = train_toml(
        PLAN, {"network_dim": 4, "unet_lr": 1e-3, "noise_offset": 0.05, "multires_noise_discount": 0.2}
    )
    (tmp_path / "train.toml").write_text(text, "utf-8")
    config, _ = load_config(tmp_path / "train.toml")
    assert (config.rank, config.unet_rate, config.noise_offset) == (4, 1e-3, 0.05)
    assert config.multires_discount == 0.2
    assert text.count("network_dim") == 1


@pytest.mark.parametrize(
    ("family", "module"),
    [
        ("sd1", "networks.lora"),
        ("sd2", "networks.lora"),
        ("sdxl", "networks.lora"),
        ("sd3", "networks.lora_sd3"),
        ("flux", "networks.lora_flux"),
    ],
)
def test_each_family_has_its_own_module_and_only_options_that_it_knows(family: Family, module: str) -> None:
    plan = replace(PLAN, family=family, caption_tokens=100)
    found = settings(plan)
    assert found["network_module"] == module
    assert ("v2" in found) == (family == "sd2")
    assert ("clip_skip" in found) == (family in ("sd1", "sd2"))
    assert ("min_snr_gamma" in found) == ("max_token_length" in found) == (family in ("sd1", "sd2", "sdxl"))
    assert ("v_parameterization" in train_toml(plan)) == (family == "sd2")
    assert "v_parameterization" not in found
    assert ("does not train it" in train_toml(plan)) == (family in ("sd3", "flux"))
