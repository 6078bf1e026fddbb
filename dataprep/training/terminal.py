"""Glue between a prepared folder, the trainer and the terminal: settings, progress, names of results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from dataprep.errors import ConfigError, InputError, ModelError
from dataprep.folders import check_prepared, locked
from dataprep.inference.torch_compat import chosen_device
from dataprep.store import write_bytes, write_whole
from dataprep.training.cached import base_path, read_captions, read_manifest
from dataprep.training.log import trained_base
from dataprep.training.watch import typed

if TYPE_CHECKING:
    from rich.console import Console

    from dataprep.inference.base import Base, Prediction
    from dataprep.train.config import TrainConfig
    from dataprep.training.watch import Progress

SETTINGS = "train.toml"
WORD_TENSORS = {"emb_params", "clip_l", "clip_g"}  # in a learned word's file
PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "v": "v", "flow": "flow"}  # in a file's metadata


def train_folder(
    directory: Path,
    config: Path | None,
    overrides: Sequence[str],
    resume: bool,
    device: str,
    console: Console,
    *,
    restart: bool = False,
) -> Path:
    """Train on a prepared folder and make its report again, now with the loss curve.

    Args:
        directory: what `run` left.
        config: settings file; None for DIR/train.toml where there is one.
        overrides: texts name=value.
        resume: go on from the last checkpoint.
        device: auto, cpu or cuda.
        console: where progress is shown.
        restart: remove the checkpoints of a stopped training and begin anew.
    Returns:
        The LoRA's file.
    Raises:
        UserError, DiskError: see `dataprep.train.loop.train`.
    """
    from dataprep.report import write_report
    from dataprep.train.loop import train

    check_prepared(directory)
    if resume and restart:
        raise ConfigError("--resume goes on and --restart begins anew: give one of them")
    settings, notes = _settings(directory, config, overrides, resume=resume)
    for note in notes:
        console.print(note, highlight=False)
    bar = _Bar(console)
    try:
        with locked(directory):
            path = train(
                directory,
                settings,
                resume=resume,
                restart=restart,
                device=chosen_device(device),
                on_progress=bar.show,
            )
    finally:
        bar.close()
    write_report(directory)
    return path


def _settings(
    directory: Path, config: Path | None, overrides: Sequence[str], *, resume: bool = False
) -> tuple[TrainConfig, list[str]]:
    """The settings of a run and what to say of them; one that goes on takes those that it began with."""
    from dataprep.training.settings import load_config, resumed_config

    own = directory / SETTINGS if (directory / SETTINGS).is_file() else None
    if resume:
        from dataprep.train.checkpoint import latest_checkpoint

        stopped = latest_checkpoint(directory / "model" / "checkpoints", mapped=True)
        if stopped is not None:
            return resumed_config(json.loads(stopped["config"]), config, overrides, own)
    settings, notes = load_config(config or own, overrides)
    return settings, [*notes, "nothing to go on with: begins at the first step"] if resume else notes


def extract_lora(
    directory: Path, tuned: Path, config: Path | None, overrides: Sequence[str], device: str
) -> tuple[Path, dict[str, float]]:
    """Turn a fine-tuned model into a LoRA, as DIR/model/NAME-extracted.safetensors.

    Args:
        directory: what `run` left; its manifest and settings name the base model, rank and form.
        tuned: a diffusers folder, such as `method = "full"` leaves, or one .safetensors file.
        config: settings file; None for DIR/train.toml where there is one.
        overrides: texts name=value.
        device: auto, cpu or cuda.
    Returns:
        The file, and the share of each module's squared change that it holds, 0 to 1.
    Raises:
        UserError: settings, models, or two models without a common ancestor.
        DiskError: it cannot be written.
    """
    import torch

    from dataprep.export.lora_metadata import extracted_metadata, file_bytes, known_of_set
    from dataprep.inference.base import load_base
    from dataprep.lora.extract import extract
    from dataprep.train.loop import DTYPES
    from dataprep.training.base_fits import fingerprint

    check_prepared(directory)
    settings = _settings(directory, config, overrides)[0]
    if settings.network not in ("lora", "locon"):
        raise ConfigError(f"--extract makes network lora or locon, not {settings.network}: set one of them")
    settings = settings.model_copy(update={"alpha": float(settings.rank), "conv_alpha": None})
    device = chosen_device(device)
    table, meta = read_manifest(directory)
    base = load_base(base_path(settings.base, meta), device, torch.float32)
    found = extract(load_base(tuned, device, torch.float32), base, settings)
    path = directory / "model" / f"{settings.output_name or tuned.stem}-extracted.safetensors"
    dtype = DTYPES[settings.save_precision]
    tensors = {key: tensor.to("cpu", dtype).contiguous() for key, tensor in found.tensors.items()}
    learned = _trained(tuned)[1]
    if "modelspec.prediction_type" not in learned:  # not made by this program
        rows = [row for row in table.to_pylist() if row["state"] == "active" and row["repeats"]]
        captions = zip((row["folder"] for row in rows), read_captions(directory, rows, []), strict=True)
        learned = learned | known_of_set(settings, base, meta.get("trigger"), captions)
    facts = extracted_metadata(settings, base, path.stem, fingerprint(base.path), learned)
    with locked(directory):
        write_bytes(path, file_bytes(tensors, facts))
    return path, found.kept


def energy_text(kept: dict[str, float]) -> str:
    """The energy kept of each module, one a line, the least first, under a line that sums up."""
    shares = sorted(kept.values())
    lines = [
        f"energy of the change kept in {len(kept)} modules: median {shares[len(shares) // 2]:.1%}, "
        f"least {shares[0]:.1%}"
    ]
    return "\n".join(
        [*lines, *(f"  {kept[name]:7.2%}  {name}" for name in sorted(kept, key=kept.__getitem__))]
    )


class _Bar:
    """One progress line with loss, rate and remaining time; on a log, a line every so many steps."""

    _LINES = 10

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(
                "epoch {task.fields[epoch]}  loss {task.fields[loss]:.4f}  {task.fields[rate]:.2f} steps/s  "
                "{task.fields[memory]}"
            ),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(
            "training", total=None, epoch=0, loss=float("nan"), rate=0.0, memory=""
        )
        self._said = 0
        if console.is_terminal:
            self._bar.start()

    def show(self, progress: Progress) -> None:
        """One more step was read."""
        for note in progress.notes:
            self._console.print(note, highlight=False)
        if not progress.steps_per_s:  # a step was made before, perhaps by a run that this one goes on from
            self._bar.reset(self._task, total=progress.steps, completed=progress.step)
            self._said = progress.step * self._LINES // progress.steps
        elif self._console.is_terminal:
            self._bar.update(
                self._task,
                total=progress.steps,
                completed=progress.step,
                epoch=progress.epoch,
                loss=progress.loss,
                rate=progress.steps_per_s,
                memory=memory_text(progress.memory_bytes),
            )
        elif progress.step * self._LINES // progress.steps > self._said:
            self._said = progress.step * self._LINES // progress.steps
            remaining_s = (progress.steps - progress.step) / max(1e-9, progress.steps_per_s)
            self._console.print(
                f"step {progress.step} of {progress.steps}, loss {progress.loss:.4f}, "
                f"{progress.steps_per_s:.2f} steps/s, {remaining_s:.0f} s to go, "
                f"{memory_text(progress.memory_bytes)}",
                highlight=False,
            )

    def close(self) -> None:
        """Stop drawing."""
        if self._console.is_terminal:
            self._bar.stop()


def memory_text(gpu_bytes: int) -> str:
    """The most memory taken so far, GiB: of the GPU, or without one (0) of this process; "" if unknown."""
    taken, what = gpu_bytes, "on the GPU"
    if not taken and sys.platform != "win32":
        import resource

        taken, what = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "in memory"
        taken *= 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return f"{taken / 2**30:.1f} GiB {what}" if taken else ""


def sample_lora(
    lora: Path,
    prompts: Sequence[str],
    out: Path | None,
    base: Path | None,
    device: str,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Draw prompts with what was trained, as NAME-000.png and so on.

    Args:
        lora: a LoRA in kohya's format, a learned word's embedding, or the folder of a fine-tuned model.
        prompts: lines in kohya's form.
        out: folder; None for samples/ beside the LoRA.
        base: base model; None for the one that it was trained on, which the folder around it knows. A folder
            of a fine-tuned model is its own.
        device: auto, cpu or cuda.
        say: takes a line on the base model that is drawn with.
    Raises:
        InputError: no such file.
        ModelError: the base model is not known here, or it cannot be loaded.
    """
    if not lora.exists():
        raise InputError(f"{lora}: there is no such file; `dataprep train` writes DIR/model/NAME.safetensors")
    import torch

    from dataprep.inference.base import load_base
    from dataprep.inference.lora import applied
    from dataprep.inference.sampling import Sampler, parse_prompt, save_png

    orders = [parse_prompt(prompt) for prompt in prompts]
    kind, said = _trained(lora)  # how it was trained is how it has to be drawn
    chosen = None if base is None else base_path(base.as_posix(), {})  # a path or a hub name
    path = lora if kind == "model" else chosen or _trained_on(lora, said)
    say(_base_line(path, kind, said))
    model = load_base(path, chosen_device(device), torch.float32)
    if kind == "embedding":
        model = _with_word(lora, model, said)
    if said.get("modelspec.prediction_type") in PREDICTIONS:
        model = replace(model, prediction=PREDICTIONS[said["modelspec.prediction_type"]])
    skip = said.get("ss_clip_skip", "None")
    with applied(lora if kind == "LoRA" else None, model):
        sampler = Sampler(
            model,
            zero_snr=said.get("ss_zero_terminal_snr") == "True",
            clip_skip=int(skip) if skip.isdecimal() else None,
            weighted=said.get("ss_weighted_captions") == "True",
        )
        pictures = sampler.draw(orders)
    folder = out or lora.parent / "samples"
    names = (folder / f"{lora.stem}-{number:03d}.png" for number in count())
    paths = list(islice((path for path in names if not path.exists()), len(prompts)))  # earlier ones stay
    for path, picture in zip(paths, pictures, strict=True):
        write_whole(path, partial(save_png, picture))
    return paths


