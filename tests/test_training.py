"""From raw pictures to a LoRA and its pictures, on the miniature family, as the commands do it."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors import safe_open

from dataprep.errors import ConfigError, InputError, ModelError
from dataprep.progress import Observer
from dataprep.run import Job, run
from dataprep.training import energy_text, extract_lora, memory_text, sample_lora, train_folder
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_lora_is_drawn_as_it_was_trained(prepared: Path) -> None:
    prompt = "sks girl --w 64 --h 64 --s 2 --d 5"
    flags = ("steps=1", "target=v", "zero_terminal_snr=true", "clip_skip=2", f"sample_prompts=['{prompt}']")
    lora = train_folder(prepared, None, (*flags, "save_precision=fp32", "output_name=v"), False, "cpu", QUIET)
    (picture,) = sample_lora(lora, [prompt], prepared / "drawn", None, "cpu")
    with Image.open(picture) as drawn, Image.open(lora.parent / "samples" / "v-end-00.png") as in_training:
        assert np.abs(np.asarray(drawn, int) - np.asarray(in_training, int)).max() <= 1


def test_memory_is_the_gpus_or_else_the_processs() -> None:
    assert memory_text(3 * 2**29) == "1.5 GiB on the GPU"
    amount, unit = memory_text(0).split(maxsplit=1)
    assert unit == "GiB in memory"
    assert 0.1 < float(amount) < 1000


def test_progress_says_loss_rate_time_left_and_memory(prepared: Path) -> None:
    heard = StringIO()
    train_folder(prepared, None, ("steps=2", "samples=false"), False, "cpu", Console(file=heard, width=200))
    last = heard.getvalue().splitlines()[-1]
    assert re.fullmatch(r"step 2 of 2, loss [\d.]+, [\d.]+ steps/s, 0 s to go, [\d.]+ GiB in memory", last)


@pytest.mark.slow
def test_a_fine_tuned_model_becomes_a_lora_with_the_energy_kept_of_each_module(prepared: Path) -> None:
    flags = ("method=full", "steps=2", "unet_rate=1e-4", "samples=false", "output_name=tuned")
    tuned = train_folder(prepared, None, flags, False, "cpu", QUIET)
    small, few = extract_lora(prepared, tuned, None, ("output_name=tuned", "rank=2"), "cpu")
    _, many = extract_lora(prepared, tuned, None, ("output_name=tuned", "rank=32"), "cpu")
    assert small == prepared / "model" / "tuned-extracted.safetensors"
    with safe_open(small, "np") as file:
        keys = set(file.keys())
        assert file.metadata()["ss_network_dim"] == "32"
    assert {key.split(".")[0] for key in keys} == set(few)
    assert all(few[name] <= many[name] + 1e-9 for name in few)
    lines = energy_text(few).splitlines()
    assert f"kept in {len(few)} modules" in lines[0]
    assert len(lines) == 1 + len(few)
    assert len(sample_lora(small, ["sks girl --w 64 --h 64 --s 1"], None, None, "cpu")) == 1


def test_only_lora_and_locon_are_extracted(prepared: Path) -> None:
    with pytest.raises(ConfigError, match="lora or locon, not lokr"):
        extract_lora(prepared, prepared, None, ("network=lokr",), "cpu")


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
