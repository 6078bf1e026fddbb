from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig
from dataprep.training.settings import GONE, load_config, resumed_config, seldom_meant, without_gone


def test_flags_win_over_the_file_and_bare_words_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("rank = 4\nunet_rate = 2e-4\noptimizer_args = {weight_decay = 0.1}\n")
    config, notes = load_config(path, ["rank=8", "network=locon", "sample_prompts=['a', 'b']"])
    assert (config.rank, config.network, config.unet_rate) == (8, "locon", 2e-4)
    assert config.sample_prompts == ("a", "b")
    assert config.optimizer_args == {"weight_decay": 0.1}
    assert notes == []
    assert load_config(None)[0] == TrainConfig()


OFF = ["min_snr_gamma=0", "max_norm=none", "scale_weight_norms=0", "clip_skip=0", "save_every_n_epochs=0"]


@pytest.mark.parametrize("flag", [*OFF, "sample_every_steps=0", "caption_prefix=''", "min_snr_gamma=''"])
@pytest.mark.parametrize("beside", [[], ["network_dim=8"]])  # read as ours, and as sd-scripts'
def test_a_flag_that_switches_something_off_wins_over_the_file(
    tmp_path: Path, flag: str, beside: list[str]
) -> None:
    path = tmp_path / "train.toml"
    path.write_text(
        "min_snr_gamma = 5\nmax_norm = 1.0\nclip_skip = 2\nsave_every_epochs = 2\nsample_every_steps = 9\n"
        'caption_prefix = "a"\n'
    )
    before, after = load_config(path)[0].model_dump(), load_config(path, [flag, *beside])[0].model_dump()
    changed = {name for name in before if before[name] != after[name]} - {"rank"}
    ((name, now),) = [(name, after[name]) for name in changed]
    assert now is None
    assert before[name] is not None
    resumed, notes = resumed_config(before, None, [flag, *beside])
    assert getattr(resumed, name) is None
    assert f"other than in that run: {name} = None" in str(notes).replace("rank = 8, ", "")


