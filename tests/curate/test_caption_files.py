from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.curate.caption_files import CaptionFile, pair_captions, tell
from dataprep.pictures.walk import Found, walk


def paired(raw: Path, encoding: str | None = None) -> dict[str, CaptionFile]:
    files, _ = pair_captions(walk(raw), encoding)
    return {file.name: file for file in files}


def write(raw: Path, **texts: str | bytes) -> None:
    """Files by name, where __ stands for the point."""
    for name, text in texts.items():
        data = text.encode() if isinstance(text, str) else text
        (raw / name.replace("__", ".")).write_bytes(data)


def test_a_second_caption_is_named_with_the_one_that_is_used(tmp_path: Path) -> None:
    write(tmp_path, a__png="", a__txt="red hat", a__caption="blue hat")
    files = paired(tmp_path)
    assert files["a.txt"].account == "a caption, read with a.png"
    assert files["a.caption"].account == "a caption that is not used: a.png has its caption from a.txt"
    assert tell(files.values()) == [
        "not used, as their pictures have other captions (1): a.caption (a.txt is used)"
    ]


def test_a_second_caption_that_says_the_same_is_no_matter(tmp_path: Path) -> None:
    write(tmp_path, a__png="", a__txt="red hat", a__caption="red hat\n")
    files = paired(tmp_path)
    assert files["a.caption"].account == "a caption; a.png has the same from a.txt"
    assert tell(files.values()) == []


def test_a_caption_serves_the_pictures_that_have_none_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, a__png="", a__jpg="", a__txt="both", a__jpg__txt="only the jpg")
    files = paired(tmp_path)
    assert files["a.txt"].pictures == ("a.png",)
    assert files["a.jpg.txt"].account == "a caption, read with a.jpg"
    assert tell(files.values()) == []


def test_an_empty_caption_stands_aside_for_the_next(tmp_path: Path) -> None:
    write(tmp_path, a__png="", a__txt=" \n", a__caption="second choice")
    files = paired(tmp_path)
    assert files["a.txt"].account == "a caption file without text"
    assert files["a.caption"].pictures == ("a.png",)


@pytest.mark.parametrize("letter", ["x", "é", "桜", "🌸"])
@pytest.mark.parametrize("shift", range(4))
def test_a_caption_too_long_is_cut_between_letters_and_named(tmp_path: Path, letter: str, shift: int) -> None:
    write(tmp_path, a__png="", a__txt="." * shift + letter * (2**20 // len(letter.encode()) + 5))
    file = paired(tmp_path)["a.txt"]
    assert file.text is not None
    assert 2**20 - 4 <= len(file.text.encode()) <= 2**20
    assert set(file.text) <= {".", letter}
    assert file.account == "a caption, read with a.png; of more than 1 MiB only the first is used"
    assert tell([file]) == ["a.txt has more than 1 MiB; only the first is used as a caption, look what it is"]


def test_a_caption_of_just_the_greatest_length_is_whole(tmp_path: Path) -> None:
    write(tmp_path, a__png="", a__txt="x" * 2**20)
    (file,) = paired(tmp_path).values()
    assert (file.text, file.warning) == ("x" * 2**20, None)


def test_a_caption_that_cannot_be_read_is_left_with_that_as_its_fault(tmp_path: Path) -> None:
    write(tmp_path, a__png="", a__txt="red hat")
    found = list(walk(tmp_path))
    (tmp_path / "a.txt").unlink()
    files, rest = pair_captions(found)
    faults = {item.name: item.fault for item in rest}
    detail = "the caption of a.png cannot be read: No such file or directory"
    assert faults == {"a.png": None, "a.txt": ("io", detail)}
    assert tell(files) == [f"a.txt: {detail}"]


def test_a_caption_in_doubt_is_accounted_for_as_not_used(tmp_path: Path) -> None:
    write(tmp_path, a__png="", a__txt="1girl, 眼鏡".encode("euc_jp"))
    (file,) = paired(tmp_path).values()
    assert (file.text, file.pictures) == (None, ())
    assert file.account.startswith("a caption that is not used: its bytes do not say")
    assert tell([file])[0].startswith("a.txt is not UTF-8")
    assert paired(tmp_path, "euc_jp")["a.txt"].text == "1girl, 眼鏡"


def test_a_caption_file_with_a_fault_stays_what_it_is() -> None:
    broken = Found(Path("a.txt"), "a.txt", None, ("unreadable", "a link that leads nowhere"))
    files, rest = pair_captions([Found(Path("a.png"), "a.png", None), broken])
    assert broken in rest
    assert tell(files) == ["a.txt: a link that leads nowhere"]


def test_of_many_that_are_passed_over_the_first_are_named(tmp_path: Path) -> None:
    for i in range(7):
        write(tmp_path, **{f"{i}__png": "", f"{i}__txt": "red", f"{i}__caption": "blue"})
    (line,) = tell(paired(tmp_path).values())
    assert line.startswith("not used, as their pictures have other captions (7): 0.caption")
    assert line.endswith("4.caption (4.txt is used) and 2 more")
