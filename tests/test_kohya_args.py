from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.kohya_args import RENAMED, translate
from dataprep.train.config import TrainConfig, load_config

FILE = """
[model]
pretrained_model_name_or_path = "base.safetensors"
v2 = false
[network]
network_module = "networks.lora"
network_dim = 32
network_alpha = 16
network_args = ["conv_dim=8", "conv_alpha=4", "block_dims=2,2,2,2,2,2,2,2,2,2,2,2,8,2,2,2,2,2,2,2,2,2,2,2,2"]
[data]
train_data_dir = "./img"
resolution = "512,512"
shuffle_caption = true
keep_tokens = 1
max_token_length = 225
clip_skip = 2
[training]
learning_rate = 1e-4
unet_lr = 5e-4
optimizer_type = "Prodigy"
optimizer_args = ["decouple=True", "weight_decay=0.01", "betas=0.9,0.999"]
lr_scheduler = "cosine_with_restarts"
lr_scheduler_num_cycles = 3
lr_warmup_steps = 100
max_train_steps = 1600
max_train_epochs = 10
train_batch_size = 4
mixed_precision = "no"
save_precision = "float"
min_snr_gamma = 5
noise_offset = 0.05
network_train_unet_only = true
xformers = true
sample_sampler = "k_euler_a"
tokenizer_cache_dir = "x"
"""


def test_an_sd_scripts_file_runs_and_what_is_not_honoured_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kohya.toml"
    path.write_text(FILE)
    config, notes = load_config(path)
    wanted = {
        "base": "base.safetensors",
        "network": "locon",
        "rank": 32,
        "alpha": 16,
        "conv_rank": 8,
        "conv_alpha": 4,
        "shuffle": True,
        "keep_tokens": 1,
        "token_length": 225,
        "clip_skip": 2,
        "unet_rate": 5e-4,
        "text_encoder_rate": 1e-4,
        "optimizer": "prodigy",
        "schedule": "cosine_with_restarts",
        "cycles": 3,
        "warmup": 100,
        "steps": None,
        "epochs": 10,
        "batch_size": 4,
        "precision": "fp32",
        "save_precision": "fp32",
        "min_snr_gamma": 5,
        "noise_offset": 0.05,
        "train_text_encoder": False,
        "sampler": "euler_a",
    }
    assert {name: getattr(config, name) for name in wanted} == wanted
    assert config.optimizer_args == {"decouple": True, "weight_decay": 0.01, "betas": (0.9, 0.999)}
    assert config.block_ranks is not None
    assert config.block_ranks["MID"] == 8
    assert any("tokenizer_cache_dir = 'x'" in note and "not honoured" in note for note in notes)
    assert any("resolution, train_data_dir" in note for note in notes)


def test_our_own_files_are_not_touched() -> None:
    table = {"rank": 4, "optimizer_args": {"weight_decay": 0.1}, "sample_prompts": ["a"], "typo": 1}
    assert translate(table) == (table, [])


def test_steps_hold_where_no_epochs_are_given() -> None:
    assert translate({"max_train_steps": 500})[0] == {"steps": 500}


@pytest.mark.parametrize(("algo", "network"), [("loha", "loha"), ("lokr", "lokr"), ("locon", "locon")])
def test_lycoris_algorithms_become_networks(algo: str, network: str) -> None:
    found, notes = translate(
        {"network_module": "lycoris.kohya", "network_args": [f"algo={algo}", "conv_dim=4", "preset=full"]}
    )
    assert found == {"network": network, "conv_rank": 4}
    assert notes == ["network_args preset=full is not honoured"]


def test_block_weights_become_block_rates() -> None:
    down = ",".join(["0.5"] * 12)
    found, _ = translate({"network_args": [f"down_lr_weight={down}", "mid_lr_weight=2"]})
    rates = TrainConfig(**found).block_rates
    assert rates is not None
    assert (rates["IN04"], rates["MID"], rates["OUT05"]) == (0.5, 2, 1)


def test_every_translated_name_is_one_of_ours() -> None:
    assert set(RENAMED.values()) <= set(TrainConfig.model_fields)


def test_a_value_out_of_range_is_still_refused(tmp_path: Path) -> None:
    path = tmp_path / "kohya.toml"
    path.write_text("network_dim = 0")
    with pytest.raises(ConfigError, match="rank = 0"):
        load_config(path)


def test_what_this_program_writes_for_sd_scripts_is_read_without_loss() -> None:
    from dataprep.export.presets import TrainPlan, train_toml

    plan = TrainPlan("character", "sd", 512, 2, 100, 50, "sks", 20)
    found, notes = translate(tomllib.loads(train_toml(plan)))
    config = TrainConfig(**found)
    assert (config.rank, config.alpha, config.output_name, config.batch_size) == (32, 16, "sks", 2)
    assert not any("not honoured" in note for note in notes)
