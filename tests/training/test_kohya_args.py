from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig
from dataprep.training.kohya_args import translate
from dataprep.training.kohya_names import RENAMED
from dataprep.training.settings import load_config

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
    assert config.optimizer_args == {"weight_decouple": True, "weight_decay": 0.01, "betas": (0.9, 0.999)}
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

    plan = TrainPlan("character", "sd", 512, 2, 20, 100, 50, "sks", 20, ((512, 512),))
    found, notes = translate(tomllib.loads(train_toml(plan)))
    config = TrainConfig(**found)
    assert (config.rank, config.alpha, config.output_name, config.batch_size) == (32, 16, "sks", 2)
    assert not any("not honoured" in note for note in notes)


def load(tmp_path: Path, text: str, *flags: str) -> tuple[TrainConfig, str]:
    (tmp_path / "kohya.toml").write_text(text)
    config, notes = load_config(tmp_path / "kohya.toml", flags)
    return config, "\n".join(notes)


def test_zeros_that_mean_off_in_a_graphical_front_ends_file_are_off_here(tmp_path: Path) -> None:
    off = """min_snr_gamma scale_weight_norms sample_every_n_epochs sample_every_n_steps save_every_n_steps
    noise_offset multires_noise_iterations network_dropout caption_dropout_rate v_pred_like_loss"""
    config, notes = load(tmp_path, "".join(f"{name} = 0\n" for name in off.split()) + "color_aug = false")
    assert config.min_snr_gamma is config.max_norm is config.sample_every_epochs is None
    assert config.save_every_steps is config.sample_every_steps is None
    assert "not honoured" not in notes  # False asks for nothing


def test_where_an_sd_scripts_file_is_silent_its_own_defaults_hold_and_are_said(tmp_path: Path) -> None:
    config, notes = load(tmp_path, "unet_lr = 1e-3\nnetwork_args = ['conv_dim=2']")
    assert (config.rank, config.alpha, config.schedule, config.steps) == (4, 1.0, "constant", 1600)
    assert (config.unet_rate, config.text_encoder_rate, config.batch_size) == (1e-3, 2e-6, 1)
    assert (config.conv_rank, config.conv_alpha, config.keep_tokens) == (2, 1.0, 0)
    assert "as its file is silent: rank 4, alpha 1.0" in notes
    assert load(tmp_path, "rank = 8\nepochs = 2")[0].schedule == TrainConfig().schedule  # our own file


def test_alpha_zero_is_the_rank(tmp_path: Path) -> None:
    assert load(tmp_path, "network_dim = 8\nnetwork_alpha = 0")[0].alpha == 8


@pytest.mark.parametrize(
    ("kind", "optimizer", "args"),
    [
        ("AdaFactor", "adafactor", {}),
        ("prodigyopt.Prodigy", "prodigy", {"bias_correction": True}),
        ("PagedAdamW8bit", "adamw8bit", {}),
        ("CAME", "adamw", {}),
    ],
)
def test_optimizers_are_found_or_replaced_by_their_nearest_kin(
    tmp_path: Path, kind: str, optimizer: str, args: dict[str, object]
) -> None:
    given = {
        "adafactor": '["scale_parameter=False", "relative_step=False", "warmup_init=False"]',
        "prodigy": '["use_bias_correction=True"]',
    }.get(optimizer, "[]")
    config, notes = load(tmp_path, f'optimizer_type = "{kind}"\noptimizer_args = {given}')
    assert (config.optimizer, config.optimizer_args) == (optimizer, args)
    assert (f"optimizer_type = '{kind}' is not here" in notes) is (kind in ("PagedAdamW8bit", "CAME"))


def test_variants_that_are_not_here_are_named_only_where_they_ask_for_something(tmp_path: Path) -> None:
    asked = "huber_scale = 2.0\nnoise_offset_random_strength = true\ntoken_warmup_step = 0.5"
    silent = "huber_scale = 1.0\nnoise_offset_random_strength = false\ntoken_warmup_min = 1"
    notes = load(tmp_path, asked)[1]
    assert all(
        f"{line} of the sd-scripts" in notes for line in ("huber_scale = 2.0", "token_warmup_step = 0.5")
    )
    assert "noise_offset_random_strength = True of the sd-scripts" in notes
    assert "no counterpart" not in load(tmp_path, silent)[1]


