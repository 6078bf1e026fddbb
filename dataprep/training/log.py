"""log/train.jsonl and TensorBoard's events: what training notes of every step."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from dataprep.errors import ConfigError, DiskError
from dataprep.store import disk_faults, write_bytes
from dataprep.train.config import TrainConfig


class Log:
    """log/train.jsonl: one line of settings, then one for each step; TensorBoard events if asked for."""

    def __init__(self, path: Path, *, tensorboard: bool = False) -> None:
        """Nothing is written yet; TensorBoard's events go into the file's folder."""
        self.path, self.lines = path, list[str]()
        self.writer = summary_writer()(str(path.parent)) if tensorboard else None

    def start(self, config: TrainConfig, name: str, steps: int, base: Path, fingerprint: str) -> None:
        """Begin a new log; `base` is where the base model is, told by its fingerprint. Raises DiskError."""
        settings = json.loads(config.model_dump_json())
        first = {
            "event": "start",
            "name": name,
            "steps": steps,
            "base": str(base.resolve()),
            "fingerprint": fingerprint,
            "config": settings,
        }
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


def trained_base(directory: Path) -> Path | None:
    """The base model of a prepared folder's last training, as its log says; None where none is told."""
    try:
        with (directory / "log" / "train.jsonl").open(encoding="utf-8") as file:
            named = json.loads(file.readline()).get("base")
    except (OSError, ValueError):
        return None
    return Path(named) if named else None


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
