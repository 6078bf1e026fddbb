"""The one decode: what an image file's pixels are. Hash, tagger, CLIP, VAE and export all see these.

Pillow's errors leave it as RowError.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from PIL import Image

from dataprep.digest import digest
from dataprep.errors import RowError
from dataprep.framing.boxes import Box, box_within
from dataprep.pictures.burden import LARGE_PX, ROOM, burden, decoding_bytes, loading_bytes
from dataprep.pictures.colour import Alpha, in_strips, opacity, to_srgb
from dataprep.pictures.extents import Limits as Limits
from dataprep.pictures.extents import claimed
from dataprep.pictures.formats import is_cut_off, row_error
from dataprep.pictures.opened import (
    SIDEWAYS,
    decoded,
    frames_of,
    has_late_metadata,
    opened,
    orientation_of,
    upright,
)
from dataprep.pictures.stamps import Stamps
from dataprep.pictures.strips import view_in_strips

# Raise it when the same file and policy give other pixels.
PIXELS_VERSION = 2
_LATER_FRAMES_VERSION = 1  # the same of frames and pages that are not the first

Filter = Literal["lanczos", "kohya", "nearest"]  # how views are resized, see views.py

_GREATEST_SIDE = 2**31 - 1  # px; what a damaged header may exceed and a column cannot hold


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
        if frame:
            return digest("pixels", version, chosen, sha256, _LATER_FRAMES_VERSION) + f"#{frame}"
        return digest("pixels", version, chosen, sha256)


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
        burden: how many times the memory of a plain picture of its size decoding takes, at least 1.
    """

    format: str
    width: int
    height: int
    frames: int = 1
    whole: bool = True
    final: bool = True
    burden: float = 1.0


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
    with opened(path, frame) as (image, stream):
        name, frames, whole = (image.format or "").lower(), frames_of(image), True
        weight = burden(image, stream)
        cut_off = bool(salvage) and is_cut_off(image.format, stream)
        late = cut_off or (image.format == "PNG" and has_late_metadata(stream))  # rare
        final = not late or (limits or Limits()).allow(*image.size, weight)
        if late and final:
            with ROOM.taken(loading_bytes(image, stream, 1.0, whole=False)):
                image, whole = decoded(image, path, salvage if cut_off else 0.0), not cut_off
        width, height = image.size
        if max(width, height) > _GREATEST_SIDE:
            raise RowError("unreadable", f"the header claims {width}x{height} px")
        if orientation_of(image) in SIDEWAYS:
            width, height = height, width
        return Probe(name, width, height, frames, whole, final, weight)


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


def load_view(
    path: Path, policy: PixelPolicy, box: Box, width: int, height: int, frame: int = 0
) -> Image.Image | None:
    """A box of a picture so large that it is not to be held whole, at a size; None of all other pictures.

    By Lanczos, as `view_in_strips` does it, which for tall boxes differs by a few levels from `views.render`.

    Raises:
        RowError: as `load_rgb`.
        ValueError: the box reaches outside the picture.
    """
    with opened(path, frame) as (image, stream):
        if image.width * image.height <= LARGE_PX:
            return None
        with ROOM.taken(decoding_bytes(image, stream)):
            image = _whole(image, stream, path, policy)
            turn = orientation_of(image)
            across, down = image.size[::-1] if turn in SIDEWAYS else image.size
            if box_within(box.as_dict(), across, down) != box:
                raise ValueError(f"box {box.edges} does not lie in a picture of {across}x{down} px")
            try:
                return view_in_strips(
                    image, lambda strip: to_srgb(strip, policy.alpha), turn, box, width, height
                )
            except (OSError, ValueError) as error:
                raise row_error("decode", error, path) from error


def _load(
    path: Path,
    policy: PixelPolicy,
    short_side: int | None,
    frame: int,
    resolve: Callable[[Image.Image], Image.Image],
) -> Image.Image:
    with opened(path, frame) as (image, stream):
        factor = 1 if short_side is None else _reduction(image.size, short_side)
        full_width = image.width
        turn = None if image.format == "PNG" else orientation_of(image)
        if factor > 1 and image.format in {"JPEG", "MPO"}:
            image.draft(None, (image.width // factor, image.height // factor))
        with ROOM.taken(loading_bytes(image, stream, full_width / image.width, whole=factor == 1)):
            image = _whole(image, stream, path, policy)
            left = round(factor * image.width / full_width)  # what the decoder has not scaled yet
            try:
                rgb = in_strips(image, resolve, max(1, left))
            except (OSError, ValueError) as error:
                raise row_error("decode", error, path) from error
            if rgb is image:  # nor keep its decoder, nor what the decoder makes the next frame in
                rgb = image.copy() if frame else image._new(image.im)
            # A PNG may say behind its pixels how it lies.
            rgb = upright(rgb, orientation_of(image) if turn is None else turn)
    rgb.info = {}
    return rgb


def _whole(image: Image.Image, stream: IO[bytes], path: Path, policy: PixelPolicy) -> Image.Image:
    cut_off = policy.salvage and is_cut_off(image.format, stream)
    return decoded(image, path, policy.salvage if cut_off else 0.0)


def _reduction(size: tuple[int, int], short_side: int) -> int:
    factor = 1
    while factor < 8 and min(size) // (factor * 2) >= short_side:
        factor *= 2
    return factor


class PixelCache:
    """Decoded pictures by content, the least recently used forgotten first. Thread-safe.

    A picture that several threads want at once is decoded once; the others wait for it.

    Args:
        policy: of every picture in the cache.
        max_bytes: what the finished pictures may hold together (4 bytes per pixel, as Pillow holds them).
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

    def large_view(
        self, path: Path, key: str, box: Mapping[str, int], width: int, height: int
    ) -> Image.Image | None:
        """The view of a picture that is too large to be held, as `load_view` gives it; None of all others.

        Even where the picture is held, so that the view is the same whatever was loaded before.

        Raises:
            RowError: as `load_rgb`.
        """
        if self.policy.filter != "lanczos":
            return None
        edges = Box(box["left"], box["top"], box["right"], box["bottom"])
        return self.stamps.guarded(
            path, lambda: load_view(path, self.policy, edges, width, height, frame_of(key))
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
    return image.width * image.height * 4
