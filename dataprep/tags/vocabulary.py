"""Spelling and categories of tags. Final spelling is: spaces, kaomoji kept, no escapes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dataprep.curate.captions import KAOMOJI, tag_key

GENERAL, ARTIST, COPYRIGHT, CHARACTER, META, RATING = (
    "general",
    "artist",
    "copyright",
    "character",
    "meta",
    "rating",
)
# Danbooru's numbers, as they stand in selected_tags.csv; 9 is the taggers' own.
CATEGORIES: Final = {0: GENERAL, 1: ARTIST, 3: COPYRIGHT, 4: CHARACTER, 5: META, 9: RATING}


def label_spelling(name: str) -> str:
    """A model's label as it is written in captions: spaces for underscores, kaomoji untouched.

    Brackets stay as they are: `saber_(fate)` is `saber (fate)`; escapes are added at export only.
    """
    return name if name in KAOMOJI else name.replace("_", " ").strip() or name


def escaped(tag: str) -> str:
    """A tag with its brackets escaped, for programs that read brackets as weights."""
    return tag.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def keys(tags: Iterable[str]) -> frozenset[str]:
    """What makes the tags equal to other spellings of them, as a set."""
    return frozenset(tag_key(tag) for tag in tags)
