from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dataprep import model_files
from dataprep.errors import ModelError
from dataprep.model_files import RECORD_NAME, cache_folder, hashes, recheck, recorded_revision, verified


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAPREP_CACHE", str(tmp_path / "cache"))


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_single_file_has_its_own_sha256(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", a="weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    assert hashes(folder, ["a"]) == hashes(folder / "a", ["a"]) == expected


def test_a_folders_hash_knows_names_and_contents_but_not_their_order(tmp_path: Path) -> None:
    one = write(tmp_path / "m", a="1", b="2")
    other = write(tmp_path / "n", a="2", b="1")
    assert hashes(one, ["a", "b"]) == hashes(one, ["b", "a"])
    assert hashes(one, ["a", "b"]) != hashes(other, ["a", "b"])


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "m", a="1")
    first = hashes(folder, ["a"])
    monkeypatch.setattr(model_files, "file_sha256", lambda _: pytest.fail("read again"))
    assert hashes(folder, ["a"]) == first
    monkeypatch.undo()
    monkeypatch.setenv("DATAPREP_CACHE", str(tmp_path / "cache"))
    write(folder, a="22")
    assert hashes(folder, ["a"]) != first


def test_the_first_use_is_recorded_and_later_ones_are_held_to_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", a="1")
    sha256 = verified("tagger:x/y", folder, ["a"], "abc", None)
    assert recorded_revision("tagger:x/y") == "abc"
    assert verified("tagger:x/y", folder, ["a"], "abc", None) == sha256
    write(folder, a="22")
    with pytest.raises(ModelError, match="first use"):
        verified("tagger:x/y", folder, ["a"], "abc", None)


def test_a_pinned_hash_is_held_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", a="1")
    with pytest.raises(ModelError, match=r"pins\.toml says"):
        verified("tagger:x/y", folder, ["a"], None, "0" * 64)


def test_a_damaged_record_is_no_obstacle(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", a="1")
    cache_folder().mkdir()
    (cache_folder() / RECORD_NAME).write_text("{half", encoding="utf-8")
    assert verified("tagger:x/y", folder, ["a"], None, None)
    assert list(recheck()) == ["tagger:x/y"]


def test_a_home_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "m", a="1")
    monkeypatch.setenv("DATAPREP_CACHE", str(folder / "a"))  # a file stands where the folder would be
    assert verified("tagger:x/y", folder, ["a"], None, None)
