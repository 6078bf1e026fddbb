"""Tags that cannot both be true of one person: hair lengths, hair colours, eye colours."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

from dataprep.captions import tag_key

Rivalry = Literal["hair length", "hair colour", "eye colour"]

_LENGTHS: Final = frozenset({"very short", "short", "medium", "long", "very long", "absurdly long"})
_COLOURS: Final = frozenset(
    {
        *("black", "brown", "blonde", "red", "pink", "blue", "green", "purple", "white", "grey", "silver"),
        *(
            "orange",
            "aqua",
            "yellow",
            "light brown",
            "light blue",
            "dark blue",
            "dark green",
            "platinum blonde",
        ),
    }
)
# Where one of these is seen, two colours are both true.
SEVERAL_COLOURS: Final = frozenset(
    {
        *("multicolored hair", "two-tone hair", "gradient hair", "streaked hair", "colored inner hair"),
        *("split-color hair", "rainbow hair", "colored tips", "heterochromia"),
    }
)


@lru_cache(maxsize=2**16)
def rivalry(tag: str) -> Rivalry | None:
    """What a tag says that only one tag of its sort can say of a person, None if nothing."""
    start, _, last = tag_key(tag).rpartition(" ")
    if last == "hair":
        return "hair length" if start in _LENGTHS else "hair colour" if start in _COLOURS else None
    return "eye colour" if last == "eyes" and start in _COLOURS else None
