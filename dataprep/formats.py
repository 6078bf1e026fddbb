"""File formats: which are read, which need a plug-in, and what a decoder's error means to people.

With pixels.py, the only place that knows Pillow's errors.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

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
_PLUGIN = {"HEIF": "pillow-heif", "JXL": "pillow-jxl-plugin"}
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
    if head[4:8] == b"ftyp" and head[8:12] in {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}:
        # mif1 is also the brand of some AVIF files, which list avif among the compatible brands.
        return None if b"avif" in head else "HEIF"
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
        return RowError("unreadable", f"named {path.suffix}, but {_kind(head or b'')}")
    return RowError(code, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _kind(head: bytes) -> str:
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    if head.startswith((b"<!DOCTYPE", b"<html", b"<?xml", b"<svg")):
        return "it contains markup (a saved web page or SVG)"
    if head and printable == len(head):
        return "it contains text"
    return "its content is no known or no whole picture"


_END = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 65_536  # bytes in which the end is looked for: cameras and programs append things


def is_cut_off(name: str | None, stream: IO[bytes]) -> bool:
    """Whether a JPEG or PNG lacks its end. Of other formats no part can be decoded, or it cannot be told."""
    end = _END.get(name or "")
    if end is None:
        return False
    position = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, size - _TAIL))
    found = end in stream.read()
    stream.seek(position)
    return not found
