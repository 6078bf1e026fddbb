"""Files opened as pictures: the header of the right frame, the pixels, and how they lie.

With pixels.py and formats.py, the only place that knows Pillow's errors.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, PngImagePlugin, TiffImagePlugin

from dataprep.errors import RowError
from dataprep.pictures.apng import AnimatedPng
from dataprep.pictures.burden import decoding_bytes, give_back_afterwards
from dataprep.pictures.formats import (
    DECODE_ERRORS,
    profile_of_jpeg_2000,
    readers,
    refuse_bloated_icon,
    refuse_bloated_png,
    refuse_many_scans,
    refuse_misread,
    row_error,
)

_ORIENTATION = 0x0112  # EXIF tag
_ICC_PROFILE = 34675  # TIFF tag
_MOST_FRAMES = 10_000  # a damaged header may claim billions
_MOST_KEPT_BYTES = 64 << 20  # what a decoder may hold that waits for its next frame
_WARNERS = r"PIL\.|dataprep\.pictures"
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations that lie on a side
_Identity = tuple[int, int, int, int]

# Our own limits are checked against the header before any pixel is decoded, for every row, with a reason.
Image.MAX_IMAGE_PIXELS = None


@dataclass
class _Decoder:
    """An open file at one of its frames. The file is closed with it."""

    image: Image.Image
    stream: IO[bytes]
    frame: int
    identity: _Identity

    def __del__(self) -> None:
        self.stream.close()


class _Last(threading.local):
    """The decoder that this thread has last had a later frame from: a frame is made of those before it."""

    decoder: _Decoder | None = None


_last = _Last()


@contextmanager
def opened(path: Path, frame: int = 0) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """The file with the header of this frame or page read. Raises RowError."""
    _silence_decoder_warnings()
    decoder = (_waiting(path, frame) if frame else None) or _started(path)
    with _at(decoder, frame, path) as image:
        refuse_misread(image, decoder.stream)
        refuse_many_scans(image, decoder.stream)
        if profile := profile_of_jpeg_2000(image, decoder.stream):
            image.info["icc_profile"] = profile
        yield image, decoder.stream


def _waiting(path: Path, frame: int) -> _Decoder | None:
    """The decoder that stands at or before this frame of the file, None if there is none."""
    decoder, _last.decoder = _last.decoder, None
    if decoder is None or decoder.frame > frame:
        return None
    try:
        return decoder if _identity(path.stat()) == decoder.identity else None
    except OSError:
        return None  # opening it tells what is the matter


def _started(path: Path) -> _Decoder:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise RowError("io", f"{error.strerror}", transient=True) from error
    head = b""
    try:
        head = stream.read(32)
        refuse_bloated_icon(head, stream)
        refuse_bloated_png(head, stream)
        stream.seek(0)
        image = Image.open(stream, formats=readers(head))
        return _Decoder(image, stream, 0, _identity(os.fstat(stream.fileno())))
    except DECODE_ERRORS as error:
        stream.close()
        raise row_error("unreadable", error, path, head=head) from error
    except RowError:
        stream.close()
        raise


@contextmanager
def _at(decoder: _Decoder, frame: int, path: Path) -> Iterator[Image.Image]:
    """The picture at a frame; a decoder that did well is kept for the next frame, if it is small."""
    try:
        if frame:
            _go(decoder, frame)
        _take_own_profile(decoder.image)
    except DECODE_ERRORS as error:
        decoder.stream.close()
        raise row_error("unreadable", error, path) from error
    try:
        yield decoder.image
    except BaseException:
        decoder.stream.close()
        raise
    if frame and decoding_bytes(decoder.image, decoder.stream) <= _MOST_KEPT_BYTES:
        decoder.frame = frame
        _last.decoder = decoder
    else:
        decoder.stream.close()


def _go(decoder: _Decoder, frame: int) -> None:
    """To a later frame, which is to be the same whatever was decoded before."""
    if isinstance(decoder.image, PngImagePlugin.PngImageFile) and decoder.image.is_animated:
        decoder.image = AnimatedPng(decoder.image, decoder.stream)
    if isinstance(decoder.image, TiffImagePlugin.TiffImageFile) and decoder.frame != frame:
        decoder.image._im = None  # what is missing in a damaged page would show the page before it
    decoder.image.seek(frame)


def _take_own_profile(image: Image.Image) -> None:
    """The profile of this page of a TIFF: Pillow keeps that of another for a page that has none."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.info.pop("icc_profile", None)
        if isinstance(profile := image.tag_v2.get(_ICC_PROFILE), bytes):
            image.info["icc_profile"] = profile


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image, orientation: object) -> Image.Image:
    """The picture as its EXIF orientation turns it."""
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 if there is none or it is damaged, and for TIFF, which Pillow turns."""
    if image.format == "TIFF":
        return 1
    try:
        # The base method: PNG's own would decode the picture first.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except DECODE_ERRORS:
        return 1
    return found if isinstance(found, int) else 1


def has_late_metadata(stream: IO[bytes]) -> bool:
    """Whether a PNG has EXIF or text behind its pixels, found by hopping over chunks."""
    stream.seek(8)
    pixels_seen = False
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            pixels_seen = True
        elif kind == b"IEND":
            return False
        elif pixels_seen and kind in {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}:
            return True
        stream.seek(length + 4, io.SEEK_CUR)
    return False


def frames_of(image: Image.Image) -> int:
    """Frames of an animation, or pages; what a phone puts behind its picture is none."""
    if image.format in {"JPEG", "MPO"}:
        return 1
    try:
        return min(_MOST_FRAMES, max(1, int(getattr(image, "n_frames", 1))))
    except DECODE_ERRORS:
        return 1


def decoded(image: Image.Image, path: Path, salvage: float = 0.0) -> Image.Image:
    """The picture with its pixels, or the rows that are there if they are at least `salvage` of it.

    Raises:
        RowError: "decode".
    """
    give_back_afterwards(image.size)
    try:
        image.load()
    except DECODE_ERRORS as error:
        rows = _rows_there(image) if salvage else 0
        if rows == 0 or rows < salvage * image.height:
            raise row_error("decode", error, path) from error
        part = image.crop((0, 0, image.width, rows))
        part.info, part.format = image.info, image.format
        return part
    return image


def _rows_there(image: Image.Image) -> int:
    """Rows that a decoder filled in before it failed: what it did not reach is zero."""
    if not image.tile:  # type: ignore[attr-defined]
        return 0
    image.tile = []  # type: ignore[attr-defined]
    try:
        image.load()
        box = image.getbbox(alpha_only=False)
    except (*DECODE_ERRORS, AssertionError):
        return 0
    return 0 if box is None else box[3]


def _silence_decoder_warnings() -> None:
    """Pillow warns about oddities that it copes with; the manifest reports what matters.

    Checked at every call, since catch_warnings elsewhere restores older filters.
    """
    if not any(
        entry[0] == "ignore" and entry[3] is not None and entry[3].pattern == _WARNERS
        for entry in warnings.filters
    ):
        warnings.filterwarnings("ignore", module=_WARNERS)
