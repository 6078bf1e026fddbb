"""Folders that would lose or mix data are refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.errors import InputError
from dataprep.folders import check_folders, check_prepared, default_out, locked


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    return folder


def test_the_default_out_stands_beside_raw(raw: Path) -> None:
    assert default_out(raw) == raw.parent / "raw-prepared"
    check_folders(raw, default_out(raw), None)


def test_a_missing_raw_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_folders(tmp_path / "nowhere", tmp_path / "out", None)


def test_a_file_as_raw_is_refused(raw: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        check_folders(raw / "a.png", raw.parent / "out", None)


def test_an_empty_raw_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="empty"):
        check_folders(tmp_path / "raw", tmp_path / "out", None)


@pytest.mark.parametrize("out", ["raw", "raw/out", "."])
def test_raw_and_out_inside_each_other_are_refused(raw: Path, out: str) -> None:
    with pytest.raises(InputError, match="inside each other"):
        check_folders(raw, raw.parent / out, None)


def test_out_with_somebody_elses_files_is_refused(raw: Path) -> None:
    other = raw.parent / "holiday"
    other.mkdir()
    (other / "precious.txt").write_text("keep me")
    with pytest.raises(InputError, match="did not write"):
        check_folders(raw, other, None)


def test_a_class_folder_inside_out_is_refused(raw: Path) -> None:
    out = raw.parent / "out"
    with pytest.raises(InputError, match="class folder"):
        check_folders(raw, out, out / "class")


def test_two_runs_in_one_folder_are_kept_apart(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out"),
        pytest.raises(InputError, match="another dataprep"),
        locked(tmp_path / "out"),
    ):
        pass
    with locked(tmp_path / "out"):
        pass


def test_an_out_that_no_folder_can_have_is_the_users_mistake(raw: Path) -> None:
    with (
        pytest.raises(InputError, match=r"cannot be made: .*choose another --out"),
        locked(raw / "a.png" / "x"),
    ):
        pass


def test_the_next_run_takes_away_what_a_killed_one_left_unfinished(tmp_path: Path) -> None:
    left = tmp_path / "img" / "5_sks" / ".a.npz.0123abcd.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"ha")
    with locked(tmp_path):
        assert not left.exists()


def test_a_folder_that_was_not_prepared_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.parquet"):
        check_prepared(tmp_path)
