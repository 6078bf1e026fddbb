"""Results by key as Parquet parts, blobs by content. A file is whole or absent: it is renamed into place."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.errors import DiskError

_DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
_DISK_FAULTS |= {errno.EFBIG}  # a file above 4 GB on FAT32
_PARTS_BEFORE_COMPACTION = 8


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn a full, read-only or failing disk into a DiskError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        raise DiskError(
            f"{path}: cannot write: {error.strerror}. Finished work is kept: free space or mend the "
            "permissions, then run the same command again (`dataprep train`: with --resume)"
        ) from error


_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # as write_whole names them


def sweep(folder: Path) -> int:
    """Take away the unfinished files that killed runs left; only while nobody writes. Returns how many.

    Raises:
        DiskError: one cannot be taken away.
    """
    count = 0
    with disk_faults(folder):
        for parent, _, names in os.walk(folder):
            for name in names:
                if name.endswith(".tmp") and _UNFINISHED.fullmatch(name):
                    (Path(parent) / name).unlink(missing_ok=True)
                    count += 1
    return count


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    Raises:
        DiskError: the disk is full, read-only or failing; `path` is as it was before.
    """
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.tmp")
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes whole or not at all. Raises DiskError."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_whole(path, write)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet (zstd), whole or not at all. Raises DiskError."""
    write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


class LostBlob(DiskError):
    """A file of the store that results point to is gone or damaged; what it held can be made again."""


class Results:
    """Stored results of one stage under one stage key: a folder of Parquet parts with a `key` column."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.schema = pa.schema([("key", pa.string()), *schema])
        self._table = self._read()
        self._rows = {key: i for i, key in enumerate(self._table["key"].to_pylist())}

    def _read(self) -> pa.Table:
        parts = sorted(self.folder.glob("*.parquet")) if self.folder.is_dir() else []
        tables = [pq.read_table(part, schema=self.schema) for part in parts]
        table = pa.concat_tables(tables) if tables else self.schema.empty_table()
        if len(parts) > _PARTS_BEFORE_COMPACTION:
            # A run killed between these two steps leaves some results twice, which is harmless.
            write_table(self.folder / f"{secrets.token_hex(8)}.parquet", table)
            for part in parts:
                part.unlink(missing_ok=True)
        return table

    def index(self, key: str) -> int | None:
        """Row number of a stored result, None if there is none."""
        return self._rows.get(key)

    def take(self, rows: list[int]) -> pa.Table:
        """Stored results (without `key`) by row number."""
        return self._table.take(pa.array(rows, pa.int64())).drop_columns(["key"])

    def append(self, keys: list[str], result: pa.Table) -> None:
        """Store results on disk; they are found by the next run. Raises DiskError."""
        table = result.add_column(0, "key", pa.array(keys, pa.string())).cast(self.schema)
        write_table(self.folder / f"{secrets.token_hex(8)}.parquet", table)


class Blobs:
    """Files named by the key of their content: latents, masks, rendered pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str, suffix: str) -> Path:
        """Where the blob of this key is or would be."""
        return self.folder / key[:2] / f"{key}{suffix}"

    def has(self, key: str, suffix: str) -> bool:
        """Whether the blob is there, whole."""
        return self.path(key, suffix).is_file()

    def put(self, key: str, suffix: str, write: Callable[[Path], None]) -> Path:
        """Store a blob whole or not at all; `write` fills the path it is given. Raises DiskError."""
        path = self.path(key, suffix)
        write_whole(path, write)
        return path
