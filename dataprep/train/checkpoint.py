"""What a run leaves to go on from: checkpoints, whole or absent, and the log of every step."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dataprep.errors import ConfigError, DiskError, InputError, UserError
from dataprep.store import disk_faults, write_bytes
from dataprep.train.config import TrainConfig

# Settings that a resumed run may change: they decide what is shown and kept, or how far it goes.
_FREE = """output_name steps epochs save_precision compile channels_last checkpoint_every keep_checkpoints
save_every_epochs save_every_steps samples sample_prompts sample_every_epochs sample_every_steps sampler
tensorboard comment base"""
FREE = frozenset(_FREE.split())


def save_checkpoint(folder: Path, state: Mapping[str, Any], keep: int) -> Path:
    """Write a checkpoint whole, then remove all but the newest `keep`.

    Raises:
        DiskError: it cannot be written; the earlier ones are untouched.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    path = folder / f"step-{state['step']:08d}.pt"
    write_bytes(path, buffer.getvalue())
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def latest_checkpoint(folder: Path) -> Any:  # noqa: ANN401 - what torch.save wrote
    """The newest readable checkpoint's content, None where there is none.

    Only tensors, numbers and texts are read (torch's weights_only), never a program.
    """
    for path in reversed(checkpoints(folder)):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            continue  # damaged from outside: the one before is as good, some steps earlier
    return None


def remove_checkpoints(folder: Path) -> None:
    """Start afresh: an earlier run's checkpoints must not be resumed by mistake."""
    for path in checkpoints(folder):
        path.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """Every checkpoint, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def check_same_run(state: Mapping[str, Any], config: TrainConfig, manifest_sha256: str) -> None:
    """Refuse to go on with other settings or another set than the checkpoint was made with.

    Raises:
        ConfigError: naming each setting that differs.
        InputError: the prepared folder was changed.
    """
    now = config.model_dump()
    before = TrainConfig.model_validate_json(state["config"]).model_dump().items()
    changed = {name: was for name, was in before if name not in FREE and now[name] != was}
    if changed:
        differs = ", ".join(f"{name} (was {was!r}, is {now[name]!r})" for name, was in changed.items())
        raise ConfigError(
            f"--resume: the checkpoint was made with other settings: {differs}; "
            "set them back, or train without --resume from the start"
        )
    if state["manifest"] != manifest_sha256:
        raise InputError(
            "--resume: the prepared folder's images or latents changed since the checkpoint; "
            "train without --resume"
        )


def diverged(folder: Path, step: int, files: Sequence[str], what: str) -> UserError:
    """The error for a loss that is lost at a step (from 0), with the images in its batch."""
    kept = checkpoints(folder / "checkpoints")
    return UserError(
        f"step {step + 1}: {what}; images in the batch: "
        f"{', '.join(files)}. Last good weights: {kept[-1] if kept else 'none saved yet'}. Try a lower "
        "unet_rate and text_encoder_rate, precision bf16 or fp32 instead of fp16, or max_grad_norm = 1"
    )


class Log:
    """log/train.jsonl: one line of settings, then one for each step; TensorBoard events if asked for."""

    def __init__(self, path: Path, *, tensorboard: bool = False) -> None:
        """Nothing is written yet; TensorBoard's events go into the file's folder."""
        self.path, self.lines = path, list[str]()
        self.writer = summary_writer()(str(path.parent)) if tensorboard else None

    def start(self, config: TrainConfig, name: str, steps: int) -> None:
        """Begin a new log. Raises DiskError."""
        settings = json.loads(config.model_dump_json())
        first = {"event": "start", "name": name, "steps": steps, "config": settings}
        write_bytes(self.path, (json.dumps(first) + "\n").encode())

    def cut(self, step: int) -> None:
        """Forget what came after a checkpoint's step: it will be made again. Raises DiskError."""
        if self.path.is_file():
            lines = self.path.read_text("utf-8").splitlines()
            write_bytes(self.path, "".join(line + "\n" for line in lines if _step(line) <= step).encode())

    def add(self, **values: object) -> None:
        """Note one step; written with the next flush, at the latest after 100 steps."""
        self.lines.append(json.dumps(values))
        if self.writer is not None:
            self.writer.add_scalar("loss", values["loss"], values["step"])
            self.writer.add_scalar("loss_smoothed", values["smoothed"], values["step"])
        if len(self.lines) >= 100:
            with contextlib.suppress(DiskError):  # kept in memory until there is room again
                self.flush()

    def flush(self) -> None:
        """Append what was noted. Raises DiskError."""
        with disk_faults(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(line + "\n" for line in self.lines))
        self.lines.clear()

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        if self.writer is not None:
            self.writer.close()


def _step(line: str) -> int:
    try:
        return int(json.loads(line).get("step", 0))
    except ValueError:
        return 1 << 62  # a line that a kill cut short


def summary_writer() -> Any:  # noqa: ANN401 - untyped
    """The class that writes TensorBoard's events. Raises ConfigError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("tensorboard = true needs tensorboard: `pip install tensorboard`") from error
    return SummaryWriter
