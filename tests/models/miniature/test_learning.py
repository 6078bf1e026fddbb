"""Schedule, averaged weights, whole files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from models.miniature.learning import Average, cosine, replace_file, replace_folder


def test_the_rate_rises_to_its_peak_and_falls_to_a_hundredth() -> None:
    rates = [cosine(step, 100, 1.0, 10) for step in range(101)]
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1)
    assert rates[100] == pytest.approx(0.01)


def test_the_average_forgets_the_start_and_follows_the_weights() -> None:
    layer = nn.Linear(1, 1)
    average = Average(layer, 0.9)
    with torch.no_grad():
        layer.weight.fill_(5.0)
    for _ in range(200):
        average.update(layer)
    assert average.weights["weight"].item() == pytest.approx(5.0, abs=1e-3)


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    target.write_text("old", "utf-8")

    def fail(path: Path) -> None:
        path.write_text("half", "utf-8")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(fail, target)
    assert target.read_text("utf-8") == "old"


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale").touch()

    def write(path: Path) -> None:
        path.mkdir()
        (path / "fresh").touch()

    replace_folder(write, target)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "fresh"]
