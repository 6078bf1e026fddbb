from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.digest import file_sha256
from dataprep.errors import InputError
from dataprep.export.receipt import (
    SCHEMA,
    Entry,
    journal,
    owners,
    read_receipt,
    receipt_file,
    to_table,
    write_receipt,
)
from dataprep.store import write_table


def entry(out: Path, file: str, text: str) -> Entry:
    (out / file).write_text(text)
    sha256 = file_sha256(out / file)
    return dict.fromkeys(SCHEMA.names) | {
        "file": file,
        "sha256": sha256,
        "bytes": len(text),
        "kind": "config",
    }


def test_nothing_written_is_an_empty_receipt(tmp_path: Path) -> None:
    assert read_receipt(tmp_path).equals(SCHEMA.empty_table())


def test_a_receipt_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = to_table([entry(tmp_path, "b", "2"), entry(tmp_path, "a", "1")])
    write_receipt(tmp_path, table)
    assert read_receipt(tmp_path).equals(table)
    assert table["file"].to_pylist() == ["a", "b"]


def test_of_a_killed_run_only_files_in_place_count(tmp_path: Path) -> None:
    old = entry(tmp_path, "a", "old")
    write_receipt(tmp_path, to_table([old]))
    new = entry(tmp_path, "a", "new")
    (tmp_path / "a").write_text("old")
    journal(tmp_path, new)  # killed before the rename
    journal(tmp_path, entry(tmp_path, "b", "in place"))
    with (tmp_path / ".dataprep" / "receipt.journal").open("a") as file:
        file.write('{"file": "c", "sha')  # killed while writing the line
    found = {each["file"]: each["sha256"] for each in read_receipt(tmp_path).to_pylist()}
    assert found == {"a": old["sha256"], "b": file_sha256(tmp_path / "b")}
    write_receipt(tmp_path, read_receipt(tmp_path))
    assert set(read_receipt(tmp_path)["file"].to_pylist()) == {"a", "b"}


def test_a_line_torn_by_a_kill_costs_no_other_entry(tmp_path: Path) -> None:
    journal(tmp_path, entry(tmp_path, "a", "1"))
    with (tmp_path / ".dataprep" / "receipt.journal").open("a") as file:
        file.write('{"file": "torn", "sha')  # killed here; the next run is killed too, before its receipt
    journal(tmp_path, entry(tmp_path, "b", "2"))
    journal(tmp_path, entry(tmp_path, "c\u2028d", "3"))  # a letter that also ends a line
    assert read_receipt(tmp_path)["file"].to_pylist() == ["a", "b", "c\u2028d"]


def test_a_broken_receipt_is_named_with_the_way_out(tmp_path: Path) -> None:
    receipt_file(tmp_path).parent.mkdir()
    receipt_file(tmp_path).write_bytes(b"not parquet")
    with pytest.raises(InputError, match="Move it away"):
        read_receipt(tmp_path)


def test_a_receipt_of_before_changed_pictures_were_remembered_is_read(tmp_path: Path) -> None:
    table = to_table([entry(tmp_path, "a", "1")])
    write_table(receipt_file(tmp_path), table.drop_columns(["retouched"]))
    assert read_receipt(tmp_path).equals(table)


def test_a_picture_belongs_to_the_row_of_its_id_or_to_the_one_of_the_same_bytes() -> None:
    rows = [
        {"id": "1", "sha256": "x", "view": "", "role": "train"},
        {"id": "2", "sha256": "y", "view": "", "role": "train"},
        {"id": "3", "sha256": "y", "view": "head", "role": "train"},
        {"id": "4", "sha256": "z", "view": "", "role": "train"},
        {"id": "5", "sha256": "z", "view": "", "role": "train"},
    ]
    told = {"a": ("1", "y"), "b": ("gone", "y"), "c": ("gone", "z"), "d": ("gone", None)}
    entries = [
        dict.fromkeys(SCHEMA.names) | {"file": file, "id": id_, "image_sha256": sha256, "role": "train"}
        for file, (id_, sha256) in told.items()
    ]
    assert owners(entries, rows) == {"a": "1", "b": "2"}  # of two alike, nobody can say which
