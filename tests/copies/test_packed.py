import numpy as np
from PIL import Image

from dataprep.copies.packed import PackedGrids, as_text


class Corners(PackedGrids):
    """The first four pixels."""

    SIZE = 4

    def grid(self, i: int) -> list[int]:
        """Of one known picture."""
        found: list[int] = self._packed[self._place[i]].tolist()
        return found


def _first(light: Image.Image) -> bytes:
    return light.tobytes()[: Corners.SIZE]


def _picture(level: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4), level, np.uint8))


def test_each_picture_has_its_own_grid_whatever_was_not_measured_before_it() -> None:
    plain = _picture(7)
    framed = as_text(_first, _picture(1), _picture(2))
    texts = [None, as_text(_first, plain, plain), "", framed]
    whole, inner = Corners(texts), Corners(texts, trimmed=True)
    assert whole.known.tolist() == [False, True, False, True]
    assert (whole.grid(1), whole.grid(3)) == ([7] * 4, [1] * 4)
    assert (inner.grid(1), inner.grid(3)) == ([7] * 4, [2] * 4)  # without borders the picture is its own
