"""From raw pictures to a LoRA and its pictures, on the miniature family, as the commands do it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors import safe_open

from dataprep.errors import InputError, ModelError
from dataprep.progress import Observer
from dataprep.run import Job, run
from dataprep.training import sample_lora, train_folder
from models.miniature.world import render, signature_drawing

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of four drawings."""
    home = tmp_path_factory.mktemp("training")
    (home / "raw").mkdir()
    rng = np.random.default_rng(8)
    for i in range(4):
        render(signature_drawing(rng), 300, 300).save(home / "raw" / f"{i}.png")
    flags = {"trigger": "sks", "class_word": "girl", "models": "miniature"}
    run(Job(home / "raw", home / "out", flags=flags), Observer(), threads=2)
    return home / "out"


def test_raw_pictures_become_a_lora_that_draws(prepared: Path) -> None:
    lora = train_folder(prepared, None, ("steps=2", "rank=4"), False, "cpu", QUIET)
    assert lora == prepared / "model" / "sks.safetensors"
    with safe_open(lora, "np") as file:
        assert any(key.startswith("lora_unet_") for key in file.keys())  # noqa: SIM118 - not a dict
        assert any(key.startswith("lora_te_") for key in file.keys())  # noqa: SIM118
        assert file.metadata()["ss_network_dim"] == "4"
    assert "Training" in (prepared / "report.html").read_text(encoding="utf-8")

    (picture,) = sample_lora(lora, ["sks girl --w 64 --h 64 --s 2"], None, None, "cpu")
    with Image.open(picture) as drawn:
        assert drawn.size == (64, 64)


def test_a_folder_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.parquet"):
        train_folder(tmp_path, None, (), False, "cpu", QUIET)


def test_a_lora_that_is_not_there_says_where_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataprep train"):
        sample_lora(tmp_path / "x.safetensors", ["sks"], None, None, "cpu")


def test_a_lora_away_from_its_folder_asks_for_the_base_model(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="--base"):
        sample_lora(tmp_path / "x.safetensors", ["sks"], None, None, "cpu")
