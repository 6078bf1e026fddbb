"""Prepared folders for the trainer's tests; one thread, since two spin on work this small."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def prepared(tmp_path: Path, base_path: Path) -> Path:
    """A prepared folder: 5 images x 2 and 3 regularization images in two buckets."""
    from tiny import prepare_folder

    return prepare_folder(tmp_path / "set", base_path)
