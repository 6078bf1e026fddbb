"""The store: a file is whole or absent, and a result is found again by its key."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from dataprep.errors import DiskError
from dataprep.store import Blobs, Results, sweep, write_bytes, write_whole

SCHEMA = pa.schema([("value", pa.int64())])


def test_results_are_found_by_the_next_reader(tmp_path: Path) -> None:
    Results(tmp_path, SCHEMA).append(["a", "b"], pa.table({"value": [1, 2]}, SCHEMA))
    again = Results(tmp_path, SCHEMA)
    row = again.index("b")
    assert row is not None
    assert again.take([row]).to_pylist() == [{"value": 2}]
    assert again.index("c") is None


def test_many_parts_become_one_and_lose_nothing(tmp_path: Path) -> None:
    for i in range(20):
        Results(tmp_path, SCHEMA).append([f"k{i}"], pa.table({"value": [i]}, SCHEMA))
    results = Results(tmp_path, SCHEMA)
    rows = [results.index(f"k{i}") for i in range(20)]
    assert [r["value"] for r in results.take([r for r in rows if r is not None]).to_pylist()] == list(
        range(20)
    )
    assert len(list(tmp_path.glob("*.parquet"))) < 20


def test_a_write_that_breaks_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def half(temporary: Path) -> None:
        temporary.write_bytes(b"ne")
        raise ValueError("killed")

    with pytest.raises(ValueError, match="killed"):
        write_whole(path, half)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_write_left_is_swept_away_and_nothing_else(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    names: list[str] = []

    def half(temporary: Path) -> None:
        names.append(temporary.name)
        raise Killed

    with pytest.raises(Killed):
        write_whole(tmp_path / "sub" / "a.npz", half)
    left = tmp_path / "sub" / names[0]  # a kill leaves it there
    left.write_bytes(b"ha")
    kept = [tmp_path / name for name in ("a.tmp", ".b.png.tmp", "c.00000000.tmp", ".d.00000000.txt")]
    for path in kept:
        path.write_bytes(b"the user's")
    assert sweep(tmp_path) == 1
    assert not left.exists()
    assert all(path.is_file() for path in kept)


def test_a_full_disk_says_what_to_do_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")

    def full(temporary: Path) -> None:
        temporary.write_bytes(b"n")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskError, match=r"No space left.*run the same command again"):
        write_whole(path, full)
    assert path.read_bytes() == b"old"


def test_a_blob_is_there_when_it_is_whole(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    assert not blobs.has("abcd", ".npz")
    path = blobs.put("abcd", ".npz", lambda temporary: temporary.write_bytes(b"x") and None)
    assert blobs.has("abcd", ".npz")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("number", [errno.EFBIG, errno.ENOSPC])
def test_a_disk_that_refuses_a_file_is_said_with_how_to_go_on(number: int, tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(DiskError, match=r"run the same command again .*--resume"):
        write_whole(tmp_path / "big.pt", refuse)
