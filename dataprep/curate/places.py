"""Names of prepared files: what belongs together, and what stays of a name when its folder is renamed."""

from __future__ import annotations

from pathlib import PurePosixPath


def caption_beside(picture: str) -> str:
    """Path of a picture's caption file; the path of a caption file is its own."""
    return f"{picture.rpartition('.')[0]}.txt"


def place(name: str) -> tuple[str, str]:
    """What stays of a file's path when its subset folder is renamed: img or reg, and the file's name."""
    return PurePosixPath(name).parts[0], PurePosixPath(name).name


def folder(name: str) -> str:
    """The folder of a file's path."""
    return name.rpartition("/")[0]