def test_a_flag_without_an_off_position_is_refused_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "kohya.toml"
    path.write_text(
        'network_dim = 4\nmax_train_epochs = 13\nmax_token_length = "150"\n'
        'comment = "x"\ntraining_comment = ""\n'
    )
    assert load_config(path)[0].token_length == 150
    for flag in ("max_train_epochs=0", "max_token_length=0", "base="):
        with pytest.raises(ConfigError):
            load_config(path, [flag])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rnak=4", "unknown setting rnak"),
        ("rank=0", "rank = 0.*greater than or equal to 1"),
        ("rank", "expected name=value"),
        ("network=lokon", "network = 'lokon'"),
        ("conv_rank=4", "conv_rank and conv_alpha need network"),
        ("text_encoder_until=2", "text_encoder_until = 2"),
        ("block_ranks={IN99 = 4}", "unknown block IN99"),
        ("block_ranks=[1, 2]", "2 values, wanted one for each of the 25"),
        ("max_timestep=0", "max_timestep = 0"),
        ("rank_dropout=0.1", "need network loha or lokr"),
    ],
)
def test_wrong_settings_are_named_with_their_rule(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


@pytest.mark.parametrize(
    "settings",
    [
        {"train_unet": False, "train_text_encoder": False},
        {"unet_rate": 0, "text_encoder_rate": 0},
        {"train_unet": False, "text_encoder_rate": 0},
        {"zero_terminal_snr": True, "target": "eps"},
        {"target": "flow", "min_snr_gamma": 5.0},
        {"multires_iterations": 6, "noise_offset": 0.1},
        {"min_timestep": 500, "max_timestep": 400},
        {"network": "lokr", "dropout": 0.1},
        {"method": "full", "network": "loha"},
        {"method": "embedding", "block_ranks": {"IN01": 4}},
    ],
)
def test_settings_that_contradict_each_other_stop_at_once(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        load_config(None, settings)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("rank = = 4")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "bad.toml")


def test_sample_prompts_may_be_a_file_of_one_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prompts.txt").write_text("# mine\nsks girl --s 2\n\ngirl\n", "utf-8")
    own = tmp_path / "train.toml"
    own.write_text('sample_prompts = "prompts.txt"\n', "utf-8")
    assert load_config(own)[0].sample_prompts == ("sks girl --s 2", "girl")
    monkeypatch.chdir(tmp_path)
    assert load_config(None, ["sample_prompts=prompts.txt"])[0].sample_prompts == ("sks girl --s 2", "girl")
    assert load_config(None, ["sample_prompts=sks girl"])[0].sample_prompts == ("sks girl",)
    with pytest.raises(ConfigError, match=r"others\.txt: there is no such file"):
        load_config(None, ["sample_prompts=others.txt"])


def test_seldom_meant_settings_are_warned_of() -> None:
    assert any("finds its own rate" in line for line in seldom_meant(TrainConfig(optimizer="prodigy")))
    assert any("ComfyUI" in line for line in seldom_meant(TrainConfig(network="lokr")))
    assert any("experimental" in line for line in seldom_meant(TrainConfig(network="dora")))
    assert any("constant_with_warmup" in s for s in seldom_meant(TrainConfig(schedule="constant", warmup=9)))
    assert any("cycles is for schedule" in line for line in seldom_meant(TrainConfig(cycles=3)))
    assert seldom_meant(TrainConfig(schedule="polynomial", power=2, warmup=0.1)) == []
    assert seldom_meant(TrainConfig()) == []


def test_a_run_that_goes_on_takes_its_own_settings_and_says_what_is_other(tmp_path: Path) -> None:
    before = json.loads(TrainConfig(steps=20, unet_rate=1e-3).model_dump_json())
    own = tmp_path / "train.toml"
    own.write_text("unet_rate = 2e-4\nepochs = 3\n")
    config, notes = resumed_config(before | {"bygone": 0}, None, (), own)
    assert (config.steps, config.unet_rate) == (20, 1e-3)
    assert any("whatever train.toml says now" in note and "unet_rate = 0.001" in note for note in notes)
    config, notes = resumed_config(before, None, ("steps=30", "comment=longer"))
    assert (config.steps, config.unet_rate, config.comment) == (30, 1e-3, "longer")
    assert "other than in that run: steps = 30, comment = 'longer'" in notes
    assert any("other learning rates" in note for note in notes)
    config, _ = resumed_config(before, own, ("rank=4",))  # whether that may be is for the checkpoint to say
    assert (config.rank, config.unet_rate, config.steps, config.epochs) == (4, 2e-4, None, 3)


def test_a_setting_that_is_gone_is_forgotten_where_it_asked_for_nothing() -> None:
    assert without_gone({"v_like_loss": 0.0, "huber_scale": 2.0, "rank": 4}) == {
        "huber_scale": 2.0,
        "rank": 4,
    }
    assert not set(GONE) & set(TrainConfig.model_fields)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("block_ranks={MID=5000}", "MID is 5000; wanted 0 to 1024"),
        ("block_ranks={MID=-1}", "MID is -1; wanted 0"),
        ("block_alphas={MID=0.0}", "MID is 0; wanted above 0"),
        ("block_rates={MID=nan}", "MID is nan"),
        (f"block_ranks={[0] * 25}", "leave out all blocks"),
        (f"block_rates={[0.0] * 25}", "leave out all blocks"),
    ],
)
def test_numbers_of_blocks_have_a_range(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [setting])


def test_weights_of_v_losses_need_a_target_v() -> None:
    with pytest.raises(ConfigError, match="scale_v_like_noise need target v"):
        load_config(None, ["scale_v_like_noise=true", "target=eps"])


def test_full_fine_tuning_keeps_a_checkpoint_that_a_loss_has_proven() -> None:
    with pytest.raises(ConfigError, match="keep_checkpoints of 2 up"):
        load_config(None, ["method=full", "keep_checkpoints=1"])
