from __future__ import annotations

import random
import shlex
import sys
from pathlib import Path

import pytest

from dataprep.training.watch import Rise, diverged, stopped, typed


def test_a_climbing_loss_is_said_once_with_the_limit() -> None:
    rise = Rise()
    said = [rise.look(step, 0.1 if step < 30 else 1.2, 1.0) for step in range(100)]
    (line,) = filter(None, said)
    assert "over 3 times its lowest (0.1, step 5)" in line
    assert "lower unet_rate" in line.lower()
    assert 30 < said.index(line) < 60


def test_a_loss_no_better_than_nothing_from_the_start_is_said() -> None:
    rise = Rise()
    (line,) = filter(None, (rise.look(step, 1.0, 1.0) for step in range(100)))
    assert "is 1, and 1 for answering nothing" in line


def test_losses_that_only_scatter_say_nothing() -> None:
    for seed in range(200):
        draw, rise = random.Random(seed), Rise()
        assert not any(rise.look(step, 0.13 * draw.expovariate(1), 1.0) for step in range(400))


def test_divergence_names_step_images_what_was_kept_and_what_to_try() -> None:
    text = str(diverged(4, ("img/a.png",), "the loss is 9, much", "model/x-step3.safetensors"))
    assert "step 5: the loss is 9, much; images" in text
    assert "img/a.png" in text
    assert "Last good weights: model/x-step3.safetensors" in text
    assert "lower unet_rate" in text


@pytest.mark.skipif(sys.platform == "win32", reason="quotes as a POSIX shell reads them")
def test_commands_to_type_hold_paths_with_spaces_together() -> None:
    assert typed(Path("a folder/it's")) != "a folder/it's"
    said = stopped(3, 20, Path("my set"), "cpu")
    command = said.partition("go on with: ")[2]
    assert shlex.split(command) == ["dataprep", "train", "my set", "--resume", "--device", "cpu"]
