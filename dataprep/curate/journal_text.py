"""The journal of decisions as text: what editors make of JSON lines, and which lines are beyond reading.

UTF-16, a byte order mark, objects spread over several lines and a list of objects say the same and are read.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

# Written after a line that a killed program left half written: it, and nothing else, is known to be damaged.
TORN: Final = {"torn": True}
_KILLS: Final = 3  # in a row: the line that says TORN may be cut itself


@dataclass(frozen=True)
class Lines:
    """A journal's text as read.

    Attributes:
        values: line number, from 1, and object.
        damaged: numbers of lines that cannot be read.
        lost: those of them that no killed program left so.
    """

    values: tuple[tuple[int, dict[str, Any]], ...] = ()
    damaged: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()


def is_foreign(start: bytes) -> bool:
    """Whether a file that starts so is not UTF-8: lines cannot be added as they are."""
    return start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\x00" in start


def read_lines(data: bytes, is_event: Callable[[object], bool]) -> Lines:
    """Objects of a journal.

    Args:
        data: the file.
        is_event: whether a JSON value is a decision.
    """
    data = _utf8(data)
    lines = _by_line(data, is_event)
    if not lines.damaged:
        return lines
    try:
        values = [*_values(data.decode("utf-8"))]
    except ValueError:  # also UnicodeDecodeError
        return lines
    return Lines(tuple(values)) if all(is_event(value) for _, value in values) else lines


def _utf8(data: bytes) -> bytes:
    if not is_foreign(data[:4]):
        return data.removeprefix(codecs.BOM_UTF8)
    has_mark = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if has_mark else "utf-16-le" if data[1:2] == b"\x00" else "utf-16-be"
    return data.decode(encoding, "replace").encode("utf-8", "surrogatepass")


def _by_line(data: bytes, is_event: Callable[[object], bool]) -> Lines:
    values: list[tuple[int, dict[str, Any]]] = []
    damaged: list[int] = []
    lost: list[int] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        found = _events(line)
        if found == [TORN]:
            lost = lost[: len(lost) - _run_before(lost, number)]
        elif found is not None and all(is_event(value) for value in found):
            values += [(number, value) for value in found]
        else:
            damaged.append(number)
            lost.append(number)
    if lost and lost[-1] == len(lines):  # the last, without its end: a program was killed while it wrote
        lost = lost[: len(lost) - _run_before(lost, len(lines) + 1)]
    return Lines(tuple(values), tuple(damaged), tuple(lost))


def _run_before(numbers: list[int], end: int) -> int:
    """How many of the numbers, from the last on, run up to `end` without a gap, as kills can leave them."""
    count = 0
    while count < min(len(numbers), _KILLS) and numbers[-1 - count] == end - 1 - count:
        count += 1
    return count


def _events(line: bytes) -> list[Any] | None:
    """The objects of a line, of a list of them too; None if it cannot be read."""
    if not line.strip():
        return []
    try:
        value = json.loads(line)
    except ValueError:  # also UnicodeDecodeError
        return None
    return value if isinstance(value, list) else [value]


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """JSON values one after the other, however they are laid out, with their lines. Raises ValueError."""
    decoder, at, number, counted = json.JSONDecoder(), 0, 1, 0
    while True:
        while at < len(text) and (text[at].isspace() or text[at] == ","):
            at += 1
        if at == len(text):
            return
        value, end = decoder.raw_decode(text, at)
        number += text.count("\n", counted, at)
        each = value if isinstance(value, list) else [value]
        yield from ((number, one) for one in each if one != TORN)
        counted, at = at, end
