"""What is kept of a training to go on from: checkpoints, whole or absent, and the last good weights."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataprep.errors import ConfigError, InputError
from dataprep.store import write_bytes
from dataprep.train.config import TrainConfig
from dataprep.training.settings import without_gone

# Settings that a resumed run may change: they decide what is shown and kept, or how far it goes.
_FREE = """output_name steps epochs save_precision compile channels_last checkpoint_every keep_checkpoints
save_every_epochs save_every_steps samples sample_prompts sample_every_epochs sample_every_steps sampler
tensorboard comment base"""  # another base must have the same content: refuse_other_base
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


def latest_checkpoint(folder: Path, *, mapped: bool = False) -> Any:  # noqa: ANN401 - torch.save's
    """The newest readable checkpoint's content, None where there is none; `mapped` reads no tensors yet.

    Only tensors, numbers and texts are read (torch's weights_only), never a program.
    """
    for path in reversed(checkpoints(folder)):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            continue  # damaged from outside: the one before is as good, some steps earlier
    return None


def refuse_to_lose(folder: Path) -> None:
    """Stop a training from the start where an unfinished one could go on: it would remove its checkpoints.

    Raises:
        ConfigError: naming the step, and both ways on.
    """
    state = latest_checkpoint(folder, mapped=True)
    if state is not None and state["step"] != state.get("steps"):
        of = f" of {state['steps']}" if "steps" in state else ""
        raise ConfigError(
            f"{folder}: a training stopped here after step {state['step']}{of}. Add --resume to go on with "
            "it, or --restart to remove its checkpoints and begin anew"
        )


def remove_checkpoints(folder: Path) -> None:
    """Start afresh: an earlier run's checkpoints must not be resumed by mistake."""
    for path in checkpoints(folder):
        path.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """Every checkpoint, oldest first."""
    return sorted(folder.glob("step-*.pt"))


def proven(folder: Path, step: int) -> Path | None:
    """The newest checkpoint that a loss in order has proven, where the one at `step` (from 0) was not."""
    # A checkpoint's number is how many steps it has had: with as many as `step`, its weights gave that loss.
    found = [path for path in checkpoints(folder) if int(path.stem.removeprefix("step-")) < step]
    return found[-1] if found else None


def check_same_run(state: Mapping[str, Any], config: TrainConfig, manifest_sha256: str) -> None:
    """Refuse to go on with other settings or another set than the checkpoint was made with.

    Raises:
        ConfigError: naming each setting that differs.
        InputError: the prepared folder was changed.
    """
    now = json.loads(config.model_dump_json())
    before = json.loads(TrainConfig().model_dump_json()) | without_gone(json.loads(state["config"]))
    changed = sorted(name for name in {*before, *now} - FREE if before.get(name) != now.get(name))
    if changed:
        differs = ", ".join(f"{name} (was {before.get(name)!r}, is {now.get(name)!r})" for name in changed)
        raise ConfigError(
            f"--resume: the checkpoint was made with other settings: {differs}; "
            "set them back, or train with --restart from the start"
        )
    if state["manifest"] != manifest_sha256:
        raise InputError(
            "--resume: the prepared folder's images or latents changed since the checkpoint; "
            "train with --restart"
        )


class LastGood:
    """The newest trained tensors that are known to be good: a step from them gave a loss in order.

    Two copies: the newest of all may already be spoiled, which only the next loss can tell.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Begin with the tensors as they are; they are followed, not taken over."""
        self.state, self.step = dict(state), 0  # optimizer steps that the good ones have had
        self._newest_step = 0
        self._good, self._newest = ([tensor.clone() for tensor in state.values()] for _ in range(2))

    def turn(self, step: int) -> None:
        """All losses before `step` were in order: what was newest is good, what is now is newest."""
        self._good, self._newest = self._newest, self._good
        self.step, self._newest_step = self._newest_step, step
        if self.state:
            torch._foreach_copy_(self._newest, list(self.state.values()))

    def restore(self) -> None:
        """Put the good tensors back in their places."""
        for tensor, good in zip(self.state.values(), self._good, strict=True):
            tensor.copy_(good)
