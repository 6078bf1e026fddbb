"""The order of tags in a caption: what matters most stands first, for a full budget cuts off the end."""

from __future__ import annotations

import re
from typing import Final

from dataprep.tags.kinds import Kind

_COUNT: Final = re.compile(r"^(\d+\+?|multiple )(girl|boy|other)s?$")
GROUPS: Final = 4  # people counts, other tags about people, names, the rest


def group(tag: str, kind: Kind) -> int:
    """Where a tag stands, 0 first; within a group the highest score comes first.

    `1girl` comes before `solo`, then names of characters, then everything else.

    Args:
        tag: final spelling.
        kind: what it is about.
    """
    if kind == "people":
        return 0 if _COUNT.match(tag) else 1
    return 2 if kind == "name" else 3