def _trained(path: Path) -> tuple[str, dict[str, str]]:
    """What a result of training is ("LoRA", "embedding" or "model"), and what it says of itself."""
    from dataprep.inference.base import read_header

    if path.is_dir():
        own = path / "training.json"
        return "model", json.loads(own.read_text("utf-8")) if own.is_file() else {}
    header = read_header(path)
    said: dict[str, str] = header.pop("__metadata__", {})
    return "LoRA" if WORD_TENSORS.isdisjoint(header) else "embedding", said


def _with_word(file: Path, model: Base, said: dict[str, str]) -> Base:
    """The base model with a learned word in it: the trigger, or the file's name as in other programs."""
    from safetensors.torch import load_file

    from dataprep.inference.word import with_word

    tensors = load_file(file)
    rows = [tensors[name] for name in ("emb_params", "clip_l", "clip_g") if name in tensors]  # each (n, C)
    widths = [encoder.config.hidden_size for encoder in model.text_encoders]
    if [part.shape[-1] for part in rows] != widths:
        raise ModelError(f"{file}: an embedding for another family than {model.path.name} ({model.family})")
    return with_word(model, said.get("modelspec.trigger_phrase", file.stem), rows)[0]


def next_text(path: Path) -> str:
    """What was made, and what can be done with it."""
    kind = _trained(path)[0]
    also = {
        "LoRA": f"dataprep inspect {typed(path)}",
        "embedding": "put it into the embeddings folder of A1111 or ComfyUI; there its file name is the word",
        "model": f"dataprep train {typed(path.parent.parent)} --extract {typed(path)} for a LoRA of it",
    }
    return f"{kind}: {path}\nnext: dataprep sample {typed(path)} --prompt '...'   or   {also[kind]}"


