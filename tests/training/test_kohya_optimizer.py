from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.training.kohya_optimizer import items
from dataprep.training.settings import load_config


def written(folder: Path, text: str) -> Path:
    path = folder / "kohya.toml"
    path.write_text(f"network_dim = 4\n{text}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "ours", "argument"),
    [
        ("AdamWScheduleFree", "adamw", "warmup_steps=10"),
        ("Lion8bit", "lion", "block_wise=False"),
        ("DAdaptAdam", "dadaptadam", "log_every=5"),
        ("prodigyplus.ProdigyPlusScheduleFree", "prodigy", "use_speed=True"),
    ],
)
def test_arguments_of_an_optimizer_that_is_not_here_are_named_and_not_fatal(
    tmp_path: Path, name: str, ours: str, argument: str
) -> None:
    path = written(
        tmp_path, f'optimizer_type = "{name}"\noptimizer_args = ["{argument}", "weight_decay=0.1"]'
    )
    config, notes = load_config(path)
    assert (config.optimizer, config.optimizer_args) == (ours, {"weight_decay": 0.1})
    assert any(f"optimizer_args {argument.partition('=')[0]} = " in note for note in notes)


def test_no_other_optimizer_trains_at_the_rate_of_one_that_tunes_itself(tmp_path: Path) -> None:
    path = written(tmp_path, 'optimizer_type = "came.CAME"\nlearning_rate = 1.0')
    with pytest.raises(ConfigError, match=r"CAME.*a rate of 1 is none for adamw"):
        load_config(path)
    _, notes = load_config(None, ["unet_rate=1.0"])
    assert "rates near 1 are for prodigy and dadaptadam" in str(notes)


def test_arguments_given_as_one_text_are_parted_before_each_name() -> None:
    assert items("algo=loha,conv_dim=4") == ["algo=loha", "conv_dim=4"]
    assert items("betas=0.9,0.99 weight_decay=0.1") == ["betas=0.9,0.99", "weight_decay=0.1"]
    assert items(["a=1"]) == ["a=1"]
    assert items("") == []
    config, _ = load_config(
        None, ["network_args=algo=loha conv_dim=4", 'optimizer_args=["weight_decay=0.1"]']
    )
    assert (config.network, config.conv_rank, config.optimizer_args) == ("loha", 4, {"weight_decay": 0.1})


def test_flags_are_read_beside_the_settings_that_they_change(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(
        'network = "loha"\nrank = 32\noptimizer = "prodigy"\nunet_rate = 1.0\ntext_encoder_rate = 1.0\n'
    )
    config, _ = load_config(path, ["conv_rank=8", "unet_lr=0.5"])
    assert (config.network, config.conv_rank, config.unet_rate) == ("loha", 8, 0.5)
    assert load_config(path, ["network_alpha=0"])[0].alpha == 32
    config, notes = load_config(path, ["rank_dropout=0.1", "unet_lr=0.5"])
    assert config.rank_dropout == 0.1
    assert not any("rank_dropout" in note for note in notes)
    config, _ = load_config(path, ['optimizer_args=["decouple=True", "d_coef=2"]'])
    assert config.optimizer_args == {"weight_decouple": True, "d_coef": 2}
    with pytest.raises(ConfigError, match="none for adamw"):
        load_config(path, ["optimizer_type=Sophia"])
    path.write_text("rank = 8\n")
    assert load_config(path, ["conv_rank=8", "unet_lr=0.5"])[0].network == "locon"


@pytest.mark.parametrize(
    "flag",
    ["network_args=5", 'network_args=["down_lr_weight=1,x"]', "optimizer_type=3", "optimizer_args=[1]"],
)
def test_what_cannot_be_read_is_named(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"{flag.partition('=')[0]} = .*not what sd-scripts takes"):
        load_config(None, [flag, "network_dim=4"])
