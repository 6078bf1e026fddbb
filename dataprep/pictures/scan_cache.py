"""What scan knows of each file from before: a file whose stat is unchanged is not read again."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.errors import RowError
from dataprep.pictures.pixels import PIXELS_VERSION, Limits, PixelPolicy, probe
from dataprep.pictures.walk import Found
from dataprep.store import write_table

# A file changed this shortly before it was read may change again without a new time stamp; it is read anew.
_RACY_NS = 100_000_000
_ATTEMPTS = 3
_STAT = ("size", "mtime_ns", "ctime_ns", "inode")
_FACTS = 2  # raise it when other files are refused, or others found to be cut off
_SCHEMA = pa.schema(
    [
        ("role", pa.string()),
        ("name", pa.string()),
        *((name, pa.uint64() if name == "inode" else pa.int64()) for name in _STAT),
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("frames", pa.int32()),
        ("whole", pa.bool_()),
        ("burden", pa.float64()),
        ("code", pa.string()),
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What one reading of a file found. Sides upright, px; `fault` is (code, detail); rest as in Probe."""

    sha256: str | None = None
    bytes: int | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int = 1
    whole: bool = True
    burden: float = 1.0
    fault: tuple[str, str] | None = None
    transient: bool = False  # the next run may find otherwise: a fault may be gone, limits higher


def read_facts(path: Path, policy: PixelPolicy | None = None, limits: Limits | None = None) -> Facts:
    """Hash the file and read its header; a file that changes meanwhile is read again, a few times.

    Args:
        path: of the file.
        policy: what its pixels are.
        limits: the largest picture that may be decoded, where the header is not enough.
    """
    for _ in range(_ATTEMPTS):
        try:
            with path.open("rb") as file:
                before = _stamp(os.fstat(file.fileno()))
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            facts = _probed(path, policy, limits, sha256, before[0])
            if _stamp(path.stat()) == before:
                return facts
        except OSError as error:
            return Facts(fault=("io", f"{error.strerror}"), transient=True)
    return Facts(
        fault=("changing", "the file changed while it was read; run again when it is finished"),
        transient=True,
    )


def _probed(
    path: Path, policy: PixelPolicy | None, limits: Limits | None, sha256: str, size_bytes: int
) -> Facts:
    try:
        found = probe(path, policy, limits=limits)
    except RowError as error:
        return Facts(sha256, size_bytes, fault=(error.code, error.detail), transient=error.transient)
    return Facts(
        sha256, size_bytes, found.format, found.width, found.height, found.frames, found.whole,
        found.burden, transient=not found.final,
    )  # fmt: skip


def _stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class ScanCache:
    """The file of facts beside the other results. A damaged one is as good as none."""

    def __init__(self, path: Path, policy: PixelPolicy | None = None) -> None:
        self.path = path
        # What truncated files are depends on the setting that salvages them.
        self._version = f"{PIXELS_VERSION} {_FACTS} {(policy or PixelPolicy()).salvage:g}".encode()
        self._old = self._read()
        self._new: list[dict[str, Any]] = []

    def _read(self) -> dict[tuple[str, str], dict[str, Any]]:
        try:
            table = pq.read_table(self.path)
        except (OSError, pa.ArrowException):
            return {}
        if not table.schema.equals(_SCHEMA) or (table.schema.metadata or {}).get(b"pixels") != self._version:
            return {}
        return {(row["role"], row["name"]): row for row in table.to_pylist()}

    def get(self, role: str, item: Found) -> Facts | None:
        """Facts of an unchanged file, None if it has to be read."""
        row = self._old.get((role, item.name))
        if row is None or item.stat is None or tuple(row[name] for name in _STAT) != _stamp(item.stat):
            return None
        fault = None if row["code"] is None else (row["code"], row["detail"])
        return Facts(
            sha256=row["sha256"],
            bytes=row["size"],
            fault=fault,
            **{name: row[name] for name in ("format", "width", "height", "frames", "whole", "burden")},
        )

    def put(self, role: str, item: Found, facts: Facts, started_ns: int) -> None:
        """Remember a file's facts, unless they may be out of date without a new time stamp."""
        if item.stat is None or facts.sha256 is None or facts.transient:
            return
        if max(item.stat.st_mtime_ns, item.stat.st_ctime_ns) > started_ns - _RACY_NS:
            return
        code, detail = facts.fault or (None, None)
        self._new.append(
            {
                "role": role,
                "name": item.name,
                **dict(zip(_STAT, _stamp(item.stat), strict=True)),
                "sha256": facts.sha256,
                "format": facts.format,
                "width": facts.width,
                "height": facts.height,
                "frames": facts.frames,
                "whole": facts.whole,
                "burden": facts.burden,
                "code": code,
                "detail": detail,
            }
        )

    def save(self) -> None:
        """Write the facts of this scan. Raises DiskError."""
        table = pa.Table.from_pylist(self._new, schema=_SCHEMA)
        write_table(self.path, table.replace_schema_metadata({b"pixels": self._version}))
