from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from dataprep.inference.base import load_base
from dataprep.train.conditions import Captions
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared
from dataprep.train.telling import default_prompts, diverged, interruptible, start_notes


def test_the_first_ctrl_c_is_noted_and_the_second_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible() as asked:  # noqa: PT012
        assert not asked.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(1)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_default_prompts_come_with_and_without_the_trigger(prepared: Path) -> None:
    prompts = default_prompts(Prepared(prepared, TrainConfig()))
    assert prompts[:2] == (
        "sks girl, tag0, red hair --w 64 --h 64 --d 0 --s 20",
        "girl, tag0, red hair --w 64 --h 64 --d 0 --s 20",
    )
    assert len(prompts) == 4


def test_the_start_says_the_arithmetic_and_what_is_odd(prepared: Path, base_path: Path) -> None:
    config = TrainConfig(use_reg=True, batch_size=16, precision="bf16")
    data = Prepared(prepared, config)
    notes = start_notes(data, Captions(load_base(base_path, "cpu", torch.float32), config, 6), 6, "cpu")
    assert "5 images, 10 with repeats; 3 regularization images, 10 with repeats" in notes
    assert "2 buckets, 2 batches of up to 16 an epoch; 6 steps, 3 epochs" in notes
    assert "buckets that never fill a batch of 16: 64x64, 64x128" in notes
    assert any("float32 is used" in note for note in notes)


def test_divergence_names_step_images_and_what_to_try(tmp_path: Path) -> None:
    text = str(diverged(tmp_path, 4, ("img/a.png",)))
    assert "step 5" in text
    assert "img/a.png" in text
    assert "none saved yet" in text
    assert "lower unet_rate" in text
