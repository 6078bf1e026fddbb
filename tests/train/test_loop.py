from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dataprep.errors import ConfigError, DiskError, InputError, ModelError, UserError
from dataprep.train.captions import Captions
from dataprep.train.config import TrainConfig
from dataprep.train.loop import train
from dataprep.training.watch import Progress

SHORT: dict[str, Any] = {
    "steps": 6,
    "batch_size": 2,
    "rank": 2,
    "alpha": 2,
    "checkpoint_every": 2,
    "samples": False,
    "save_precision": "fp32",
}


def run(prepared: Path, *, resume: bool = False, on_progress: Any = None, **settings: Any) -> Path:
    return train(
        prepared, TrainConfig(**(SHORT | settings)), resume=resume, device="cpu", on_progress=on_progress
    )


def losses(prepared: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (prepared / "log" / "train.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "step" in line]


def test_training_leaves_a_lora_samples_checkpoints_and_a_log(prepared: Path) -> None:
    seen: list[Progress] = []
    path = run(
        prepared,
        on_progress=seen.append,
        samples=True,
        sample_prompts=("sks girl --s 2", "girl --s 2 --w 64 --h 128"),
    )
    assert path == prepared / "model" / "sks.safetensors"
    tensors = load_file(path)
    assert {key.split("_")[1] for key in tensors} == {"te", "unet"}
    assert any(tensor.abs().max() > 0 for key, tensor in tensors.items() if "lora_up" in key)
    assert [step for step, _ in losses(prepared)] == [1, 2, 3, 4, 5, 6]
    assert sorted(p.name for p in (prepared / "model" / "checkpoints").iterdir()) == [
        "step-00000004.pt",
        "step-00000006.pt",
    ]
    assert len(list((prepared / "model" / "samples").glob("sks-end-*.png"))) == 2
    assert seen[-1].step == seen[-1].steps == 6
    assert any(
        "5 images, 10 with repeats; 3 regularization images, 10 with repeats" in note
        for note in seen[0].notes
    )


@pytest.mark.slow
def test_two_runs_are_the_same_and_another_seed_is_not(prepared: Path) -> None:
    first = load_file(run(prepared))
    again = load_file(run(prepared))
    other = load_file(run(prepared, seed=7))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


SETTINGS: dict[str, Any] = {
    "shuffle": True,
    "flip": True,
    "dropout": 0.1,
    "multires_iterations": 3,
    "text_encoder_until": 0.5,
    "accumulation": 2,
    "caption_dropout": 0.2,
    "network": "locon",
}
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.append({tests!r})
import tiny, torch
torch.set_num_threads(1)
from dataprep.train.config import TrainConfig
from dataprep.train.loop import train
def die(progress):
    if progress.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
train(Path({folder!r}), TrainConfig(**{settings!r}), resume=False, device="cpu", on_progress=die)
"""


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_the_uninterrupted_one_to_the_bit(prepared: Path) -> None:
    whole = load_file(run(prepared, **SETTINGS))
    wanted = losses(prepared)
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(prepared), settings=SHORT | SETTINGS)
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (prepared / "model" / "checkpoints" / "step-00000006.pt").exists()
    seen: list[Progress] = []
    resumed = load_file(run(prepared, resume=True, on_progress=seen.append, **SETTINGS))
    assert "goes on after step 4" in seen[0].notes
    assert losses(prepared) == wanted
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(prepared: Path) -> None:
    whole = load_file(run(prepared))
    newest = prepared / "model" / "checkpoints" / "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = load_file(run(prepared, resume=True))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_resume_refuses_other_settings_by_name_and_allows_harmless_ones(prepared: Path) -> None:
    run(prepared)
    with pytest.raises(ConfigError, match=r"rank \(was 2, is 4\)"):
        run(prepared, resume=True, rank=4)
    assert run(prepared, resume=True, output_name="longer", steps=8).name == "longer.safetensors"
    assert losses(prepared)[-1][0] == 8


@pytest.mark.slow
def test_resume_refuses_a_changed_folder(prepared: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run(prepared)
    table = pq.read_table(prepared / "manifest.parquet")
    more = pa.array([3] * table.num_rows, pa.int32())
    table = table.set_column(table.schema.get_field_index("repeats"), "repeats", more)
    pq.write_table(table, prepared / "manifest.parquet")
    with pytest.raises(InputError, match="changed since the checkpoint"):
        run(prepared, resume=True)


def test_resume_without_a_checkpoint_starts_from_the_beginning(prepared: Path) -> None:
    run(prepared, resume=True)
    assert [step for step, _ in losses(prepared)] == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(prepared: Path) -> None:
    whole = load_file(run(prepared))

    def interrupt(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"step 3 of 6.*--resume"):
        run(prepared, on_progress=interrupt)
    assert (prepared / "model" / "checkpoints" / "step-00000003.pt").exists()
    resumed = load_file(run(prepared, resume=True))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_divergence_stops_with_the_images_and_keeps_the_last_good_weights(prepared: Path) -> None:
    run(prepared)
    kept = load_file(prepared / "model" / "sks.safetensors")
    with pytest.raises(
        UserError, match=r"no longer a number; images in the batch: (img|reg)/.*Last good weights"
    ):
        run(
            prepared,
            unet_rate=10.0,
            text_encoder_rate=10.0,
            alpha=1024,
            max_grad_norm=0,
            optimizer="sgd",
            steps=200,
        )
    assert all(
        torch.equal(kept[key], tensor)
        for key, tensor in load_file(prepared / "model" / "sks.safetensors").items()
    )
    for path in (prepared / "model" / "checkpoints").glob("*.pt"):
        state = torch.load(path, weights_only=True)
        assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def test_a_loss_that_grows_beyond_all_measure_stops_too(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataprep.train import loop

    monkeypatch.setattr(loop, "DIVERGED", 1e-3)
    with pytest.raises(UserError, match=r"step 1: the loss is [\d.]+, over 0.001 times a blank.*images"):
        run(prepared)
    assert not (prepared / "model" / "sks.safetensors").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_prompts": ("a --w 64 --colour red",)}, "unknown option --colour"),
        ({"optimizer_args": {"colour": 1}}, "adamw has no colour"),
        ({"optimizer": "adamw8bit"}, "pip install bitsandbytes"),
        ({"tensorboard": True}, "pip install tensorboard"),
    ],
)
def test_what_can_be_told_early_stops_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    for package in ("bitsandbytes", "bitsandbytes.optim", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "there is no prepared folder here", **settings)


def test_a_full_disk_on_the_way_does_not_end_training(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataprep.train import loop

    def full(*args: object) -> None:
        raise DiskError("no space left")

    monkeypatch.setattr(loop, "write_whole", full)  # pictures
    monkeypatch.setattr(loop.Log, "flush", full)
    whole = loop.Trainer._save
    monkeypatch.setattr(
        loop.Trainer, "_save", lambda self, name: full() if "step" in name else whole(self, name)
    )
    seen: list[Progress] = []
    settings = {"save_every_steps": 3, "samples": True, "sample_prompts": ("a --s 1",)}
    assert run(prepared, on_progress=seen.append, **settings).is_file()
    notes = " ".join(note for progress in seen for note in progress.notes)
    for what in ("no file at step 3", "no log at step 2", "no log at step 6", "no sample pictures at step 6"):
        assert what in notes
    assert len(list((prepared / "model" / "checkpoints").iterdir())) == 2


def test_a_full_disk_at_a_checkpoint_does_not_end_training(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataprep.train import loop

    def full(*args: object) -> None:
        raise DiskError("no space left")

    monkeypatch.setattr(loop, "save_checkpoint", full)
    seen: list[Progress] = []
    assert run(prepared, on_progress=seen.append).is_file()
    assert any("no checkpoint at step 2" in note for progress in seen for note in progress.notes)


@pytest.mark.slow
def test_prior_loss_weight_zero_equals_a_run_that_ignores_what_class_images_show(prepared: Path) -> None:
    import numpy as np

    wanted = load_file(run(prepared, prior_loss_weight=0))
    for path in (prepared / "reg").rglob("*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **(arrays | {"latents": arrays["latents"] + 5}))
    found = load_file(run(prepared, prior_loss_weight=0))
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)
    other = load_file(run(prepared, prior_loss_weight=1))
    assert any(not torch.equal(wanted[key], other[key]) for key in wanted)


@pytest.mark.slow
def test_only_the_asked_parts_are_trained(prepared: Path) -> None:
    unet = load_file(run(prepared, train_text_encoder=False))
    text = load_file(run(prepared, train_unet=False))
    assert all(key.startswith("lora_unet_") for key in unet)
    assert all(key.startswith("lora_te_") for key in text)


@pytest.mark.slow
def test_intermediate_files_and_samples_come_when_asked(prepared: Path) -> None:
    run(
        prepared,
        save_every_steps=4,
        save_every_epochs=1,
        steps=12,
        samples=True,
        sample_every_steps=5,
        sample_prompts=("a --s 1",),
    )
    names = {path.name for path in (prepared / "model").glob("*.safetensors")}
    assert names == {
        "sks.safetensors",
        "sks-step00000004.safetensors",
        "sks-step00000008.safetensors",
        "sks-000001.safetensors",
    }
    pictures = {path.name for path in (prepared / "model" / "samples").iterdir()}
    assert pictures == {"sks-000005-00.png", "sks-000010-00.png", "sks-end-00.png"}
    with safe_open(prepared / "model" / "sks-000001.safetensors", "pt") as file:
        assert file.metadata()["ss_steps"] == "11"


def test_sdxl_trains_both_text_encoders(tmp_path: Path, xl_path: Path) -> None:
    from tiny import prepare_folder

    tensors = load_file(run(prepare_folder(tmp_path, xl_path), steps=2, clip_skip=None))
    assert {key.split("_")[1] for key in tensors} == {"te1", "te2", "unet"}
    assert any(key.startswith("lora_unet_input_blocks_") for key in tensors)


def test_zero_terminal_snr_is_refused_for_a_noise_predicting_model(prepared: Path) -> None:
    with pytest.raises(ConfigError, match="v-prediction"):
        run(prepared, zero_terminal_snr=True)


@pytest.mark.slow
def test_frozen_text_encoders_are_asked_once_for_each_caption(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = Captions._encode
    monkeypatch.setattr(Captions, "_encode", lambda self, texts: asked.extend(texts) or original(self, texts))
    run(prepared, train_text_encoder=False, steps=22)
    assert len(asked) == len(set(asked)) == 6  # 5 captions and the class word


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"target": "v", "zero_terminal_snr": True, "min_snr_gamma": 5.0, "loss": "huber", "sampler": "euler"},
        {"target": "flow", "loss": "smooth_l1", "huber_schedule": "constant"},
        {
            "noise_offset": 0.1,
            "input_perturbation": 0.1,
            "debiased": True,
        },
        {"weighted": True, "token_length": 150, "clip_skip": 2, "tag_dropout": 0.2},
        {"network": "loha", "rank_dropout": 0.1, "gradient_checkpointing": True, "channels_last": True},
        {
            "network": "dora",
            "optimizer": "adafactor",
            "schedule": "cosine_with_restarts",
            "warmup": 0.3,
            "max_grad_norm": 0,
        },
    ],
    ids=lambda settings: next(iter(settings)) + "-" + str(next(iter(settings.values()))),
)
def test_settings_that_go_together_train_and_resume(prepared: Path, settings: dict[str, Any]) -> None:
    settings = {"samples": True, "sample_prompts": ("a --s 1",), "steps": 4} | settings
    whole = load_file(run(prepared, **settings))
    assert all(torch.isfinite(tensor).all() for tensor in whole.values())
    (prepared / "model" / "checkpoints" / "step-00000004.pt").unlink()
    resumed = load_file(run(prepared, resume=True, **settings))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_without_a_compiler_training_goes_on_uncompiled_with_a_word(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataprep.training import briefing

    monkeypatch.setattr(briefing.shutil, "which", lambda name: None)
    seen: list[Progress] = []
    assert run(prepared, on_progress=seen.append, steps=1, compile=True).is_file()
    assert any("there is none: not compiled" in note for note in seen[0].notes)


def test_a_start_anew_does_not_remove_a_stopped_trainings_checkpoints(prepared: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(prepared, on_progress=interrupt)
    (prepared / "img" / "2_sks girl" / "000.txt").unlink()  # would be said later: nothing is read before
    with pytest.raises(ConfigError, match=r"after step 3 of 6.*--resume.*--restart"):
        run(prepared)
    (prepared / "img" / "2_sks girl" / "000.txt").write_text("sks girl, tag0, red hair\n", "utf-8")
    names = sorted(path.name for path in (prepared / "model" / "checkpoints").iterdir())
    assert names == ["step-00000002.pt", "step-00000003.pt"]
    settings = TrainConfig(**SHORT)
    train(prepared, settings, resume=False, restart=True, device="cpu")
    assert [step for step, _ in losses(prepared)] == [1, 2, 3, 4, 5, 6]
    run(prepared)  # a finished one may be done again


def test_divergence_before_any_checkpoint_saves_the_last_good_weights(prepared: Path) -> None:
    from dataprep.train import loop

    wanted = load_file(run(prepared, steps=3, schedule="constant"))
    assert list((prepared / "model" / "checkpoints").iterdir())
    real = loop.Objective.losses
    calls = 0

    def spoiled(self: Any, *args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1  # twice a step: a blank answer's loss, then the model's
        return real(self, *args) * (torch.nan if calls > 8 else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Objective, "losses", spoiled)
        with pytest.raises(UserError, match=r"step 5: .*Last good weights: .*sks-step00000003\.safetensors"):
            run(prepared, steps=9, schedule="constant", checkpoint_every=100)
    kept = load_file(prepared / "model" / "sks-step00000003.safetensors")
    assert all(torch.equal(wanted[key], tensor) for key, tensor in kept.items())
    run(prepared, steps=1)  # nothing was stopped that could go on


def test_latents_of_another_family_are_refused_before_the_model_is_loaded(
    prepared: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    half = tmp_path / "half an sdxl"  # it could not be loaded
    for part in ("vae", "text_encoder", "text_encoder_2", "scheduler", "unet"):
        (half / part).mkdir(parents=True)
    table = pq.read_table(prepared / "manifest.parquet")
    meta = json.loads(table.schema.metadata[b"dataprep"]) | {"settings": {"latents": {"family": "sd1"}}}
    table = table.replace_schema_metadata({"dataprep": json.dumps(meta)})
    pq.write_table(table, prepared / "manifest.parquet")
    with pytest.raises(ModelError, match=r"family sdxl, but the latents .* made for sd1"):
        run(prepared, base=str(half))


def test_full_fine_tuning_that_is_lost_names_a_checkpoint_older_than_the_loss(prepared: Path) -> None:
    from dataprep.train import loop

    real = loop.Objective.losses
    calls = 0

    def spoiled(self: Any, *args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1  # twice a step: a blank answer's loss, then the model's
        return real(self, *args) * (torch.nan if calls > 6 else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Objective, "losses", spoiled)
        # The checkpoint of three steps holds the weights of which nothing good is known.
        with pytest.raises(UserError, match=r"step 4: .*Last good weights: \S*step-00000002\.pt\."):
            run(prepared, method="full", checkpoint_every=1)
    assert not list((prepared / "model").glob("sks*"))


def test_going_on_with_other_base_weights_is_refused_and_with_a_copy_it_is_not(
    prepared: Path, base_path: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import save_file

    def interrupt(progress: Progress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(prepared, on_progress=interrupt)
    copy, other = tmp_path / "copy", tmp_path / "other" / base_path.name
    shutil.copytree(base_path, copy)
    shutil.copytree(base_path, other)
    weights = next((other / "unet").glob("*.safetensors"))
    save_file({key: 2 * tensor for key, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(ConfigError, match=r"on another base model, .*the weights of .* are not the same"):
        run(prepared, resume=True, base=str(other))
    assert run(prepared, resume=True, base=str(copy)).is_file()


def test_captions_with_words_like_options_are_drawn(prepared: Path) -> None:
    for path in (prepared / "img" / "2_sks girl").glob("*.txt"):
        path.write_text("sks girl, a sign --weird says --w\n", "utf-8")
    run(prepared, steps=1, samples=True)
    assert list((prepared / "model" / "samples").glob("sks-end-*.png"))


def test_blocks_without_any_module_of_the_network_are_refused_by_name(prepared: Path) -> None:
    ranks = dict.fromkeys([*(f"IN{i:02d}" for i in range(12)), "MID", *(f"OUT{i:02d}" for i in range(12))], 0)
    with pytest.raises(ConfigError, match="leave out every U-Net module"):
        run(prepared, block_ranks=ranks | {"IN00": 4})
