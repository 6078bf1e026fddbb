from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig
from dataprep.training.settings import load_config


def test_flags_win_over_the_file_and_bare_words_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("rank = 4\nunet_rate = 2e-4\noptimizer_args = {weight_decay = 0.1}\n")
    config, notes = load_config(path, ["rank=8", "network=locon", "sample_prompts=['a', 'b']"])
    assert (config.rank, config.network, config.unet_rate) == (8, "locon", 2e-4)
    assert config.sample_prompts == ("a", "b")
    assert config.optimizer_args == {"weight_decay": 0.1}
    assert notes == []
    assert load_config(None)[0] == TrainConfig()


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
