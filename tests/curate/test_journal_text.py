"""Journals as editors and kills leave them."""

from __future__ import annotations

import json

import pytest

from dataprep.curate.journal_text import TORN, is_foreign, read_lines

A, B = {"image": "a"}, {"image": "b"}
LINES = f"{json.dumps(A)}\n{json.dumps(B)}\n".encode()


def is_event(value: object) -> bool:
    return isinstance(value, dict) and "image" in value


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n"),
        LINES.decode().encode("utf-16"),
        json.dumps([A, B], indent=1).encode(),
        f"{json.dumps(A, indent=1)}\n\n{json.dumps([B])}".encode(),
    ],
)
def test_the_same_objects_are_read_however_they_are_laid_out(data: bytes) -> None:
    found = read_lines(data, is_event)
    assert ([value for _, value in found.values], found.damaged, found.lost) == ([A, B], (), ())


def test_a_value_is_named_by_the_line_where_it_starts() -> None:
    data = f"{json.dumps(A, indent=1)}\n{json.dumps(B)}\n".encode()
    assert [number for number, _ in read_lines(data, is_event).values] == [1, 4]


@pytest.mark.parametrize(
    ("data", "damaged", "lost"),
    [
        (LINES + b'{"im', (3,), ()),  # killed
        (LINES + b'{"im\n', (3,), (3,)),
        (b'{"im\n' + json.dumps(TORN).encode() + b"\n" + LINES, (1,), ()),  # killed, and gone on
        (b'{"im\n{"tor\n' + json.dumps(TORN).encode() + b"\n" + LINES, (1, 2), ()),  # killed twice
        (b'{"im\n' + LINES, (1,), (1,)),
        (b'{"other": 1}\n' + LINES, (1,), (1,)),
        (b"", (), ()),
    ],
)
def test_what_kills_leave_is_told_from_what_is_lost(
    data: bytes, damaged: tuple[int, ...], lost: tuple[int, ...]
) -> None:
    found = read_lines(data, is_event)
    assert (found.damaged, found.lost) == (damaged, lost)


def test_what_lines_of_utf_8_cannot_follow_is_foreign() -> None:
    assert is_foreign("{".encode("utf-16"))
    assert is_foreign("{}".encode("utf-16-be"))
    assert not is_foreign(LINES[:4])
