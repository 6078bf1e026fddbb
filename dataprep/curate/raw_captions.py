"""Captions that came with raw pictures, as decisions that precede all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from dataprep.curate.captions import decode, is_prose, tags_of
from dataprep.curate.decisions import Hand, Image
from dataprep.tags.kinds import known_tags

RawCaptions = Literal["merge", "keep", "ignore"]


def raw_hands(rows: Iterable[Mapping[str, Any]], captions: RawCaptions) -> dict[Image, Hand]:
    """Captions that came with the raw pictures, as decisions that precede all others.

    Args:
        rows: with sha256, view and raw_caption.
        captions: merge: tags count as added by hand, sentences as the whole caption; keep: the text is the
            whole caption; ignore: nothing.
    """
    hands: dict[Image, Hand] = {}
    for row in rows:
        text = decode((row["raw_caption"] or "").encode("utf-8", "surrogatepass")).text
        if not text or captions == "ignore":
            continue
        hand = hands.setdefault((row["sha256"], row["view"] or ""), Hand())
        if captions == "keep" or is_prose(text, known_tags(text)):
            hand.caption = hand.caption or text
        else:
            hand.apply({"added": tags_of(text)})
    return hands
