"""The trainer's settings from `train.toml`, sd-scripts' own files, and flags. Must not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from dataprep.errors import ConfigError
from dataprep.toml import read_toml, value_of
from dataprep.train.config import TrainConfig
from dataprep.training.kohya_args import (
    FROM_THE_FOLDER,
    is_theirs,
    prompt_lines,
    translate,
    with_their_defaults,
)


def load_config(
    path: Path | None, overrides: Mapping[str, object] | Sequence[str] = ()
) -> tuple[TrainConfig, list[str]]:
    """Read settings from a file and flags; flags win.

    Args:
        path: train.toml, ours or sd-scripts'; None for the defaults.
        overrides: name to value, or texts "name=value" whose value is read as TOML (bare words as text);
            sd-scripts' names are understood here too.
    Returns:
        The settings, and lines on what of an sd-scripts file was not honoured and what is seldom meant.
    Raises:
        ConfigError: unreadable, unknown, out of range or contradictory settings.
    """
    raw = read_toml(path) if path is not None else {}
    table, notes = translate(raw)
    if path is not None and (path.parent / "manifest.parquet").is_file():  # it is the folder's own file
        notes = [note for note in notes if not note.startswith(FROM_THE_FOLDER)]
    if is_theirs(raw):
        table, more = with_their_defaults(table)
        notes += more
    given = overrides if isinstance(overrides, Mapping) else dict(map(_assignment, overrides))
    flags, more = translate(given)
    if "epochs" in flags and "steps" not in flags:
        table.pop("steps", None)  # or the file's steps would win over the flag
    settings = table | flags
    if isinstance(prompts := settings.get("sample_prompts"), str):
        settings["sample_prompts"] = _prompts(prompts, path)
    try:
        config = TrainConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{path or 'train settings'}: {_first(error)}") from error
    return config, notes + more + config.warnings()


def _prompts(text: str, settings: Path | None) -> list[str]:
    """The prompts of a .txt file, found from here or beside the settings; any other text is one prompt."""
    if not text.endswith(".txt"):
        return [text]
    for path in (Path(text), *([] if settings is None else [settings.parent / text])):
        if path.is_file():
            return prompt_lines(path)
    raise ConfigError(f"sample_prompts: {text}: there is no such file; wanted one prompt a line")


def _assignment(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: expected name=value")
    return name.strip(), value_of(value)


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    name = ".".join(map(str, found["loc"]))
    if found["type"] == "extra_forbidden":
        return f"unknown setting {name}; `dataprep explain train` lists them"
    rule = found["msg"].removeprefix("Value error, ")
    return f"{name} = {found['input']!r}: {rule}" if name else rule
