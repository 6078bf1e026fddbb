"""Sizes that files claim, read without a decoder, where the decoder would fill memory before it tells them.

JPEG XL is decoded whole by its plug-in as soon as it is opened. Later frames of a GIF may enlarge its canvas,
and Pillow sets memory aside for what is to be put behind a frame as soon as it comes to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dataprep.errors import RowError
from dataprep.framing.buckets import Size

_JXL_BARE = b"\xff\x0a"
_JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_SIZE_BYTES = 12  # of a JPEG XL codestream that hold its mark and its size, and one to spare
_MOST_BOXES = 10_000  # of a container; files have about ten
_LONGEST_BOX = 2**40  # bytes
_SIDE_BITS = (9, 13, 18, 30)  # of a JPEG XL side, by its two bits of choice
_RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height
_GIF = (b"GIF87a", b"GIF89a")
_COMMENT, _APPLICATION = 0xFE, 0xFF  # labels of GIF extensions


@dataclass(frozen=True)
class Limits:
    """The largest picture that is decoded: px of its longest side, and of its area."""

    side: float = math.inf
    area: float = math.inf

    def allow(self, width: int, height: int, burden: float = 1.0) -> bool:
        """Whether a picture of this size may be decoded that takes so many times a plain one's memory."""
        return max(width, height) <= self.side and width * height * burden <= self.area


def claimed(path: Path) -> tuple[str, Size] | None:
    """Format and size (px, not upright) of a GIF's first frame or a JPEG XL; None for all else.

    Raises:
        RowError: "unreadable" for a JPEG XL whose size cannot be found, transiently "io".
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
            stream.seek(0)
            if head.startswith(_GIF):
                return "gif", next(_extents(stream), (1, 1))
            if head.startswith(_JXL_BARE) or head[4:8] == _JXL_CONTAINER[4:8]:
                return "jxl", jxl_size(stream)
    except OSError as error:
        raise RowError("io", f"{error.strerror}", transient=True) from error
    return None


def gif_sizes(path: Path) -> list[Size]:
    """The canvas at each frame of a GIF, px: as large as all frames up to it ask for.

    Raises:
        RowError: transiently "io".
    """
    try:
        with path.open("rb") as stream:
            return list(_extents(stream))
    except OSError as error:
        raise RowError("io", f"{error.strerror}", transient=True) from error


def _extents(stream: IO[bytes]) -> Iterator[Size]:
    """The canvas at each frame, found as Pillow finds frames, in damaged files too."""
    header = stream.read(13)
    if len(header) < 13:
        return
    width, height = _u16(header, 6), _u16(header, 8)
    _skip_palette(stream, header[10])
    first = True
    while (mark := stream.read(1)) not in {b"", b";"}:
        if mark == b"!":
            _skip_extension(stream, first)
        elif mark == b",":
            frame = stream.read(9)
            if len(frame) < 9:
                return
            width = max(width, _u16(frame, 0) + _u16(frame, 4))
            height = max(height, _u16(frame, 2) + _u16(frame, 6))
            yield width, height
            first = False
            _skip_palette(stream, frame[8])
            stream.read(1)  # bits of a code
            while _block(stream):
                pass


def _skip_palette(stream: IO[bytes], flags: int) -> None:
    if flags & 0x80:
        stream.read(3 << (flags & 7) + 1)


def _skip_extension(stream: IO[bytes], first: bool) -> None:
    """As Pillow does it: what follows an extension without content is taken for a part of it."""
    label, block = stream.read(1), _block(stream)
    if label == bytes([_COMMENT]):
        while block:
            block = _block(stream)
        return
    if first and label == bytes([_APPLICATION]) and block.startswith(b"NETSCAPE2.0"):
        _block(stream)
    while _block(stream):
        pass


def _block(stream: IO[bytes]) -> bytes:
    length = stream.read(1)
    return stream.read(length[0]) if length else b""


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def jxl_size(stream: IO[bytes]) -> Size:
    """Width and height that a JPEG XL file's header says, px, not turned upright.

    Args:
        stream: the file at its start: a bare codestream, or a container with it in one box or in parts.
    Raises:
        RowError: "unreadable".
    Source: ISO/IEC 18181-1, SizeHeader; 18181-2, boxes jxlc and jxlp.
    """
    start = stream.read(len(_JXL_CONTAINER))
    codestream = start if start.startswith(_JXL_BARE) else _codestream_start(stream)
    if not codestream.startswith(_JXL_BARE) or len(codestream) < 4:
        raise RowError("unreadable", "a JPEG XL file that does not say how large it is")
    bits = _Bits(int.from_bytes(codestream[2:], "little"))
    small = bool(bits.take(1))
    height = _side(bits, small)
    ratio = _RATIOS[bits.take(3)]
    width = _side(bits, small) if ratio is None else height * ratio[0] // ratio[1]
    return width, height


@dataclass
class _Bits:
    """Bits of a number, the lowest first."""

    value: int

    def take(self, count: int) -> int:
        taken = self.value & (1 << count) - 1
        self.value >>= count
        return taken


def _side(bits: _Bits, small: bool) -> int:
    if small:
        return 8 * (bits.take(5) + 1)
    return 1 + bits.take(_SIDE_BITS[bits.take(2)])


def _codestream_start(stream: IO[bytes]) -> bytes:
    """The first bytes of the codestream in a container, whose signature was read."""
    found = b""
    for _ in range(_MOST_BOXES):
        head = stream.read(8)
        length, kind, read = int.from_bytes(head[:4]), head[4:], 8
        if length == 1:
            length, read = int.from_bytes(stream.read(8)), 16
        if len(head) < 8 or 0 < length < read or length > _LONGEST_BOX:
            break
        if kind == b"jxlp":
            stream.read(4)  # number of the part
            read += 4
        if kind in {b"jxlc", b"jxlp"}:
            wanted = _SIZE_BYTES - len(found) if length == 0 else min(_SIZE_BYTES - len(found), length - read)
            part = stream.read(max(0, wanted))
            found, read = found + part, read + len(part)
        if len(found) == _SIZE_BYTES or length == 0:
            break
        stream.seek(length - read, 1)
    return found
