"""From raw pictures to a LoRA and its pictures, on the miniature family, as the commands do it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dataprep.cli import app
from dataprep.errors import ConfigError, InputError, ModelError
from dataprep.inference.base import load_base
from dataprep.inference.sampling import sample_images
from dataprep.models import assets
from dataprep.training.terminal import (
    energy_text,
    extract_lora,
    memory_text,
    next_text,
    sample_lora,
    train_folder,
)
from dataprep.training.watch import Progress

QUIET = Console(quiet=True)
BASE = assets() / "miniature" / "base"
runner = CliRunner()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, prepare_drawings: Callable[[Path], Path]) -> Path:
    """A prepared folder of four drawings."""
    return prepare_drawings(tmp_path_factory.mktemp("training"))


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
    (another,) = sample_lora(lora, ["sks girl --w 64 --h 64 --s 1"], None, None, "cpu")
    assert another != picture  # which stays


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
        said = file.metadata()
    assert said["ss_network_dim"] == "32"
    assert said["ss_output_name"] == said["modelspec.title"] == "tuned-extracted"
    assert said["modelspec.trigger_phrase"] == "sks"
    assert said["modelspec.prediction_type"] == "epsilon"
    assert said["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert said["ss_clip_skip"] == "1"
    assert sum(map(sum, (tags.values() for tags in json.loads(said["ss_tag_frequency"]).values()))) > 4
    (tuned / "training.json").unlink()  # as a model that another program tuned
    foreign, _ = extract_lora(prepared, tuned, None, ("output_name=foreign", "rank=2"), "cpu")
    with safe_open(foreign, "np") as file:
        known = file.metadata()
    for name in ("modelspec.trigger_phrase", "modelspec.prediction_type", "ss_tag_frequency", "ss_clip_skip"):
        assert known[name] == said[name]
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
    save_file({"lora_unet_conv_in.alpha": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="--base"):
        sample_lora(tmp_path / "x.safetensors", ["sks"], None, None, "cpu")


def test_a_lora_is_drawn_with_the_base_model_that_it_was_trained_on(prepared: Path, tmp_path: Path) -> None:
    other, order, said = tmp_path / "other" / "base", ["sks --w 64 --h 64 --s 1"], list[str]()
    shutil.copytree(BASE, other)  # of the same name, with other weights
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: 0.9 * tensor for key, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    few = ("steps=1", "samples=false", f"base={other}")
    lora = train_folder(prepared, None, few, False, "cpu", QUIET)
    sample_lora(lora, order, None, None, "cpu", said.append)
    sample_lora(lora, order, None, BASE, "cpu", said.append)
    assert said == [
        f"base model: {other}",
        f"base model: {BASE}; it was trained on another one, with other weights, so expect something else",
    ]
    train_folder(prepared, None, ("steps=1", "samples=false", "output_name=later"), False, "cpu", QUIET)
    # The last training's base model and the manifest's are another than this one was trained on.
    with pytest.raises(ModelError, match=r"trained on base, which is not known here.*--base"):
        sample_lora(lora, order, None, None, "cpu")


def test_a_file_that_does_not_tell_its_base_models_weights_is_drawn_with_a_word(prepared: Path) -> None:
    lora, said = prepared / "model" / "foreign.safetensors", list[str]()
    train_folder(prepared, None, ("steps=1", "samples=false", "output_name=own"), False, "cpu", QUIET)
    tensors = load_file(prepared / "model" / "own.safetensors")
    save_file(tensors, lora, {"ss_sd_model_name": "base"})
    sample_lora(lora, ["sks --w 64 --h 64 --s 1"], None, None, "cpu", said.append)
    assert said == [f"base model: {BASE}; the file does not tell whether it was trained on this one"]


@pytest.mark.slow
def test_going_on_takes_the_stopped_runs_settings_and_holds_what_is_given_against_them(
    prepared: Path,
) -> None:
    from dataprep.train.config import TrainConfig
    from dataprep.train.loop import train

    def interrupt(progress: Progress) -> None:
        if progress.step == 2 and progress.steps_per_s:
            os.kill(os.getpid(), signal.SIGINT)

    settings = {"steps": 4, "unet_rate": 3e-4, "rank": 2, "samples": False, "save_precision": "fp32"}
    whole = load_file(train(prepared, TrainConfig(**settings), resume=False, restart=True, device="cpu"))
    with pytest.raises(KeyboardInterrupt):
        train(prepared, TrainConfig(**settings), resume=False, device="cpu", on_progress=interrupt)
    with pytest.raises(ConfigError, match=r"rank \(was 2, is 8\)"):
        train_folder(prepared, None, ("rank=8",), True, "cpu", QUIET)
    heard = StringIO()
    again = train_folder(prepared, None, (), True, "cpu", Console(file=heard, width=400))
    assert "goes on with the settings of the run that was stopped" in heard.getvalue()
    assert re.search(r"whatever train\.toml says now: .*steps = 4", heard.getvalue())
    resumed = load_file(again)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_a_learned_word_and_a_tuned_model_are_drawn_and_said_what_to_do_with(prepared: Path) -> None:
    few = ("steps=1", "samples=false", "save_precision=fp32")
    word = train_folder(prepared, None, (*few, "method=embedding", "output_name=word"), False, "cpu", QUIET)
    tuned = train_folder(prepared, None, (*few, "method=full", "output_name=whole"), False, "cpu", QUIET)
    assert f"dataprep sample {word}" in next_text(word)
    assert "embeddings folder" in next_text(word)
    assert f"--extract {tuned}" in next_text(tuned)
    prompts = ["sks --w 64 --h 64 --s 2", "girl --w 64 --h 64 --s 2 --d 0"]
    drawn = {}
    for made in (word, tuned):
        paths = sample_lora(made, prompts, prepared / "drawn", None, "cpu")
        assert [path.name for path in paths] == [f"{made.stem}-000.png", f"{made.stem}-001.png"]
        drawn[made] = [np.asarray(Image.open(path), int) for path in paths]
    assert np.abs(drawn[word][0] - drawn[tuned][0]).max() > 2  # four learned tokens for the word
    assert np.abs(drawn[word][1] - drawn[tuned][1]).max() <= 2  # a step of 1e-4 is not seen


@pytest.mark.slow
def test_weighted_captions_are_drawn_weighted(prepared: Path) -> None:
    prompt = "sks, (pink hair:0.1) --w 64 --h 64 --s 2 --d 5"
    flags = ("steps=1", "weighted=true", f"sample_prompts=['{prompt}']", "save_precision=fp32")
    lora = train_folder(prepared, None, (*flags, "output_name=w"), False, "cpu", QUIET)
    (picture,) = sample_lora(lora, [prompt], prepared / "drawn", None, "cpu")
    (plain,) = sample_images(lora, load_base(BASE, "cpu", torch.float32), [prompt])
    with Image.open(picture) as drawn, Image.open(lora.parent / "samples" / "w-end-00.png") as in_training:
        assert np.abs(np.asarray(drawn, int) - np.asarray(in_training, int)).max() <= 1
        assert np.abs(np.asarray(drawn, int) - np.asarray(plain, int)).max() > 1


@pytest.mark.slow
def test_ctrl_c_at_the_command_says_how_to_go_on_and_a_start_anew_is_refused(prepared: Path) -> None:
    told = ["--set", "steps=2000", "--set", "samples=false", "--set", "output_name=stopped"]
    command = [sys.executable, "-m", "dataprep.cli", "train", str(prepared), *told]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # A shell starts what runs in its background with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    next(line for line in process.stderr if "2000 steps" in line)  # the last but the loop itself
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: dataprep train {prepared} --resume --device cpu" in said
    (kept,) = (prepared / "model" / "checkpoints").iterdir()
    again = runner.invoke(app, ["train", str(prepared), *told])
    assert again.exit_code == 2
    assert "--resume" in again.output
    assert "--restart" in again.output
    assert kept.exists()
    step = int(kept.stem.removeprefix("step-"))
    flags = (f"steps={step + 1}", "samples=false", "output_name=stopped")
    heard = StringIO()
    train_folder(prepared, None, flags, True, "cpu", Console(file=heard, width=200))
    assert f"goes on after step {step}" in heard.getvalue()
    assert not re.search(r" 0\.00 steps/s|\d{6} s to go", heard.getvalue())


def test_going_on_and_beginning_anew_exclude_each_other(prepared: Path) -> None:
    result = runner.invoke(app, ["train", str(prepared), "--resume", "--restart"])
    assert result.exit_code == 2
    assert "give one of them" in result.output


def test_going_on_where_nothing_was_begun_is_said(prepared: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(prepared, tmp_path / "a set")
    shutil.rmtree(directory / "model", ignore_errors=True)
    heard = StringIO()
    flags = ("steps=1", "samples=false")
    path = train_folder(directory, None, flags, True, "cpu", Console(file=heard, width=200))
    assert "nothing to go on with: begins at the first step" in heard.getvalue()
    assert f"dataprep sample {shlex.quote(str(path))}" in next_text(path)
