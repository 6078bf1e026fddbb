"""Tags that cannot both be true of one person or one picture: hair colours, smile and frown, day, night."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

from dataprep.curate.captions import tag_key

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


# Words of one line exclude each other; those joined by | go together.
_EXCLUSIVE: Final = """
smile | grin | :d | light smile | happy, frown | pout | sad | angry | scowl, expressionless
open mouth | :d | :o | parted lips, closed mouth
closed eyes, one eye closed | wink | ;d | ;), half-closed eyes, wide-eyed
looking at viewer | eye contact, looking to the side | looking away | looking afar, looking down, looking up
portrait | close-up | face, upper body, cowboy shot, full body | wide shot | very wide shot, lower body
from behind, from front | straight-on, from side | profile
from above, from below
standing, sitting, lying, kneeling, squatting, all fours, jumping
arms up, arms at sides, arms behind back, crossed arms, arms behind head
indoors, outdoors, simple background
day, night, sunset | dusk | twilight
white background, black background, blue background, pink background, yellow background, red background,
    green background, grey background, purple background, brown background, orange background,
    gradient background, transparent background
monochrome | greyscale, colorful
solo, 2girls | 3girls | 4girls | multiple girls | 2boys | 3boys | multiple boys
"""


def _places(text: str) -> dict[str, dict[int, int]]:
    """Of each tag, in which lines it stands and at which place of each."""
    places: dict[str, dict[int, int]] = {}
    for number, line in enumerate(text.strip().replace(",\n", ",").split("\n")):
        for place, together in enumerate(line.split(",")):
            for tag in together.split("|"):
                places.setdefault(tag.strip(), {})[number] = place
    return places


_PLACES: Final = _places(_EXCLUSIVE)


def contradicts(tag: str, others: Iterable[str]) -> bool:
    """Whether a tag cannot be true where these are, all of them of one picture of one person."""
    keys = {tag_key(other) for other in others}
    key = tag_key(tag)
    return key not in keys and any(_exclude(key, other, keys) for other in keys)


def _exclude(one: str, other: str, seen: set[str]) -> bool:
    sorts = rivalry(one), rivalry(other)
    if None not in sorts and sorts[0] == sorts[1]:
        return not (seen | {one}) & SEVERAL_COLOURS
    if "eye colour" in sorts and "closed eyes" in (one, other):
        return True
    places, others = _PLACES.get(one, {}), _PLACES.get(other, {})
    return any(others.get(line, place) != place for line, place in places.items())
