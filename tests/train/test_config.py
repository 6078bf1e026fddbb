from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.train.config import TrainConfig, load_config


def test_reading_settings_does_not_import_torch() -> None:
    code = "import sys; import dataprep.train.config; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_setting_says_what_it_is() -> None:
    assert all(len(info.description or "") > 10 for info in TrainConfig.model_fields.values())


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


def test_blocks_are_read_by_name_as_a_list_and_as_kohyas_text() -> None:
    ones = ",".join(["1"] * 12 + ["5"] + ["1"] * 12)
    for value in ([1] * 12 + [5] + [1] * 12, ones):
        config = TrainConfig(block_ranks=value)  # type: ignore[arg-type]
        assert config.block_ranks is not None
        assert config.block_ranks["MID"] == 5
        assert config.block_ranks["OUT11"] == 1


def test_seldom_meant_settings_are_warned_of() -> None:
    assert any("finds its own rate" in line for line in TrainConfig(optimizer="prodigy").warnings())
    assert any("ComfyUI" in line for line in TrainConfig(network="lokr").warnings())
    assert any("experimental" in line for line in TrainConfig(network="dora").warnings())
    assert TrainConfig().warnings() == []
