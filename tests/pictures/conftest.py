from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import ImageCms

_CURVES = {b"rTRC", b"gTRC", b"bTRC"}


@pytest.fixture
def linear_profile() -> Callable[[str], bytes]:
    """An ICC profile of linear light, of colour space "RGB " or "GRAY": sRGB with other curves."""

    def made(space: str) -> bytes:
        data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        data[16:20] = space.encode()
        for at in range(132, 132 + 12 * int.from_bytes(data[128:132]), 12):
            if bytes(data[at : at + 4]) in _CURVES:
                where = int.from_bytes(data[at + 4 : at + 8])
                data[where : where + 12] = b"curv".ljust(12, b"\0")
                if space == "GRAY":
                    data[at] = ord("k") if data[at] == ord("r") else data[at]
        return bytes(data)

    return made
