"""The header of a .safetensors file: its metadata and its tensors' shapes, read without trusting a byte.

A file may come from anywhere: lengths, offsets and JSON are checked before they are believed.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.errors import InputError

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
MAX_DEPTH = 16  # the format needs 3
# Commas and brackets: a tensor has some ten, so that this is 200,000 tensors; SDXL's checkpoint has 2,500.
MAX_VALUES = 2_000_000
MAX_DIMENSIONS = 64  # NumPy's own limit; the product of a million of them would take hours
_PROBLEMS_TOLD = 20
# An unfinished string counts up to the end: tried again at each of its quotes, it would take hours.
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor, as the header tells. `start` and `end` are byte offsets behind the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header."""

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorInfo]
    data_offset: int  # bytes before the tensors
    file_bytes: int
    problems: tuple[str, ...]  # what the format forbids but reading survives


def read_header(path: Path) -> Header:
    """Read and check a header.

    Raises:
        InputError: the file cannot be read, is no .safetensors file, or is cut off.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = _length(path, start, size)
            text = file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    document, problems = _document(path, text)
    metadata = _metadata(path, document.pop("__metadata__", None))
    tensors = {name: _tensor(path, name, value) for name, value in document.items()}
    problems += _layout_problems(path, tensors, size - 8 - length)
    if len(problems) > _PROBLEMS_TOLD:
        problems[_PROBLEMS_TOLD:] = [f"and {len(problems) - _PROBLEMS_TOLD} more of this kind"]
    return Header(path, metadata, tensors, 8 + length, size, tuple(problems))


def _length(path: Path, start: bytes, size: int) -> int:
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        raise InputError(
            f"{path}: is a pickle (.ckpt, .pt), which runs programs when loaded and is not opened here; "
            "convert it to .safetensors on a machine you can lose"
        )
    if len(start) < 8:
        raise InputError(f"{path}: has {size} bytes, too few for a .safetensors file")
    length: int = struct.unpack("<Q", start)[0]
    if length > MAX_HEADER_BYTES:
        raise InputError(
            f"{path}: is no .safetensors file: its header would have {length} bytes, the format allows "
            f"{MAX_HEADER_BYTES}"
        )
    if length > size - 8:
        raise InputError(
            f"{path}: its header should have {length} bytes, the file ends after {size - 8}: cut off, or no "
            ".safetensors file"
        )
    return length


def _document(path: Path, text: bytes) -> tuple[dict[str, Any], list[str]]:
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            counts = Counter(name for name, _ in items)
            repeated.extend(name for name, count in counts.items() if count > 1)
        return result

    if not text.startswith(b"{"):
        raise InputError(f"{path}: is no .safetensors file: its header does not start with {{")
    bare = _STRING.sub(b"", text)
    if _depth(bare) > MAX_DEPTH:
        raise InputError(f"{path}: its header is nested more than {MAX_DEPTH} deep, which no honest file is")
    values = bare.count(b",") + bare.count(b"[") + bare.count(b"{")
    if values > MAX_VALUES:
        raise InputError(
            f"{path}: its header holds {values} values in {len(text) / 1e6:.0f} MB; no honest file has more "
            f"than {MAX_VALUES}, and reading them would fill the memory"
        )
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its header is not valid JSON: {_short(str(error))}") from error
    if repeated:
        raise InputError(
            f"{path}: its header names {_short(repeated[0])!r} twice, so that two readers would see two "
            "different files; it is not read"
        )
    if not isinstance(document, dict):
        raise InputError(f"{path}: its header is not a JSON object")
    return document, []


def _depth(bare: bytes) -> int:
    """How deep JSON without its strings is nested at most."""
    brackets = np.frombuffer(bare.translate(None, _NO_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("{")) | (brackets == ord("[")), 1, -1)
    return int(np.cumsum(steps).max(initial=0))


def _metadata(path: Path, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InputError(f"{path}: its __metadata__ is not an object of texts")
    return value


def _tensor(path: Path, name: str, value: object) -> TensorInfo:
    wrong = InputError(f"{path}: its header's entry {_short(name)!r} does not describe a tensor")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise wrong
    shape, offsets = value["shape"], value["data_offsets"]
    if not (_whole_numbers(shape) and _whole_numbers(offsets) and len(offsets) == 2):
        raise wrong
    if len(shape) > MAX_DIMENSIONS:
        raise wrong
    if not isinstance(value["dtype"], str):
        raise wrong
    return TensorInfo(value["dtype"], tuple(shape), offsets[0], offsets[1])


def _whole_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _layout_problems(path: Path, tensors: Mapping[str, TensorInfo], data_bytes: int) -> list[str]:
    problems = []
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.end < tensor.start or tensor.end > data_bytes:
            raise InputError(
                f"{path}: tensor {_short(name)!r} should end at byte {tensor.end} of {data_bytes}: the "
                "file is cut off or its header is wrong; fetch it again"
            )
        bits = _BITS.get(tensor.dtype)
        if bits is None:
            problems.append(f"tensor {_short(name)!r} has the unknown number format {_short(tensor.dtype)!r}")
        elif math.prod(tensor.shape) * bits != 8 * (tensor.end - tensor.start):
            raise InputError(f"{path}: tensor {_short(name)!r} does not fill its bytes; the header is wrong")
        if tensor.start != position:
            problems.append(f"bytes before tensor {_short(name)!r} overlap or belong to nobody")
        position = tensor.end
    if position != data_bytes:
        problems.append(f"{data_bytes - position} bytes at the end belong to no tensor")
    return problems


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
