from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataprep.errors import DiskError
from dataprep.train.config import TrainConfig
from dataprep.training.log import Log, trained_base


def test_the_log_forgets_steps_after_a_checkpoint_and_half_a_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "log" / "train.jsonl")
    log.start(TrainConfig(), "x", 9, tmp_path / "base", "f")
    for step in range(1, 6):
        log.add(step=step, loss=0.5)
    log.flush()
    with log.path.open("a") as file:
        file.write('{"step": 6, "lo')
    log.cut(3)
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert lines[0]["event"] == "start"
    assert [line["step"] for line in lines[1:]] == [1, 2, 3]


def test_the_log_knows_the_base_model_of_the_last_training(tmp_path: Path) -> None:
    assert trained_base(tmp_path) is None
    base = tmp_path / "models" / ".." / "base"
    Log(tmp_path / "log" / "train.jsonl").start(TrainConfig(), "x", 9, base, "f")
    assert trained_base(tmp_path) == tmp_path / "base"
    (tmp_path / "log" / "train.jsonl").write_text("half a li")
    assert trained_base(tmp_path) is None


def test_a_log_that_cannot_be_written_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "train.jsonl")
    log.start(TrainConfig(), "x", 200, tmp_path / "base", "f")

    def full(self: Log) -> None:
        raise DiskError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(Log, "flush", full)
        for step in range(1, 102):
            log.add(step=step)
    log.close()
    assert len(log.path.read_text().splitlines()) == 102


# TensorBoard's own protocol buffers warn of a later Python.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_the_loss_of_each_step(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = Log(tmp_path / "log" / "train.jsonl", tensorboard=True)
    log.start(TrainConfig(), "x", 2, tmp_path / "base", "f")
    for step in (1, 2):
        log.add(step=step, loss=0.5 / step, smoothed=0.5)
    log.close()
    found = reader.EventAccumulator(str(tmp_path / "log"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
