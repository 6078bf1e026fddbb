"""The one decode: what an image file's pixels are. Hash, tagger, CLIP, VAE and export all see these.

This is the only file that knows which errors Pillow raises; they leave it as RowError.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from dataprep.colour import Alpha, to_srgb
from dataprep.digest import digest
from dataprep.errors import RowError

# Raise it when the same file and policy give other pixels.
PIXELS_VERSION = 1

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
_ORIENTATION = 0x0112  # EXIF tag
_SIDEWAYS = frozenset({5, 6, 7, 8})
# What decoders raise on damaged files, found by feeding them mutated files.
_DECODE_ERRORS = (
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

_WARNERS = r"PIL\.|dataprep\.pixels"

# Our own limits are checked against the header before any pixel is decoded, for every row, with a reason.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class PixelPolicy:
    """What a user may decide about pixels. Everything here is part of a picture's identity.

    Attributes:
        alpha: what shows through transparency: "white", "black", or "colour" (the hidden colours).
    """

    alpha: Alpha = "white"

    def key(self, sha256: str) -> str:
        """Identity of the pixels that this policy makes of a file with this content."""
        return digest("pixels", PIXELS_VERSION, asdict(self), sha256)


@dataclass(frozen=True)
class Probe:
    """What an image file's header says. Sides in px, upright."""

    format: str
    width: int
    height: int


def probe(path: Path) -> Probe:
    """Format and upright size from the header; decodes no pixels.

    Raises:
        RowError: "empty", "not-an-image", "unreadable", "unsupported", or transiently "io".
    """
    with _opened(path) as (image, stream):
        if image.format == "PNG" and _has_late_metadata(stream):
            _decoded(image, path)  # rare: an orientation behind the pixels
        width, height = image.size
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return Probe((image.format or "").lower(), width, height)


def load_rgb(path: Path, policy: PixelPolicy) -> Image.Image:
    """A file's pixels: first frame, upright, sRGB, mode RGB, transparency resolved.

    Raises:
        RowError: as `probe`, or "decode" for damaged pixel data.
    """
    return _load(path, policy, None)


def load_small(path: Path, policy: PixelPolicy, short_side: int = 256) -> Image.Image:
    """The same pixels at 1, 1/2, 1/4 or 1/8 of the size, the short side still at least `short_side` px.

    JPEG is scaled while it is decoded (in its DCT), which is several times faster than decoding it whole.
    Raises:
        RowError: as `load_rgb`.
    """
    return _load(path, policy, short_side)


def _load(path: Path, policy: PixelPolicy, short_side: int | None) -> Image.Image:
    with _opened(path) as (image, _):
        factor = 1 if short_side is None else _reduction(image.size, short_side)
        full_width = image.width
        if factor > 1 and image.format in {"JPEG", "MPO"}:
            image.draft(None, (image.width // factor, image.height // factor))
        _decoded(image, path)
        try:
            rgb = to_srgb(image, policy.alpha)
        except (OSError, ValueError) as error:
            raise _row_error("decode", error, path) from error
        left = round(factor * image.width / full_width)  # what the decoder has not scaled yet
        rgb = rgb.reduce(left) if left > 1 else rgb
        rgb = _upright(rgb, _orientation(image))
    rgb.info = {}
    return rgb


def _reduction(size: tuple[int, int], short_side: int) -> int:
    factor = 1
    while factor < 8 and min(size) // (factor * 2) >= short_side:
        factor *= 2
    return factor


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 if there is none or it is damaged, and for TIFF, which Pillow turns."""
    if image.format == "TIFF":
        return 1
    try:
        # The base method: PNG's own would decode the picture first.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except _DECODE_ERRORS:
        return 1
    return found if isinstance(found, int) else 1


def _has_late_metadata(stream: IO[bytes]) -> bool:
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


def _decoded(image: Image.Image, path: Path) -> None:
    try:
        image.load()
    except _DECODE_ERRORS as error:
        raise _row_error("decode", error, path) from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """The file with its header read. Raises RowError."""
    _silence_decoder_warnings()
    try:
        stream = path.open("rb")
    except OSError as error:
        raise RowError("io", f"{error.strerror}", transient=True) from error
    with stream:
        try:
            head = stream.read(32)
            stream.seek(0)
            image = Image.open(stream, formats=_formats(head))
        except _DECODE_ERRORS as error:
            raise _row_error("unreadable", error, path, head=head) from error
        with image:
            yield image, stream


def _formats(head: bytes) -> list[str]:
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


def _row_error(code: str, error: Exception, path: Path, head: bytes | None = None) -> RowError:
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


def _silence_decoder_warnings() -> None:
    """Pillow warns about oddities that it copes with; the manifest reports what matters.

    Checked at every call, since catch_warnings elsewhere restores older filters.
    """
    if not any(
        entry[0] == "ignore" and entry[3] is not None and entry[3].pattern == _WARNERS
        for entry in warnings.filters
    ):
        warnings.filterwarnings("ignore", module=_WARNERS)


class PixelCache:
    """Decoded pictures by content, the least recently used forgotten first. Thread-safe.

    A picture that several threads want at once is decoded once; the others wait for it.

    Args:
        policy: of every picture in the cache.
        max_bytes: what the finished pictures may hold together (3 bytes per pixel).
    """

    def __init__(self, policy: PixelPolicy, max_bytes: int = 512 * 2**20) -> None:
        self.policy = policy
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Future[Image.Image]] = OrderedDict()
        self._bytes = 0

    def load(self, path: Path, key: str) -> Image.Image:
        """The pixels of `path`, whose identity is `key`. Do not change the picture you are given.

        Raises:
            RowError: as `load_rgb`.
        """
        return self._get(key, lambda: load_rgb(path, self.policy))

    def small(self, path: Path, key: str, short_side: int = 256) -> Image.Image:
        """The reduced pixels of `path`, as `load_small` gives them. Do not change the picture.

        Raises:
            RowError: as `load_rgb`.
        """
        return self._get(f"{key} {short_side}", lambda: load_small(path, self.policy, short_side))

    def _get(self, key: str, decode: Callable[[], Image.Image]) -> Image.Image:
        with self._lock:
            future = self._held.get(key)
            mine = future is None
            if future is None:
                future = self._held[key] = Future()
            self._held.move_to_end(key)
        if mine:
            self._fill(key, future, decode)
        return future.result()

    def _fill(self, key: str, future: Future[Image.Image], decode: Callable[[], Image.Image]) -> None:
        try:
            image = decode()
        except BaseException as error:
            with self._lock:
                self._held.pop(key, None)
            future.set_exception(error)
            raise
        future.set_result(image)
        with self._lock:
            self._bytes += _size_bytes(image)
            self._forget()

    def _forget(self) -> None:
        for key in list(self._held):
            if self._bytes <= self.max_bytes:
                return
            if self._held[key].done():
                self._bytes -= _size_bytes(self._held.pop(key).result())


def _size_bytes(image: Image.Image) -> int:
    return image.width * image.height * 3
