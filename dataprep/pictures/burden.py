"""What decoding a picture takes of the memory, and the room that all threads share for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from PIL import Image, _imaging

from dataprep.pictures.formats import keeps_scans

# Bytes a pixel with Pillow 13: what the decoder holds of its own, the bytes that it hands over, the picture.
_PER_PIXEL: Final = {"WEBP": 16.0, "JPEG2000": 20.0, "AVIF": 13.0, "HEIF": 12.0, "JXL": 16.0}
_AVIF_ALPHA = 16.0
# The picture so far, the frame, what is put behind it; of PNG the frame in two forms, and both put together.
_LATER_FRAME: Final = {"GIF": 12.0, "PNG": 24.0}
PLAIN: Final = 6.4  # so that the largest picture that is decoded by default, 150 million px, takes 1 GB
LARGE_PX: Final = 64_000_000  # pictures beyond are never held whole in a second form
_SMALL_PX = 2_000_000  # pictures up to this never wait for others
_HEAP_PX = 32_000_000  # pictures up to this may stay in the heap
_BLOCK_BYTES = 48 << 20
_ROOM_BYTES = 960_000_000


def per_pixel(image: Image.Image, stream: IO[bytes]) -> float:
    """Bytes that decoding takes for each pixel, at most.

    Args:
        image: with the header of its frame read.
        stream: its file; the position is kept.
    """
    if image.format in _PER_PIXEL:
        deep = image.format == "AVIF" and image.mode != "RGB"
        return _AVIF_ALPHA if deep else _PER_PIXEL[image.format]
    if image.format in _LATER_FRAME and image.tell():
        return _LATER_FRAME[image.format]
    held = _held(image.mode)
    if image.format in {"JPEG", "MPO"}:
        return held + (_coefficients(image) if keeps_scans(image, stream) else 0.0)
    return held + (_strip(image) if image.format == "TIFF" else 0.0)


def decoding_bytes(image: Image.Image, stream: IO[bytes]) -> int:
    """Bytes that decoding takes, at most, arguments as of `per_pixel`."""
    return round(image.width * image.height * per_pixel(image, stream))


def loading_bytes(image: Image.Image, stream: IO[bytes], drafted: float, *, whole: bool) -> int:
    """Bytes that decoding takes, with the second form of a picture that is made whole of it.

    Args:
        image: with its header read, and a reduced decode of JPEG asked for.
        stream: its file; the position is kept.
        drafted: by how much that decode makes the sides smaller, at least 1.
        whole: whether the picture is made as large as it is, not smaller.
    """
    held = drafted if "progressive" in image.info else 1.0
    area = image.width * image.height * held * held
    return 0 if area <= _SMALL_PX else round(area * (per_pixel(image, stream) + 4.0 * whole))


def burden(image: Image.Image, stream: IO[bytes]) -> float:
    """How many times the memory of a plain picture of its size decoding takes, at least 1."""
    return max(1.0, per_pixel(image, stream) / PLAIN)


def _held(mode: str) -> float:
    """Bytes a pixel of a picture in this mode."""
    return 1.0 if mode in {"1", "L", "P"} else 2.0 if mode.startswith("I;16") else 4.0


def _coefficients(image: Image.Image) -> float:
    """Bytes a pixel of a JPEG that is decoded only when all of its scans are read: 2 a sample."""
    layers = getattr(image, "layer", [])
    widest, tallest = (max((layer[side] for layer in layers), default=1) for side in (1, 2))
    return float(sum(2 * layer[1] * layer[2] for layer in layers) / max(1, widest * tallest))


def _strip(image: Image.Image) -> float:
    """Bytes a pixel of the strips that a TIFF is unpacked in: one, or all of the picture at worst."""
    tags = getattr(image, "tag_v2", {})
    rows = tags.get(278)  # RowsPerStrip
    if 322 in tags:  # tiles
        return 0.0
    bits = tags.get(258, (1,))
    share = min(1.0, rows / image.height) if isinstance(rows, int) else 1.0
    return share * (sum(bits) if isinstance(bits, tuple) else 8) / 8


def give_back_afterwards(size: tuple[int, int]) -> None:
    """Have Pillow ask for memory in such blocks, once a picture is large, that the system gets them back.

    Of blocks below 32 MB, the default being 16, glibc keeps what is freed, in each thread's own heap: one
    picture of 576 MB, decoded by one thread and then by another, took 1.1 GB.

    Args:
        size: of the picture that is to be decoded, px.
    """
    if size[0] * size[1] > _HEAP_PX and _imaging.get_block_size() < _BLOCK_BYTES:
        _imaging.set_block_size(_BLOCK_BYTES)


class Room:
    """Memory for decoding. Who does not fit in waits for the others, in order; one alone always fits.

    Who needs none enters at once, past all who wait.

    Args:
        most_bytes: what those inside may take together.
    """

    def __init__(self, most_bytes: int = _ROOM_BYTES) -> None:
        self.most_bytes = most_bytes
        self._taken = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, need_bytes: int) -> Iterator[None]:
        """Hold so much of it, once it is there. Not to be asked for twice by one thread."""
        if need_bytes <= 0:
            yield
            return
        self._enter(need_bytes)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= need_bytes
                self._changed.notify_all()

    def _enter(self, need_bytes: int) -> None:
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._fits(need_bytes))
                self._taken += need_bytes
            finally:  # also where Ctrl-C ended the waiting
                self._waiting.remove(turn)
                self._changed.notify_all()

    def _fits(self, need_bytes: int) -> bool:
        return not self._taken or self._taken + need_bytes <= self.most_bytes


ROOM: Final = Room()  # of this process
