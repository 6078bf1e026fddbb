from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.errors import InputError
from dataprep.export.prepared import Prepared, pairs, write


def test_a_prepared_folder_is_read_with_its_files_captions(prepared: Prepared) -> None:
    assert [picture.stem for picture in prepared.train] == ["a", "b.x", "星"]
    assert [picture.caption for picture in prepared.reg] == ["girl", "girl"]
    assert (prepared.repeats, prepared.resolution, prepared.name) == (2, 128, "sks")


def test_pictures_are_linked_not_copied_and_nothing_is_written_twice(
    prepared: Prepared, tmp_path: Path
) -> None:
    out = tmp_path / "export"
    report = write(prepared, out, pairs(prepared.pictures))
    assert len(report.written) == 10
    assert (out / "images" / "a.png").samefile(prepared.train[0].file)
    assert not (out / "images" / "a.txt").samefile(prepared.train[0].file.with_suffix(".txt"))
    assert write(prepared, out, pairs(prepared.pictures)).written == []


def test_pictures_that_left_the_set_leave_the_export(prepared: Prepared, tmp_path: Path) -> None:
    write(prepared, tmp_path / "export", pairs(prepared.pictures))
    report = write(prepared, tmp_path / "export", pairs(prepared.train))
    assert report.removed == ["class/c.png", "class/c.txt", "class/dd.png", "class/dd.txt"]
    assert prepared.reg[0].file.is_file()


def test_a_strangers_folder_is_not_written(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InputError, match="not an export"):
        write(prepared, tmp_path / "mine", [])


@pytest.mark.parametrize("where", [".", "sub", ".."])
def test_the_prepared_folder_itself_is_not_written(prepared: Prepared, where: str) -> None:
    with pytest.raises(InputError, match="beside it"):
        write(prepared, prepared.directory / where, [])
