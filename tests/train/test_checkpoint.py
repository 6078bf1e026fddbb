from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dataprep.errors import ConfigError, InputError
from dataprep.train import checkpoint
from dataprep.train.checkpoint import (
    LastGood,
    check_same_run,
    latest_checkpoint,
    proven,
    refuse_to_lose,
    remove_checkpoints,
    save_checkpoint,
)
from dataprep.train.config import TrainConfig


def state(step: int) -> dict[str, object]:
    return {
        "step": step,
        "steps": 15,
        "config": TrainConfig().model_dump_json(),
        "manifest": "m",
        "network": {"a": torch.ones(2)},
    }


def test_only_the_newest_checkpoints_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010.pt", "step-00000015.pt"]
    assert latest_checkpoint(tmp_path)["step"] == 15
    remove_checkpoints(tmp_path)
    assert latest_checkpoint(tmp_path) is None


def test_a_checkpoint_with_a_program_in_it_is_not_run(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(5), keep=2)

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"step": 9, "network": Bomb()}, tmp_path / "step-00000009.pt")
    assert latest_checkpoint(tmp_path)["step"] == 5
    assert not (tmp_path / "ran").exists()


def test_a_resumed_run_must_be_the_same_but_for_what_is_shown() -> None:
    check_same_run(state(1), TrainConfig(sample_prompts=("a",), steps=99, save_precision="fp32"), "m")
    with pytest.raises(ConfigError, match=r"seed \(was 42, is 1\)"):
        check_same_run(state(1), TrainConfig(seed=1), "m")
    with pytest.raises(InputError, match="changed since"):
        check_same_run(state(1), TrainConfig(), "other")


def test_a_checkpoint_of_a_version_with_other_settings_is_refused_by_name() -> None:
    config = json.loads(TrainConfig().model_dump_json()) | {"bygone": 3}
    with pytest.raises(ConfigError, match=r"bygone \(was 3, is None\)"):
        check_same_run(state(1) | {"config": json.dumps(config)}, TrainConfig(), "m")


def test_every_free_setting_exists() -> None:
    assert set(TrainConfig.model_fields) >= checkpoint.FREE


def test_an_unfinished_training_is_not_overwritten_and_both_ways_on_are_named(tmp_path: Path) -> None:
    refuse_to_lose(tmp_path)
    save_checkpoint(tmp_path, state(10), keep=2)
    with pytest.raises(ConfigError, match=r"stopped here after step 10 of 15\..*--resume.*--restart"):
        refuse_to_lose(tmp_path)
    save_checkpoint(tmp_path, state(15), keep=2)
    refuse_to_lose(tmp_path)


def test_the_last_good_tensors_are_those_from_which_a_step_was_in_order() -> None:
    weight = torch.zeros(2)
    good = LastGood({"a": weight})
    for step in (1, 2, 3):
        weight.fill_(step)  # an optimizer step, after a loss in order
        good.turn(step)
    weight.fill_(torch.nan)
    assert good.step == 2  # nothing is known of what the third step left
    good.restore()
    assert weight.tolist() == [2, 2]


def test_the_proven_checkpoint_is_older_than_the_loss_that_was_lost(tmp_path: Path) -> None:
    assert proven(tmp_path, 9) is None
    for step in (4, 5, 6):
        save_checkpoint(tmp_path, state(step), keep=9)
    assert proven(tmp_path, 6) == tmp_path / "step-00000005.pt"  # of 6 steps are the weights that gave it
    assert proven(tmp_path, 4) is None


def test_settings_that_are_gone_matter_only_where_they_asked_for_something() -> None:
    old = json.loads(TrainConfig().model_dump_json())
    del old["compile"], old["tag_dropout"]  # not yet known to it
    idle = old | {"huber_scale": 1.0, "warmup_tags": 1, "noise_offset_random": False}
    check_same_run(state(1) | {"config": json.dumps(idle)}, TrainConfig(), "m")
    with pytest.raises(ConfigError, match=r"huber_scale \(was 2.0, is None\)"):
        check_same_run(state(1) | {"config": json.dumps(idle | {"huber_scale": 2.0})}, TrainConfig(), "m")
    with pytest.raises(ConfigError, match=r"tag_dropout \(was 0.0, is 0.5\)"):
        check_same_run(state(1) | {"config": json.dumps(old)}, TrainConfig(tag_dropout=0.5), "m")
