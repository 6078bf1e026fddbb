"""Later frames of animated PNG, composed as its specification says.

Pillow's own depend on which frames were decoded before, and where they are half transparent they are wrong.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from PIL import Image, PngImagePlugin

from dataprep.pictures.colour import GREY_MODES, with_alpha

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TO_BACKGROUND, _TO_PREVIOUS = 1, 2  # what becomes of a frame before the next one; else it stays
_OVER = 1  # a frame is blended with what is there; else it takes its place
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the colour type
_DATA: Final = frozenset({b"IDAT", b"fdAT"})
_SPARE_BYTES = 65_536
_PALETTE_BYTES = 768
_KEPT: Final = ("icc_profile", "exif")  # of what the header says


@dataclass(frozen=True)
class _Control:
    """Where a frame goes, px, and how."""

    left: int
    top: int
    width: int
    height: int
    disposal: int = 0
    blend: int = 0

    @property
    def edges(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.width, self.top + self.height


class AnimatedPng(Image.Image):
    """The frames of a PNG, each composed of those before it, the further ones in order.

    Frames are counted as Pillow does: a default picture that is no part of the animation is frame 0.

    Args:
        first: the file as Pillow opens it.
        stream: the file.
    Source: Portable Network Graphics (PNG) Specification (Third Edition), fcTL.
    """

    format = "PNG"
    tile = ()  # no part of a damaged frame is used

    def __init__(self, first: PngImagePlugin.PngImageFile, stream: IO[bytes]) -> None:
        super().__init__()
        self._mode = "LA" if first.mode in GREY_MODES else "RGBA"
        self._size = first.size
        self.info: dict[str | tuple[int, int], Any] = {
            name: first.info[name] for name in _KEPT if name in first.info
        }
        self.n_frames = first.n_frames
        self._wanted, self._shown = 0, -1
        self._frames = _Reader(stream, first.size, skips_first=bool(first.default_image)).frames()
        self._canvas = Image.new("RGBA", first.size)
        self._last: _Control | None = None
        self._behind: Image.Image | None = None

    def seek(self, frame: int) -> None:
        """Raises EOFError beyond the last frame, ValueError before the one that is shown."""
        if frame >= self.n_frames:
            raise EOFError("no more images in APNG file")
        if frame < self._shown:
            raise ValueError(f"frame {frame} is behind frame {self._shown}")
        self._wanted = frame

    def tell(self) -> int:
        """The frame that was asked for."""
        return self._wanted

    def load(self) -> PixelAccess | None:
        """Compose the frame that was asked for. Raises what Pillow does for damaged files."""
        if self._shown < self._wanted:
            while self._shown < self._wanted:
                self._advance()
            bands = self._canvas.split() if self._mode == "LA" else ()
            self.im = (Image.merge("LA", (bands[0], bands[3])) if bands else self._canvas).im
        return super().load()

    def _advance(self) -> None:
        control, data = next(self._frames, (None, b""))
        if control is None:
            raise EOFError("no more images in APNG file")
        self._shown += 1
        if not data:  # a default picture, which frames are not composed with
            return
        self._dispose()
        if control.disposal == _TO_PREVIOUS:
            self._behind = self._canvas.crop(control.edges)
        drawn = with_alpha(PngImagePlugin.PngImageFile(io.BytesIO(data)))
        if control.blend == _OVER:
            self._canvas.alpha_composite(drawn, (control.left, control.top))
        else:
            self._canvas.paste(drawn, control.edges)
        self._last = control

    def _dispose(self) -> None:
        """Take away what the last frame is not to leave."""
        if self._last is not None and self._last.disposal == _TO_BACKGROUND:
            self._canvas.paste((0, 0, 0, 0), self._last.edges)
        if self._last is not None and self._behind is not None:
            self._canvas.paste(self._behind, self._last.edges)
        self._behind = None


class _Reader:
    """The frames of a file, one after another, read only as far as is asked.

    Args:
        stream: the file.
        size: of the canvas, px.
        skips_first: whether the first picture is no part of the animation.
    """

    def __init__(self, stream: IO[bytes], size: tuple[int, int], *, skips_first: bool) -> None:
        self._stream, self._size, self._skips = stream, size, skips_first
        self._header, self._sequence = b"", 0
        self._shared: dict[bytes, bytes] = {}

    def frames(self) -> Iterator[tuple[_Control, bytes]]:
        """Each frame, as a PNG of its own; no bytes of one that is skipped. Raises SyntaxError."""
        control, parts, room = _Control(0, 0, *self._size), list[bytes](), 0
        begun = False
        for kind, length in _chunks(self._stream):
            if kind == b"fcTL":
                content = self._stream.read(26)  # before others move the stream
                if parts:
                    yield control, self._png(control, parts)
                control, parts = self._control(content), []
            elif kind in _DATA:
                length -= self._numbered(self._stream.read(4)) if kind == b"fdAT" else 0
                room = room if parts else self._most_bytes(control)
                data = self._stream.read(max(0, min(room, length)))
                room -= len(data)
                if data or not parts:  # a file may have any number of empty ones
                    parts.append(data)
                begun = True
            elif not begun:
                self._note(kind, length)
        if parts:
            yield control, self._png(control, parts)

    def _note(self, kind: bytes, length: int) -> None:
        if kind == b"IHDR":
            self._header = self._stream.read(13)
        elif kind in {b"PLTE", b"tRNS"}:
            self._shared[kind] = _chunk(kind, self._stream.read(min(length, _PALETTE_BYTES)))

    def _numbered(self, number: bytes) -> int:
        """Bytes of a chunk's number, which must be the next."""
        if int.from_bytes(number) != self._sequence:
            raise SyntaxError("APNG contains frame sequence errors")
        self._sequence += 1
        return 4

    def _control(self, content: bytes) -> _Control:
        self._numbered(content[:4])
        width, height, left, top, *_, disposal, blend = struct.unpack(">IIIIHHBB", content[4:])
        if not (width and height and left + width <= self._size[0] and top + height <= self._size[1]):
            raise SyntaxError("APNG contains invalid frames")
        return _Control(left, top, width, height, disposal, blend)

    def _most_bytes(self, control: _Control) -> int:
        """Of a frame's data that are read: twice its pixels, and to spare for how badly it may be packed."""
        bits = self._header[8] * _SAMPLES.get(self._header[9], 4)
        return 2 * (control.width * bits // 8 + 2) * control.height + _SPARE_BYTES

    def _png(self, control: _Control, parts: list[bytes]) -> bytes:
        if self._skips:
            self._skips = False
            return b""
        header = struct.pack(">II", control.width, control.height) + self._header[8:]
        shared = (self._shared[kind] for kind in sorted(self._shared))  # PLTE comes first
        data = _chunk(b"IDAT", b"".join(parts))
        return b"".join((_SIGNATURE, _chunk(b"IHDR", header), *shared, data, _chunk(b"IEND")))


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk, the stream at its content; others may move it meanwhile."""
    at = len(_SIGNATURE)
    while True:
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4])
        yield head[4:], length
        at += length + 12


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    return b"".join(
        (
            struct.pack(">I", len(content)),
            kind,
            content,
            struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))),
        )
    )
