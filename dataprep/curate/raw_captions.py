"""Captions that came with raw pictures, as decisions that precede all others: edits by hand outrank them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from dataprep.curate.captions import SEPARATOR, decode, is_prose, tag_key, tags_of
from dataprep.curate.decisions import ANY, Event, Hand, Image
from dataprep.curate.merge import merged
from dataprep.tags.assemble import says
from dataprep.tags.kinds import known_tags

RawCaptions = Literal["merge", "keep", "ignore"]
_ENDS = " .,;、。"


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


def whole_caption(text: str, hand: Hand, raw: Hand, history: Mapping[int, Event]) -> str:
    """A whole caption and the tags that people decided, but for those in view of which they wrote it.

    Args:
        text: the caption, without the trigger word.
        hand: all decisions on the picture.
        raw: what came with it.
        history: the decisions, with their places in the journal, those from 0 on made by hand.
    """
    since = {key: tag for key, tag in hand.added.items() if key not in raw.added}
    written = max(
        (number for number, event in history.items() if number >= 0 and event.get("caption")), default=None
    )
    if written is None:
        return with_edits(text, since.values(), hand.removed.values(), hand.order)
    before, after = set[str](), set[str]()
    for number, event in history.items():
        (before if number < written else after).update(map(tag_key, event.get("added") or ()))
    seen = set(map(tag_key, tags_of(history[written]["old"]))) if "old" in history[written] else before
    return with_edits(text, [tag for key, tag in since.items() if key in after or key not in seen])


def with_edits(
    text: str, added: Iterable[str], removed: Iterable[str] = (), order: Sequence[str] | None = None
) -> str:
    """A whole caption that nobody wrote with these edits in mind, and the edits.

    Of tags it is the tags, edited. A sentence stays as it is, with the tags behind it that it does not say.

    Args:
        text: the caption, without the trigger word.
        added: tags that a person added to that picture's caption.
        removed: tags that a person took out of it.
        order: all tags as a person arranged them.
    """
    added, removed = list(added), list(removed)
    if is_prose(text, known_tags(text)):
        lacks = [tag for tag in added if not says(text, tag)]
        return SEPARATOR.join([text.rstrip(_ENDS), *lacks]) if lacks else text
    tags = tags_of(text)
    left = () if ANY in removed else tags
    edited = merged(left, added, removed, order)
    return text if list(map(tag_key, edited)) == list(map(tag_key, tags)) else SEPARATOR.join(edited)
