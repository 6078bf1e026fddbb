"""What the last run took over from people."""

from __future__ import annotations

from pathlib import Path

from dataprep.curate.taken import Taken, is_unfinished, note_taken, read_taken


def test_what_was_noted_is_read_back(tmp_path: Path) -> None:
    taken = Taken(7, {"img/1_x/赤.txt": "ab"}, running=True)
    note_taken(tmp_path, taken)
    assert read_taken(tmp_path) == taken


def test_nothing_is_known_of_a_folder_without_a_note_or_with_a_damaged_one(tmp_path: Path) -> None:
    assert read_taken(tmp_path) == Taken()
    note_taken(tmp_path, Taken(7))
    (tmp_path / ".dataprep/taken.json").write_text('{"decis', encoding="utf-8")
    assert read_taken(tmp_path) == Taken()


def test_a_run_ends_with_its_manifest(tmp_path: Path) -> None:
    assert not is_unfinished(tmp_path)
    (tmp_path / "manifest.parquet").touch()
    note_taken(tmp_path, Taken(running=True))
    assert is_unfinished(tmp_path)
    (tmp_path / "manifest.parquet").touch()
    assert not is_unfinished(tmp_path)
