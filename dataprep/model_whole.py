"""Whether a model's files are all there: each opens as what it is. A copy cut short has the right names, too.

Asked before a model's sha256 is recorded, for later uses are held to what is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dataprep.errors import ModelError

_SAFETENSORS: Final = frozenset({".safetensors", ".sft"})
_HEADER_AT: Final = 8  # bytes: the header's length stands first, little-endian
_LONGEST_HEADER: Final = 100 * 2**20  # bytes, of the format's own readers


def check_whole(kind: str, folder: Path, files: Sequence[str]) -> None:
    """Open every file as what it is. Reads headers of weights, whole networks and lists of tags.

    Args:
        kind: tagger, clip, vae or base.
        folder: the model's.
        files: relative to it.
    Raises:
        ModelError: a file is cut short, empty or something else.
    """
    check_weights(folder, files)
    for file in files:
        path = folder / file
        if path.suffix == ".json":
            _check_json(path)
        elif path.suffix == ".onnx":
            _check_network(path, kind)


def check_weights(folder: Path, files: Sequence[str]) -> None:
    """Hold every .safetensors file's size against its own header, in milliseconds. Raises ModelError."""
    for file in files:
        path = folder / file
        if path.suffix in _SAFETENSORS and (fault := _weights_fault(path)) is not None:
            raise ModelError(_incomplete(path, fault))


def _incomplete(path: Path, fault: str) -> str:
    return (
        f"{path}: incomplete or no such file as its name says ({fault}); nothing of it was recorded: copy or "
        "download it again, whole"
    )


def _weights_fault(path: Path) -> str | None:
    """Why a .safetensors file is not whole; None if it is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_AT), "little")
        if size < _HEADER_AT or length > min(size - _HEADER_AT, _LONGEST_HEADER):
            return f"its {size} bytes end within the header"
        try:
            header: Any = json.loads(file.read(length))
            tensors = [entry for name, entry in header.items() if name != "__metadata__"]
            wanted = (
                _HEADER_AT + length + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
            )
        except (ValueError, AttributeError, KeyError, IndexError, TypeError):
            return "its header is not one of .safetensors"
    return None if size == wanted else f"{size} bytes of {wanted}"


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ModelError(_incomplete(path, f"no JSON: {error}")) from error


def _check_network(path: Path, kind: str) -> None:
    from dataprep.inference.onnx import open_graph
    from dataprep.inference.tagger import read_labels

    graph = open_graph(path)
    if kind != "tagger":
        return
    try:
        labels = read_labels(path)
    except ModelError as error:
        raise ModelError(f"{error}; nothing of it was recorded") from error
    if graph.classes not in (None, len(labels.tags)):
        raise ModelError(
            f"{path.parent}: the list of tags is incomplete or of another model: it has {len(labels.tags)} "
            f"tags, and {path.name} gives {graph.classes} numbers; nothing of it was recorded: copy or "
            "download both again, whole"
        )
