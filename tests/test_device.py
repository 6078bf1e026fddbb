"""What --device may say: a mistake is named before any work."""

from __future__ import annotations

import pytest
import torch

from dataprep.device import checked_device
from dataprep.errors import ConfigError


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_what_every_machine_has_passes(wanted: str) -> None:
    assert checked_device(wanted) == wanted


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:-1", "CPU", ""])
def test_another_word_is_refused_with_those_that_are_known(wanted: str) -> None:
    with pytest.raises(ConfigError, match="wanted auto, cpu or cuda"):
        checked_device(wanted)


def test_a_gpu_that_torch_does_not_see_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert checked_device("cuda") == "cuda"
    with pytest.raises(ConfigError, match=r"no such GPU.*--device auto or cpu"):
        checked_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="--device cuda: there is no such GPU"):
        checked_device("cuda")
