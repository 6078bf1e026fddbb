"""File formats: which are read, which need a plug-in, and what a decoder's error means to people.

With pixels.py, the only place that knows Pillow's errors.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import IO

from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from dataprep.errors import RowError

# Pillow would also try formats that run programs (EPS) or that any bytes pass for (TGA).
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "QOI")
IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *(
            "jpg",
            "jpeg",
            "jpe",
            "jfif",
            "mpo",
            "png",
            "apng",
            "webp",
            "avif",
            "gif",
            "bmp",
            "dib",
            "tif",
            "tiff",
        ),
        *("jp2", "j2k", "jpx", "ppm", "pgm", "pbm", "pnm", "ico", "qoi", "heic", "heif", "jxl"),
    )
)
_TIFF = frozenset({b"II*\0", b"MM\0*"})
_ICON = b"\0\0\1\0"
_LARGEST_ICON = 1024  # px; 256 by the format, whose bitmaps say twice their height
_OVERFLOWING = frozenset({"RGB", "RGBA", "LA", "YCbCr"})  # modes that Pillow scales deep JPEG 2000 to
_HEIF = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1", b"miaf"}
)
_PLUGIN = {"HEIF": "pillow-heif", "JXL": "pillow-jxl-plugin"}
# Programs that draw pictures write into them how: a workflow is easily more than Pillow's 1 MiB.
_LONGEST_TEXT = 16 << 20  # bytes that one packed text or profile of a PNG may unpack to
PngImagePlugin.MAX_TEXT_CHUNK = _LONGEST_TEXT
PngImagePlugin.MAX_TEXT_MEMORY = 2 * _LONGEST_TEXT  # of one picture; four times this in memory at worst
_KEYWORD = 1024  # bytes before a text, and to spare
_PNG = b"\x89PNG\r\n\x1a\n"
_STREAMED = frozenset({b"IDAT", b"fdAT"})  # chunks of a PNG that Pillow does not read at once
_TEXT_LIMITS = f"{_LONGEST_TEXT >> 20} MiB unpacked, or together over {PngImagePlugin.MAX_TEXT_MEMORY >> 20}"
# What decoders raise on damaged files, found by feeding them mutated files.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    NotImplementedError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def readers(head: bytes) -> list[str]:
    """Pillow's names of the formats that a file with these first bytes may be. Raises RowError."""
    wanted = _plugin_format(head)
    if wanted is None:
        Image.init()  # Pillow loads its readers lazily, and refuses to be asked for one not yet loaded
        return list(FORMATS)
    _register(wanted)
    return [wanted]


def _plugin_format(head: bytes) -> str | None:
    """HEIF or JXL if the first bytes say so: formats that need a plug-in."""
    if head[:2] == b"\xff\x0a" or head[4:8] == b"JXL ":
        return "JXL"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        # mif1 and miaf are also brands of some AVIF files, which list avif among the compatible brands.
        return None if b"avif" in head or b"avis" in head else "HEIF"
    return None


def _register(name: str) -> None:
    """Load the plug-in of a format. Raises RowError "unsupported" where it is not installed."""
    if name in Image.OPEN:
        return
    try:
        if name == "HEIF":
            import pillow_heif  # type: ignore[import-not-found]

            pillow_heif.register_heif_opener()
        else:
            import pillow_jxl  # type: ignore[import-not-found]  # noqa: F401 - registers itself
    except ImportError as error:
        raise RowError(
            "unsupported",
            f"{name} needs the package {_PLUGIN[name]}: pip install {_PLUGIN[name]}",
            transient=True,
        ) from error


