from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.toml import read_toml, value_of


def test_a_settings_file_may_begin_with_the_mark_that_notepad_writes(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_bytes(b"\xef\xbb\xbfrank = 4\n")
    assert read_toml(path) == {"rank": 4}


@pytest.mark.parametrize(
    ("data", "message"),
    [(None, "cannot be read"), (b"rank = = 4", "not valid TOML"), (b'word = "\xff"', "not UTF-8")],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = tmp_path / "train.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=rf"train\.toml: {message}"):
        read_toml(path)


def test_a_value_is_toml_or_a_bare_word() -> None:
    assert [value_of(text) for text in ("3", "0.5", " true", "['a', 'b']", "lora", " a b ")] == [
        3,
        0.5,
        True,
        ["a", "b"],
        "lora",
        "a b",
    ]
