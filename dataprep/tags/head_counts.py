"""How many girls, boys and others tags speak of, as ranges, and which second opinion on it cannot be true."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dataprep.curate.captions import tag_key
from dataprep.tags.columns import Entries

_COUNT: Final = re.compile(r"(\d+)(\+?)(girl|boy|other)s?|multiple (girl|boy|other)s")
_KINDS: Final = ("girl", "boy", "other", "all")
_OF_ALL: Final[Mapping[str, tuple[float, float]]] = {
    "solo": (1, 1),
    "solo focus": (2, math.inf),
    "no humans": (0, 0),
}


@lru_cache(maxsize=2**16)
def head_count(tag: str) -> tuple[str, float, float] | None:
    """Whom a tag counts (girl, boy, other, all), the least and the most of them; None if it counts nobody."""
    key = tag_key(tag)
    if key in _OF_ALL:
        return ("all", *_OF_ALL[key])
    found = _COUNT.fullmatch(key)
    if found is None:
        return None
    number, more, kind, several = found.groups()
    if several:
        return (several, 2, math.inf)
    return (kind, int(number), math.inf if more else int(number))


def can_hold(tags: Iterable[str]) -> bool:
    """Whether a picture can be as all these tags count: `1girl, 1boy` can, `1girl, solo, 1boy` cannot."""
    least, most = dict.fromkeys(_KINDS, 0.0), dict.fromkeys(_KINDS, math.inf)
    for count in filter(None, map(head_count, tags)):
        kind, low, high = count
        least[kind], most[kind] = max(least[kind], low), min(most[kind], high)
    kinds = _KINDS[:-1]
    fewest, greatest = sum(least[kind] for kind in kinds), sum(most[kind] for kind in kinds)
    whole = max(least["all"], fewest) <= min(most["all"], greatest)
    return whole and all(least[kind] <= most[kind] for kind in kinds)


def miscounted(
    found: Entries, above: NDArray[np.bool_], spared: NDArray[np.bool_]
) -> dict[int, tuple[str, ...]]:
    """CLIP's counts of people that cannot be true beside the tagger's, which looks for them closer.

    Args:
        found: all scores.
        above: which of them count, shape (entries,).
        spared: entries that stay whatever the tagger says, shape (entries,).
    Returns:
        Number of an entry -> the tagger's tags that it contradicts.
    """
    counting = np.array([head_count(tag) is not None for tag in found.tags], dtype=bool)
    counts = above & counting[found.tag] if len(counting) else above
    doubtful = np.flatnonzero(counts & found.clip & ~spared).tolist()
    rows = set(found.row[doubtful].tolist())
    told: dict[int, list[str]] = {}
    for entry in np.flatnonzero(counts & ~found.clip & np.isin(found.row, list(rows))).tolist():
        told.setdefault(int(found.row[entry]), []).append(found.tags[found.tag[entry]])
    wrong = {}
    for entry in doubtful:
        by_tagger = told.get(int(found.row[entry]), [])
        if can_hold(by_tagger) and not can_hold([*by_tagger, found.tags[found.tag[entry]]]):
            wrong[entry] = tuple(by_tagger)
    return wrong
