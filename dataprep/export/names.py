"""File names that are safe on Windows, macOS and Linux, and unique after case folding."""

from __future__ import annotations

import re
import unicodedata
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


def unique_names(stems: Sequence[str], ids: Sequence[str], *, ascii_only: bool = False) -> list[str]:
    """Safe names, one for each stem; stems that would collide all get a piece of their id.

    A name depends on nothing but the stem, the id and whether the stem collides, so that adding or removing
    other pictures renames nothing else.

    Args:
        stems: wanted names.
        ids: one unique hex id for each.
        ascii_only: see safe_name.
    """
    names = [safe_name(stem, ascii_only=ascii_only) for stem in stems]
    digits = 6
    for digits in (6, 12, 32):
        counts = Counter(fold(name) for name in names)
        marked = [
            name if counts[fold(name)] == 1 else f"{name}-{key[:digits]}"
            for name, key in zip(names, ids, strict=True)
        ]
        if len({fold(name) for name in marked}) == len(marked):
            return marked
    raise ValueError("ids are not unique")
