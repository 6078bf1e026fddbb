"""Tiny models and prepared folders for the trainer's tests; one thread, since two spin on work this small."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # for tiny.py


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SD1.5-like diffusers folder."""
    from tiny import save_base

    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def xl_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SDXL-like diffusers folder."""
    from tiny import save_base

    return save_base(tmp_path_factory.mktemp("xl"), "sdxl")


@pytest.fixture
def prepared(tmp_path: Path, base_path: Path) -> Path:
    """A prepared folder: 5 images x 2 and 3 regularization images in two buckets."""
    from tiny import prepare_folder

    return prepare_folder(tmp_path / "set", base_path)
