from __future__ import annotations

import os
from pathlib import Path

import pytest

from dataprep.pictures.walk import walk


def names(root: Path, *skip: Path) -> list[str]:
    return [found.name for found in walk(root, skip)]


def test_files_come_folder_by_folder_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.png", "a/1.png", "c/d/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == ["a/1.png", "a/2.png", "b.png", "c/d/e.png"]


def test_skipped_folders_are_not_entered(tmp_path: Path) -> None:
    for name in ("a.png", "out/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, tmp_path / "out", tmp_path / "absent") == ["a.png"]


def test_a_loop_of_links_ends_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = {item.name: item.fault for item in walk(tmp_path)}
    assert found["a/x.png"] is None
    assert found["a/up/"] == ("loop", "a link to a folder that contains it")
    assert len(found) == 2


def test_folders_that_link_to_each_other_are_each_listed_once(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abcdefg"]
    for folder in folders:
        folder.mkdir()
        (folder / "x.png").touch()
    for folder in folders:
        for other in folders:
            if folder != other:
                (folder / f"to {other.name}").symlink_to(other, target_is_directory=True)
    found = list(walk(tmp_path))
    assert [item.name for item in found if item.fault is None] == [f"{name}/x.png" for name in "abcdefg"]
    assert {item.fault for item in found} == {None, ("loop", "a link to a folder that is listed already")}
    assert len(found) == 7 + 7 * 6


def test_a_folder_elsewhere_is_followed_once_and_its_own_name_goes_before_a_links(tmp_path: Path) -> None:
    elsewhere, raw = tmp_path / "elsewhere", tmp_path / "raw"
    elsewhere.mkdir()
    (elsewhere / "x.png").touch()
    (raw / "own").mkdir(parents=True)
    (raw / "own" / "y.png").touch()
    (raw / "a link").symlink_to(raw / "own", target_is_directory=True)
    for name in ("b", "c"):
        (raw / name).symlink_to(elsewhere, target_is_directory=True)
    whole = [item.name for item in walk(raw) if item.fault is None]
    assert whole == ["own/y.png", "b/x.png"]
    assert names(raw) == ["own/y.png", "a link/", "b/x.png", "c/"]


def test_a_link_to_a_skipped_folder_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").touch()
    (tmp_path / "to out").symlink_to(tmp_path / "out", target_is_directory=True)
    assert names(tmp_path, tmp_path / "out") == []


def test_folders_may_be_nested_more_deeply_than_python_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("a.png").touch()
    (found,) = walk(tmp_path)
    assert found.fault is None
    assert found.name == "d/" * 1200 + "a.png"
    for _ in range(1200):  # pytest's own clean-up is recursive
        for path in Path().iterdir():
            path.rmdir() if path.is_dir() else path.unlink()
        os.chdir("..")


def test_a_link_that_leads_nowhere_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    (found,) = walk(tmp_path)
    assert found.fault is not None
    assert found.fault[0] == "unreadable"


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (found,) = walk(tmp_path)
    assert found.fault == ("not-an-image", "a device, pipe or socket")


def test_names_of_every_unicode_form_stay_as_they_are(tmp_path: Path) -> None:
    for name in ("\u00e9.png", "e\u0301.png", "絵.png", "a b'\".png"):
        (tmp_path / name).touch()
    assert sorted(names(tmp_path)) == sorted(path.name for path in tmp_path.iterdir())


def test_a_name_of_invalid_bytes_is_a_fault_that_can_be_printed(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system refuses such names")
    (found,) = walk(tmp_path)
    assert found.name == "caf%E9.png"
    assert found.fault is not None
    assert found.fault[0] == "name"


def test_a_file_in_a_folder_of_invalid_bytes_is_a_fault_that_says_so(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(folder)  # noqa: PTH102 - pathlib takes no bytes
    except OSError:
        pytest.skip("this file system refuses such names")
    os.close(os.open(folder + b"/a.png", os.O_CREAT | os.O_WRONLY))
    (found,) = walk(tmp_path)
    assert found.name == "caf%E9/a.png"
    assert found.fault == ("name", "a folder's name is not valid Unicode; rename it")


def test_a_folder_that_cannot_be_listed_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refusing(folder: Path) -> object:
        if Path(folder).name == "locked":  # permissions do not stop root, under which tests may run
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    (found,) = walk(tmp_path)
    assert found.name == "locked/"
    assert found.fault == ("unreadable", "the folder cannot be listed: Permission denied")


def test_paths_over_260_characters_are_found(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 60] * 5)
    deep.mkdir(parents=True)
    (deep / "a.png").touch()
    assert names(tmp_path) == ["/".join(["d" * 60] * 5 + ["a.png"])]