def test_what_has_no_counterpart_is_named_and_does_not_stop_the_run(tmp_path: Path) -> None:
    config, notes = load(
        tmp_path,
        """
        network_module = "networks.lora"
        network_args = ["rank_dropout=0.1", "algo=boft"]
        lr_scheduler = "adafactor"
        lr_warmup_steps = 10
        optimizer_type = "AdaFactor"
        optimizer_args = ["relative_step=True"]
        text_encoder_lr = [5e-5, 1e-5]
        sample_sampler = "heun"
        sample_prompts = "/nowhere/prompt.txt"
        """,
    )
    assert (config.network, config.rank_dropout, config.schedule) == ("lora", 0, "constant_with_warmup")
    assert (config.text_encoder_rate, config.sampler, config.sample_prompts) == (5e-5, "ddim", ())
    for named in ("rank_dropout", "boft", "lr_scheduler", "relative_step", "1e-05", "heun", "prompt.txt"):
        assert named in notes


def test_a_file_of_prompts_is_read(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("# mine\n\nsks girl --w 512\ngirl\n")
    config, _ = load(tmp_path, f"network_dim = 8\nsample_prompts = {str(tmp_path / 'prompt.txt')!r}")
    assert config.sample_prompts == ("sks girl --w 512", "girl")


@pytest.mark.parametrize(("args", "network"), [('"dora_wd=True"', "dora"), ('"dora_wd=False"', "locon")])
def test_dora_is_asked_for_in_lycoris_words(tmp_path: Path, args: str, network: str) -> None:
    text = f'network_module = "lycoris.kohya"\nnetwork_args = [{args}, "algo=lora"]'
    config, notes = load(tmp_path, text)
    assert config.network == network
    assert "dora_wd" not in notes


def test_flags_may_be_sd_scripts_names_and_win_over_the_file(tmp_path: Path) -> None:
    text = "max_train_steps = 100\nnetwork_dim = 8"
    assert load(tmp_path, text, "network_dim=2")[0].rank == 2
    assert load(tmp_path, text, "max_train_epochs=3")[0].steps is None
    assert load(tmp_path, "max_train_epochs = 3", "steps=5")[0].steps == 5


def test_the_prepared_folders_own_file_is_read_in_silence(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text('network_dim = 8\nresolution = "512,512"\n', "utf-8")
    assert any("decided by the prepared folder" in note for note in load_config(tmp_path / "train.toml")[1])
    (tmp_path / "manifest.parquet").write_bytes(b"")
    assert not any("decided by the prepared folder" in n for n in load_config(tmp_path / "train.toml")[1])


def test_what_network_dropout_drops_is_said() -> None:
    settings, notes = translate({"network_dropout": 0.1})
    assert settings["dropout"] == 0.1
    assert any("network_dropout = 0.1: dropped before the down matrix" in note for note in notes)
    assert not any("network_dropout" in note for note in translate({"network_dropout": 0})[1])


def test_v_parameterization_is_honoured_when_it_says_no() -> None:
    assert translate({"v_parameterization": True})[0]["target"] == "v"
    assert translate({"v_parameterization": False})[0]["target"] == "eps"


@pytest.mark.parametrize("name", ["save_every", "wombat", "machine"])
def test_a_name_that_neither_program_has_stops_in_either_kind_of_file(tmp_path: Path, name: str) -> None:
    for other in ("network_dim = 16", "rank = 16"):
        with pytest.raises(ConfigError, match=f"unknown setting {name}; "):
            load(tmp_path, f"{other}\n{name} = 2\n")
    with pytest.raises(ConfigError, match="did you mean save_every"):
        load(tmp_path, "rank = 16\nsave_every = 2\n")


def test_in_our_own_file_a_setting_that_only_sd_scripts_has_stops(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="full_bf16 is sd-scripts' and has no counterpart here"):
        load(tmp_path, "rank = 16\nfull_bf16 = true\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network_train_unet_only = true\nnetwork_train_text_encoder_only = true", "exclude each other"),
        ("use_8bit_adam = true\nuse_lion_optimizer = true", "use_lion_optimizer = True exclude"),
        ('use_8bit_adam = true\noptimizer_type = "AdamW8bit"', "optimizer_type = 'AdamW8bit' exclude"),
        ("v_parameterization = true\nv_pred_like_loss = 1.0", "v_pred_like_loss = 1.0 exclude"),
        ("[a]\nnetwork_dim = 8\n[b]\nnetwork_dim = 16", "network_dim stands in two sections, as 8 and 16"),
        ("cache_text_encoder_outputs = true", "needs network_train_unet_only = true"),
        ('optimizer_type = "Lion"\noptimizer = "adamw"', "optimizer_type = 'Lion' and optimizer = 'adamw'"),
        ("text_encoder_lr = 1e-5\ntext_encoder_rate = 1e-4", "text_encoder_lr = 1e-05 and text_encoder_r"),
        ("network_train_unet_only = true\ntrain_text_encoder = true", "train_text_encoder = True contradict"),
        ("network_dropout = 0.1\nnetwork_args = ['dropout=0.2']", "network_dropout = 0.1 and network_args"),
        ("conv_rank = 4\nnetwork_args = ['conv_dim=8']", "conv_rank = 4 and network_args"),
        ("v_parameterization = false\ntarget = 'v'", "v_parameterization = False and target = 'v'"),
    ],
)
def test_settings_of_sd_scripts_that_contradict_each_other_stop(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("use_8bit_adam = true", "optimizer", "adamw8bit"),
        ("use_lion_optimizer = true\nuse_8bit_adam = false", "optimizer", "lion"),
        ("optimizer_type = ''\nuse_8bit_adam = false", "optimizer", "adamw"),
        ("cache_text_encoder_outputs = true\nnetwork_train_unet_only = true", "train_text_encoder", False),
        ("learning_rate = 1e-5\nunet_lr = 1e-4", "unet_rate", 1e-4),
        ("network_module = 'lycoris.kohya'\nnetwork_args = ['algo=loha']", "network", "loha"),
        ("network_dim = 8\nnetwork_args = ['conv_dim=4']\nconv_rank = 4", "conv_rank", 4),
    ],
)
def test_settings_of_sd_scripts_that_go_together_are_read(
    tmp_path: Path, text: str, name: str, value: object
) -> None:
    assert getattr(load(tmp_path, text)[0], name) == value