def _trained_on(lora: Path, said: Mapping[str, str]) -> Path:
    """The base model of a file in DIR/model: the last training's or the manifest's, if it is that one."""
    directory = lora.resolve().parent.parent
    known = [trained_base(directory)]
    if (directory / "manifest.parquet").is_file():
        meta = read_manifest(directory)[1]
        known += [base_path(None, meta)] if meta.get("models", {}).get("base") else []
    for path in known:
        if path is not None and path.exists() and _is_the_same(path, said) is not False:
            return path
    name = said.get("ss_sd_model_name")
    what = f"it was trained on {name}, which" if name else "its base model"
    raise ModelError(f"{lora}: {what} is not known here; name it with --base PATH")


def _is_the_same(path: Path, said: Mapping[str, str]) -> bool | None:
    """Whether a base model is the one that a file was trained on; None where the file does not tell it."""
    from dataprep.export.lora_metadata import BASE_KEY
    from dataprep.inference.base import model_name
    from dataprep.training.base_fits import fingerprint

    if BASE_KEY in said:
        return said[BASE_KEY] == fingerprint(path)
    # A name tells that it is another, but many a model's folder is called "base".
    return None if said.get("ss_sd_model_name") in (None, path.name, model_name(path)) else False


def _base_line(path: Path, kind: str, said: Mapping[str, str]) -> str:
    """With which base model a result is drawn, and whether it was trained on another."""
    if kind == "model":
        return f"drawn with {path}, a model of its own"
    same, name = _is_the_same(path, said), said.get("ss_sd_model_name")
    other = name if name not in (None, path.name) else "another one, with other weights"
    words = {
        True: "",
        False: f"; it was trained on {other}, so expect something else",
        None: "; the file does not tell whether it was trained on this one",
    }
    return f"base model: {path}{words[same]}"
