"""A difference between what sd-scripts will see and what was planned: its text, and the finding it is."""

from __future__ import annotations

from typing import Final, Self

STOPS: Final = "training-stops"
LATENTS: Final = "latents-stale"
TEXTS: Final = "texts-stale"
OPTIONS: Final = "data-set-options"
OTHERWISE: Final = "trained-otherwise"
CODES: Final = frozenset({STOPS, LATENTS, TEXTS, OPTIONS, OTHERWISE})


class Difference(str):
    """The text, for people; `code` is what `waive` takes."""

    __slots__ = ("code",)
    code: str

    def __new__(cls, text: str, code: str = OTHERWISE) -> Self:
        """Give a text its code."""
        made = super().__new__(cls, text)
        made.code = code
        return made
