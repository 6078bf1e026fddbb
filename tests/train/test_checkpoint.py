from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dataprep.errors import ConfigError, DiskError, InputError
from dataprep.train import checkpoint
from dataprep.train.checkpoint import (
    Log,
    check_same_run,
    diverged,
    latest_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from dataprep.train.config import TrainConfig


def state(step: int) -> dict[str, object]:
    return {
        "step": step,
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


def test_every_free_setting_exists() -> None:
    assert set(TrainConfig.model_fields) >= checkpoint.FREE


def test_the_log_forgets_steps_after_a_checkpoint_and_half_a_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "log" / "train.jsonl")
    log.start(TrainConfig(), "x", 9)
    for step in range(1, 6):
        log.add(step=step, loss=0.5)
    log.flush()
    with log.path.open("a") as file:
        file.write('{"step": 6, "lo')
    log.cut(3)
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert lines[0]["event"] == "start"
    assert [line["step"] for line in lines[1:]] == [1, 2, 3]


def test_a_log_that_cannot_be_written_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "train.jsonl")
    log.start(TrainConfig(), "x", 200)

    def full(self: Log) -> None:
        raise DiskError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(Log, "flush", full)
        for step in range(1, 102):
            log.add(step=step)
    log.close()
    assert len(log.path.read_text().splitlines()) == 102


def test_divergence_names_step_images_and_what_to_try(tmp_path: Path) -> None:
    text = str(diverged(tmp_path, 4, ("img/a.png",), "the loss is 9, much"))
    assert "step 5: the loss is 9, much; images" in text
    assert "img/a.png" in text
    assert "none saved yet" in text
    assert "lower unet_rate" in text


# TensorBoard's own protocol buffers warn of a later Python.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_the_loss_of_each_step(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = Log(tmp_path / "log" / "train.jsonl", tensorboard=True)
    log.start(TrainConfig(), "x", 2)
    for step in (1, 2):
        log.add(step=step, loss=0.5 / step, smoothed=0.5)
    log.close()
    found = reader.EventAccumulator(str(tmp_path / "log"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