def row_error(code: str, error: Exception, path: Path, head: bytes | None = None) -> RowError:
    """The RowError of what a decoder raised."""
    if isinstance(error, OSError) and error.errno is not None:
        return RowError("io", f"{error.strerror}", transient=True)
    if isinstance(error, MemoryError):
        return RowError("memory", "not enough memory to decode it", transient=True)
    if head == b"":
        return RowError("empty", "the file has no bytes")
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return RowError(
                "not-an-image", f"no picture format this program reads ({path.suffix or 'no suffix'})"
            )
        if head is not None and head[:4] in _TIFF and (kind := _unread_tiff(path)):
            return RowError("unsupported", f"{kind} is not read; save it as PNG or TIFF of 8 or 16 bits")
        return RowError("unreadable", f"named {path.suffix}, but {_kind(head or b'')}")
    if isinstance(error, ValueError) and "MAX_TEXT" in str(error):
        return _bloated()
    return RowError(code, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _bloated() -> RowError:
    return RowError(
        "too-large", f"its texts, its profile or other chunks are over {_TEXT_LIMITS}; save it without them"
    )


def _unread_tiff(path: Path) -> str | None:
    """What a TIFF is whose header is sound and whose samples Pillow cannot read; None if it is not sound."""
    try:
        with path.open("rb") as file:
            tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
        bits, samples = tags.get(258), tags.get(277, 1)  # BitsPerSample, SamplesPerPixel
        if not isinstance(bits, tuple) or not bits or not tags.get(256) or not tags.get(257):
            return None
        number = {1: "whole", 2: "signed", 3: "float"}.get(tags.get(339, (1,))[0], "other")  # SampleFormat
    except DECODE_ERRORS:
        return None
    return f"TIFF of {samples} samples a pixel, {number} numbers of {bits[0]} bits,"


def refuse_bloated_png(head: bytes, stream: IO[bytes]) -> None:
    """Refuse a PNG a chunk of which, but for its pixels, Pillow would read or unpack at any cost.

    Texts, profiles and private chunks alike are read whole, and each profile is unpacked, however many.

    Args:
        head: first bytes of the file, 8 or more.
        stream: the file; its position is kept.
    Raises:
        RowError: "too-large".
    """
    if not head.startswith(_PNG):
        return
    position, at, profiles = stream.tell(), len(_PNG), 0
    stream.seek(at)
    while len(start := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        profiles += kind == b"iCCP"
        if profiles > 1:
            raise RowError("too-large", "a PNG of more than one profile; save it anew")
        if kind not in _STREAMED and length > _LONGEST_TEXT + _KEYWORD:
            raise _bloated()
        at += length + 12
        stream.seek(at)
    stream.seek(position)


def refuse_bloated_icon(head: bytes, stream: IO[bytes]) -> None:
    """Refuse an icon that hides a large picture: Pillow decodes icons at once, before any limit is looked at.

    Args:
        head: first bytes of the file, 6 or more.
        stream: the file; its position is kept.
    Raises:
        RowError: "too-large".
    """
    if not head.startswith(_ICON) or len(head) < 6:
        return
    position = stream.tell()
    stream.seek(6)
    entries = stream.read(16 * int.from_bytes(head[4:6], "little"))
    for at in range(12, len(entries) - 3, 16):
        stream.seek(int.from_bytes(entries[at : at + 4], "little"))
        start = stream.read(24)
        if start.startswith(b"\x89PNG"):
            width, height = struct.unpack(">II", start[16:24].ljust(8, b"\0"))
        else:
            width, height = map(abs, struct.unpack("<ii", start[4:12].ljust(8, b"\0")))
        if max(width, height) > _LARGEST_ICON:
            raise RowError("too-large", f"an icon of {width}x{height} px; icons have {_LARGEST_ICON} at most")
    stream.seek(position)


def refuse_misread(image: Image.Image, stream: IO[bytes]) -> None:
    """Refuse what Pillow decodes to wrong pixels without an error.

    JPEG 2000 in colour of more than 8 bits: the scaling to 8 bits overflows, and white becomes black.

    Args:
        image: with its header read.
        stream: the file; its position is kept.
    Raises:
        RowError: "unsupported".
    """
    if image.format != "JPEG2000" or image.mode not in _OVERFLOWING:
        return
    position = stream.tell()
    stream.seek(0)
    head = stream.read(_TAIL)
    stream.seek(position)
    at = head.find(b"\xff\x4f\xff\x51") + 2  # start of codestream, then its sizes
    components = head[at + 38 : at + 40]
    count = int.from_bytes(components)
    bits = max(((depth & 0x7F) + 1 for depth in head[at + 40 : at + 40 + 3 * count : 3]), default=0)
    if at > 1 and bits > 8:
        detail = f"JPEG 2000 in colour of {bits} bits a sample is decoded wrongly; save it as PNG"
        raise RowError("unsupported", detail)


def refuse_many_scans(image: Image.Image, stream: IO[bytes]) -> None:
    """Refuse a JPEG that draws its picture over and over: each scan takes few bytes and all of the time.

    Args:
        image: with its header read.
        stream: the file; its position is kept.
    Raises:
        RowError: "too-large".
    """
    if image.format not in {"JPEG", "MPO"}:
        return
    if keeps_scans(image, stream):
        position = stream.tell()
        if _scans(stream, _pixels_start(stream)) > _MOST_SCANS:
            raise RowError("too-large", f"a JPEG of more than {_MOST_SCANS} scans; save it anew")
        stream.seek(position)


def keeps_scans(image: Image.Image, stream: IO[bytes]) -> bool:
    """Whether a JPEG is drawn in several scans, all of which its decoder holds until the last is read.

    Args:
        image: with its header read.
        stream: the file; its position is kept.
    """
    if "progressive" in image.info:
        return True
    position = stream.tell()
    stream.seek(_pixels_start(stream) + 4)
    in_scan = int.from_bytes(stream.read(1))
    stream.seek(position)
    return in_scan < len(image.getbands())


def _scans(stream: IO[bytes], at: int) -> int:
    """How many scans a JPEG has from a place on; counting stops beyond the most that it may have."""
    scans = 0
    while scans <= _MOST_SCANS:
        stream.seek(at)
        data = stream.read(_WINDOW)
        if len(data) < 4:
            break
        done = 0
        while marker := _MARKER.search(data, done):
            done = marker.start()
            if done + 4 > len(data):
                break
            if data[done + 1] == _IMAGE_END:
                return scans
            scans += data[done + 1] == _SCAN_START
            done += 2 + max(2, int.from_bytes(data[done + 2 : done + 4]))
        at += done if marker else max(done, len(data) - 1)  # the last byte may begin a marker
    return scans


def profile_of_jpeg_2000(image: Image.Image, stream: IO[bytes]) -> bytes | None:
    """The ICC profile of a JPEG 2000 file, which Pillow does not look for; None if it has none.

    Args:
        image: with its header read.
        stream: the file; its position is kept.
    """
    if image.format != "JPEG2000":
        return None
    position = stream.tell()
    stream.seek(0)
    head = stream.read(_LONGEST_HEADER)
    stream.seek(position)
    at = head.find(b"colr\2")  # a box: its length, its name, method 2: a profile follows after two more bytes
    length = int.from_bytes(head[max(0, at - 4) : max(0, at)])
    return head[at + 7 : at - 4 + length] if at >= 4 and length > 11 else None


def _kind(head: bytes) -> str:
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    if head.startswith((b"<!DOCTYPE", b"<html", b"<?xml", b"<svg")):
        return "it contains markup (a saved web page or SVG)"
    if head and printable == len(head):
        return "it contains text"
    return "its content is no known or no whole picture"


_END = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_LONGEST_HEADER = 4 << 20  # bytes; profiles of printers take one or two
_MOST_SCANS = 100  # of a JPEG: ten times those of a progressive file as libjpeg writes it; each costs a pass
_MARKER = re.compile(rb"\xff[^\0\x01\xd0-\xd8\xff]", re.DOTALL)  # of a segment that has a length, or the end
_SCAN_START, _IMAGE_END = 0xDA, 0xD9
_WINDOW = 1 << 20  # bytes that are looked through at a time
_MOST_SEGMENTS = 10_000  # before the pixels of a JPEG; files have about ten
_TAIL = 65_536  # bytes in which the end is looked for: cameras and programs append things


def is_cut_off(name: str | None, stream: IO[bytes]) -> bool:
    """Whether a JPEG or PNG lacks its end. Of other formats no part can be decoded, or it cannot be told."""
    end = _END.get(name or "")
    if end is None:
        return False
    position = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    # The thumbnail in a JPEG's EXIF has an end of its own, so what is looked through starts at the pixels.
    stream.seek(max(_pixels_start(stream) if name != "PNG" else 0, size - _TAIL))
    found = end in stream.read()
    stream.seek(position)
    return not found


def _pixels_start(stream: IO[bytes]) -> int:
    """Where the first scan of a JPEG begins, found by hopping over segments; 0 if it cannot be told."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        stream.seek(at)
        start = stream.read(4)
        if len(start) < 4 or start[0] != 0xFF:
            return 0
        if start[1] == 0xFF:  # padding
            at += 1
            continue
        if start[1] == _SCAN_START:
            return at
        at += 2 + int.from_bytes(start[2:4])
    return 0
