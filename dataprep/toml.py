"""TOML as people write it: a settings file, and one value on the command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from dataprep.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """A settings file's tables. Raises ConfigError if it cannot be read, is not UTF-8 or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def value_of(text: str) -> Any:  # noqa: ANN401 - any TOML value
    """What stands behind `--set name=`: a TOML value, or a bare word, which is a text."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
