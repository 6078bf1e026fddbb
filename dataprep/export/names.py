"""File names that are safe on Windows, macOS and Linux, and unique after case folding."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

_MAX_CHARS = 80
# Of 255 that file systems take: the rest is for a piece of the id (33), a cache suffix (20) and a temporary
# name's ends (14). 80 letters of some scripts have 240 bytes, 80 emoji 320.
_MAX_BYTES = 180
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"^(con|conin\$|conout\$|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$", re.IGNORECASE)


def safe_name(text: str, *, ascii_only: bool = False) -> str:
    """A file or folder name (without suffix) from any text; never empty.

    Args:
        text: wanted name.
        ascii_only: replace what has no ASCII form by "_".
    """
    text = unicodedata.normalize("NFC", text)
    # Lone surrogates stand for file name bytes that are not UTF-8; no other system could hold them.
    text = "".join("_" if unicodedata.category(char) in ("Cs", "Cc", "Cf") else char for char in text)
    if ascii_only:
        plain = unicodedata.normalize("NFKD", text)
        plain = "".join(char for char in plain if not unicodedata.combining(char))
        text = re.sub(r"[^\x20-\x7e]", "_", plain)
    text = _FORBIDDEN.sub("_", text)[:_MAX_CHARS]
    text = text.encode()[:_MAX_BYTES].decode("utf-8", "ignore").strip(" .")
    if _RESERVED.match(text):
        text = f"_{text}"
    return text or "_"


def fold(name: str) -> str:
    """What two names must not share on a file system that ignores case and Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def unique_names(
    stems: Sequence[str], ids: Sequence[str], *, ascii_only: bool = False, endings: Sequence[str | None] = ()
) -> list[str]:
    """Safe names, one for each stem; stems that would collide all get a piece of their id.

    A name depends on nothing but the stem, the id and whether the stem collides, so that adding or removing
    other pictures renames only those that come to collide, or no longer do.

    Args:
        stems: wanted names.
        ids: one unique hex id for each.
        ascii_only: see safe_name.
        endings: what the name of each one's cache has after its own, such as "_1024x1024_sdxl.npz"; None: it
            has none. A trainer that looks for a cache by its beginning would take another one's for such a
            name: it gets a piece of its id too. Beside its own only an earlier one's is taken: "girl_1" has
            to differ from "girl", whose cache begins with it, while "1" beside "10" may stay.
    """
    names = [safe_name(stem, ascii_only=ascii_only) for stem in stems]
    unique = None
    for digits in (6, 12, 32):
        marks = [f"{name}-{key[:digits]}" for name, key in zip(names, ids, strict=True)]
        told = _told_apart(names, marks, endings)
        if len({fold(name) for name in told}) == len(told):
            if not _taking(told, endings):
                return told
            unique = told  # names made to begin with a piece of another one's id
    if unique is None:
        raise ValueError("ids are not unique")
    return unique


def _told_apart(names: Sequence[str], marks: Sequence[str], endings: Sequence[str | None]) -> list[str]:
    counts = Counter(fold(name) for name in names)
    told = [name if counts[fold(name)] == 1 else mark for name, mark in zip(names, marks, strict=True)]
    # Each round marks another one: this comes to an end.
    while plain := [i for i in _taking(told, endings) if told[i] != marks[i]]:
        for i in plain:
            told[i] = marks[i]
    return told


def _taking(names: Sequence[str], endings: Sequence[str | None]) -> list[int]:
    """Positions of the names for which another one's cache would be taken."""
    if not endings:
        return []
    caches = {name: name + end for name, end in zip(names, endings, strict=True) if end is not None}
    in_order = sorted(caches.values())
    found = []
    for i, name in enumerate(names):
        if endings[i] is None:
            first = bisect_left(in_order, name)
            takes = first < len(in_order) and in_order[first].startswith(name)
        else:
            cuts = (at for at, letter in enumerate(name) if letter == "_")
            takes = any(caches.get(name[:at], "").startswith(name) for at in cuts)
        if takes:
            found.append(i)
    return found
