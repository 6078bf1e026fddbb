"""The one decode: what an image file's pixels are. Hash, tagger, CLIP, VAE and export all see these.

This is the only file that knows which errors Pillow raises; they leave it as RowError.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from PIL import Image

from dataprep.digest import digest
from dataprep.errors import RowError
from dataprep.pictures.colour import Alpha, in_strips, opacity, to_srgb
from dataprep.pictures.extents import Limits as Limits
from dataprep.pictures.extents import claimed
from dataprep.pictures.formats import (
    DECODE_ERRORS,
    is_cut_off,
    profile_of_jpeg_2000,
    readers,
    refuse_bloated_icon,
    refuse_bloated_png,
    refuse_many_scans,
    refuse_misread,
    row_error,
)
from dataprep.pictures.stamps import Stamps

# Raise it when the same file and policy give other pixels.
PIXELS_VERSION = 2

Filter = Literal["lanczos", "kohya", "nearest"]  # how views are resized, see views.py

_ORIENTATION = 0x0112  # EXIF tag
_SIDEWAYS = frozenset({5, 6, 7, 8})
_GREATEST_SIDE = 2**31 - 1  # px; what a damaged header may exceed and a column cannot hold
_MOST_FRAMES = 10_000  # a damaged header may claim billions
_WARNERS = r"PIL\.|dataprep\.pixels"

# Our own limits are checked against the header before any pixel is decoded, for every row, with a reason.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class PixelPolicy:
    """What a user may decide about pixels. Everything here is part of a picture's identity.

    Attributes:
        alpha: what shows through transparency: "white", "black", "colour" (the hidden colours), or "mask":
            white, and what is transparent is written as a mask.
        salvage: least share of a truncated picture's rows for which these rows are the picture; 0: never.
        filter: how views are resized.
    """

    alpha: Alpha = "white"
    salvage: float = 0.0
    filter: Filter = "lanczos"

    def key(self, sha256: str, frame: int = 0) -> str:
        """Identity of the pixels that this policy makes of a file with this content.

        Args:
            sha256: of the file.
            frame: number of the frame or page; it can be read off the key again.
        """
        chosen = asdict(self)
        if self.filter == PixelPolicy.filter:
            del chosen["filter"]  # keys from before there was a choice stay what they were
        version = PIXELS_VERSION + bool(self.salvage)  # with thumbnails, files were not taken for cut off
        return digest("pixels", version, chosen, sha256) + (f"#{frame}" if frame else "")


def frame_of(pixels_key: str) -> int:
    """The frame or page that a pixels key is of; 0 is the first."""
    return int(pixels_key.rpartition("#")[2]) if "#" in pixels_key else 0


@dataclass(frozen=True)
class Probe:
    """What an image file's header says. Sides in px, upright.

    Attributes:
        format: Pillow's name in small letters.
        width: px.
        height: px.
        frames: of an animation, or pages; the pictures behind a phone's (gain map, depth) are none.
        whole: False for the rows that are there of a truncated picture.
        final: False where the pixels were not read that could say more: the picture is beyond the limits.
    """

    format: str
    width: int
    height: int
    frames: int = 1
    whole: bool = True
    final: bool = True


def probe(
    path: Path, policy: PixelPolicy | None = None, frame: int = 0, limits: Limits | None = None
) -> Probe:
    """Format and upright size from the header.

    Decodes pixels only of truncated files to be salvaged, of PNG with metadata behind its pixels and of JPEG
    XL, and only where the header's size is within the limits.

    Raises:
        RowError: "empty", "not-an-image", "unreadable", "unsupported", or transiently "io".
    """
    salvage = 0.0 if policy is None else policy.salvage
    if limits is not None and (beyond := _beyond(path, limits)):
        return beyond
    with _opened(path, frame) as (image, stream):
        name, frames, whole = (image.format or "").lower(), _frames(image), True
        cut_off = bool(salvage) and is_cut_off(image.format, stream)
        late = cut_off or (image.format == "PNG" and _has_late_metadata(stream))  # rare
        final = not late or (limits or Limits()).allow(*image.size)
        if late and final:
            image, whole = _decoded(image, path, salvage if cut_off else 0.0), not cut_off
        width, height = image.size
        if max(width, height) > _GREATEST_SIDE:
            raise RowError("unreadable", f"the header claims {width}x{height} px")
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return Probe(name, width, height, frames, whole, final)


def _beyond(path: Path, limits: Limits) -> Probe | None:
    """What is known of a picture that must not even be opened; None of all that may be."""
    found = claimed(path)
    if found is None or limits.allow(*found[1]):
        return None
    name, (width, height) = found
    return Probe(name, min(width, _GREATEST_SIDE), min(height, _GREATEST_SIDE), final=False)


def load_rgb(path: Path, policy: PixelPolicy, frame: int = 0) -> Image.Image:
    """A file's pixels: one frame, upright, sRGB, mode RGB, transparency resolved.

    Raises:
        RowError: as `probe`, or "decode" for damaged pixel data.
    """
    return _load(path, policy, None, frame, lambda image: to_srgb(image, policy.alpha))


def load_mask(path: Path, policy: PixelPolicy, frame: int = 0) -> Image.Image | None:
    """A file's opacity, upright, mode L, as large as its pixels; None where nothing is transparent.

    Raises:
        RowError: as `load_rgb`.
    """
    mask = _load(path, policy, None, frame, lambda image: opacity(image) or Image.new("L", image.size, 255))
    return None if mask.getextrema() == (255, 255) else mask


def load_small(path: Path, policy: PixelPolicy, short_side: int = 256, frame: int = 0) -> Image.Image:
    """The same pixels at 1, 1/2, 1/4 or 1/8 of the size, the short side still at least `short_side` px.

    JPEG is scaled while it is decoded (in its DCT), which is several times faster than decoding it whole.
    Raises:
        RowError: as `load_rgb`.
    """
    return _load(path, policy, short_side, frame, lambda image: to_srgb(image, policy.alpha))


def _load(
    path: Path,
    policy: PixelPolicy,
    short_side: int | None,
    frame: int,
    resolve: Callable[[Image.Image], Image.Image],
) -> Image.Image:
    with _opened(path, frame) as (image, stream):
        factor = 1 if short_side is None else _reduction(image.size, short_side)
        full_width = image.width
        orientation = None if image.format == "PNG" else _orientation(image)
        if factor > 1 and image.format in {"JPEG", "MPO"}:
            image.draft(None, (image.width // factor, image.height // factor))
        cut_off = policy.salvage and is_cut_off(image.format, stream)
        image = _decoded(image, path, policy.salvage if cut_off else 0.0)
        left = round(factor * image.width / full_width)  # what the decoder has not scaled yet
        try:
            rgb = in_strips(image, resolve, max(1, left))
        except (OSError, ValueError) as error:
            raise row_error("decode", error, path) from error
        # A PNG may say behind its pixels how it lies.
        rgb = _upright(rgb, _orientation(image) if orientation is None else orientation)
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
    except DECODE_ERRORS:
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


def _frames(image: Image.Image) -> int:
    if image.format in {"JPEG", "MPO"}:
        return 1
    try:
        return min(_MOST_FRAMES, max(1, int(getattr(image, "n_frames", 1))))
    except DECODE_ERRORS:
        return 1


def _decoded(image: Image.Image, path: Path, salvage: float = 0.0) -> Image.Image:
    """The picture with its pixels, or the rows that are there if they are at least `salvage` of it."""
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


@contextmanager
def _opened(path: Path, frame: int = 0) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """The file with the header of this frame or page read. Raises RowError."""
    _silence_decoder_warnings()
    try:
        stream = path.open("rb")
    except OSError as error:
        raise RowError("io", f"{error.strerror}", transient=True) from error
    with stream:
        try:
            head = stream.read(32)
            refuse_bloated_icon(head, stream)
            refuse_bloated_png(head, stream)
            stream.seek(0)
            image = Image.open(stream, formats=readers(head))
            if frame:
                image.seek(frame)
        except DECODE_ERRORS as error:
            raise row_error("unreadable", error, path, head=head) from error
        with image:
            refuse_misread(image, stream)
            refuse_many_scans(image, stream)
            if profile := profile_of_jpeg_2000(image, stream):
                image.info["icc_profile"] = profile
            yield image, stream


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
        self.stamps = Stamps()
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Future[Image.Image]] = OrderedDict()
        self._bytes = 0

    def load(self, path: Path, key: str) -> Image.Image:
        """The pixels of `path`, whose identity is `key`. Do not change the picture you are given.

        Raises:
            RowError: as `load_rgb`.
        """
        return self._get(key, path, lambda: load_rgb(path, self.policy, frame_of(key)))

    def small(self, path: Path, key: str, short_side: int = 256) -> Image.Image:
        """The reduced pixels of `path`, as `load_small` gives them. Do not change the picture.

        Raises:
            RowError: as `load_rgb`.
        """
        return self._get(
            f"{key} {short_side}", path, lambda: load_small(path, self.policy, short_side, frame_of(key))
        )

    def _get(self, key: str, path: Path, decode: Callable[[], Image.Image]) -> Image.Image:
        with self._lock:
            future = self._held.get(key)
            mine = future is None
            if future is None:
                future = self._held[key] = Future()
            self._held.move_to_end(key)
        if mine:
            self._fill(key, future, lambda: self.stamps.guarded(path, decode))
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