@pytest.mark.parametrize("typo", ["rnk = 8", "networkdim = 8", "unet_rat = 3", "save_every_n_epoch = 1"])
def test_a_typing_error_stops_in_an_sd_scripts_file_too(tmp_path: Path, typo: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown setting {typo.split()[0]}; did you mean"):
        load(tmp_path, f"network_dim = 16\n{typo}\n")


def test_settings_that_only_sd_scripts_has_are_no_typing_errors(tmp_path: Path) -> None:
    text = 'network_dim = 16\nlr_scheduler_type = "x"\nvalidate_every_n_steps = 5\nnoise_offset_type = "y"\n'
    _, notes = load(tmp_path, text)
    assert all(f"{name} = " in notes for name in ("lr_scheduler_type", "validate_every_n_steps"))


def test_a_setting_under_both_names_must_have_one_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="v_parameterization = True and target = 'eps' contradict"):
        load(tmp_path, 'v_parameterization = true\ntarget = "eps"\n')
    with pytest.raises(ConfigError, match="network_dim = 16 and rank = 8 contradict each other"):
        load(tmp_path, "network_dim = 16\nrank = 8\n")
    assert load(tmp_path, "network_dim = 16\nrank = 16\n")[0].rank == 16


def test_either_kind_of_mask_is_enough(tmp_path: Path) -> None:
    assert load(tmp_path, "masked_loss = true\nalpha_mask = false\n")[0].masked
    assert load(tmp_path, "masked_loss = false\nalpha_mask = true\n")[0].masked
    assert not load(tmp_path, "masked_loss = false\nalpha_mask = false\n")[0].masked


@pytest.mark.parametrize("args", ["", 'network_args = ["algo=locon"]', 'network_args = ["algo=lora"]'])
def test_lycoris_gives_convolutions_the_rank_and_alpha_of_the_rest(tmp_path: Path, args: str) -> None:
    text = f'network_module = "lycoris.kohya"\nnetwork_dim = 16\nnetwork_alpha = 8\n{args}\n'
    config, notes = load(tmp_path, text)
    assert (config.network, config.conv_rank, config.conv_alpha) == ("locon", None, None)  # as rank, alpha
    assert "conv_alpha" not in notes


def test_what_this_program_decides_itself_is_named_where_it_was_asked_for(tmp_path: Path) -> None:
    text = 'network_dim = 16\noutput_dir = "/out"\nsave_model_as = "ckpt"\nv2 = true\nlog_with = "wandb"\n'
    config, notes = load(tmp_path, text)
    assert not config.tensorboard
    for name in ("output_dir = '/out'", "save_model_as = 'ckpt'", "v2 = true", "log_with = 'wandb'"):
        assert name in notes
    _, notes = load(tmp_path, 'network_dim = 16\nsave_model_as = "safetensors"\nv2 = false\n')
    assert "save_model_as" not in notes
    assert "v2" not in notes


def test_tensorboard_is_written_where_an_sd_scripts_file_asks_for_it(tmp_path: Path) -> None:
    from importlib.util import find_spec

    config, notes = load(tmp_path, 'network_dim = 16\nlog_with = "tensorboard"\n')
    assert config.tensorboard == (find_spec("tensorboard") is not None)
    assert config.tensorboard or "tensorboard is not installed" in notes
