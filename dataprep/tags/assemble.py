"""From decisions to captions: what stands first, what people added, removed and ordered, the final text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from dataprep.captions import SEPARATOR, spelled, tag_key
from dataprep.decisions import ANY
from dataprep.merge import arranged

Tag = dict[str, Any]  # a manifest.TAG
KEPT, ABSORBED, PRUNED = "kept", "absorbed", "pruned"
ADDED, REMOVED = "added_by_hand", "removed_by_hand"
IN_CAPTION: Final = frozenset({KEPT, ADDED})
_ENDS: Final = (",", ".", "!", "?", ";", ":", "…", "。", "！", "？", "、", "，")


_ONCE: Final = "the trigger word stands once, in front"


@dataclass(frozen=True)
class Hand:
    """What people decided about one picture's caption."""

    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    order: Sequence[str] | None = None
    caption: str | None = None
    raw: Sequence[str] = ()  # tags of the caption beside the raw picture
    written: Mapping[str, str] = field(
        default_factory=dict
    )  # key of a tag -> as written, with the trigger in it


def lead(trigger: str | None, class_word: str | None) -> str:
    """What stands before the tags: the trigger word, then the class word; "" if there is neither."""
    return " ".join(word for word in (trigger, class_word) if word)


def caption_text(first: str, tags: Iterable[str]) -> str:
    """The caption: what stands first, then the tags."""
    return SEPARATOR.join([first, *tags] if first else tags)


@lru_cache(maxsize=2**16)
def says(tag: str, word: str) -> bool:
    """Whether a tag has a word (or several) in it, as whole words."""
    return re.search(rf"(?<!\w){re.escape(tag_key(word))}(?!\w)", tag_key(tag)) is not None


def with_hand(tags: Sequence[Tag], hand: Hand) -> list[Tag]:
    """The machine's tags after people's decisions, which outrank every rule.

    Args:
        tags: of one picture, with fates, in caption order.
        hand: what people decided.
    """
    removed = {tag_key(tag) for tag in hand.removed}
    by_key = {tag_key(tag["tag"]): dict(tag) for tag in tags}
    for tags_by_hand, source, rule in (
        (hand.raw, "raw", "added by hand: in the caption beside the raw picture"),
        (hand.added, "hand", "added by hand"),
    ):
        for tag in tags_by_hand:
            key = tag_key(tag)
            old = by_key.get(key, {})
            by_key[key] = {
                "tag": old.get("tag") or spelled(tag),
                "score": old.get("score"),
                "source": source,
                "category": old.get("category") or "general",
                "fate": ADDED,
                "rule": f"{rule}, as {hand.written[key]!r}: {_ONCE}" if key in hand.written else rule,
                "frequency": old.get("frequency"),
                "bound": old.get("bound"),
            }
    for key in removed:
        if key in by_key:
            by_key[key].update(fate=REMOVED, rule="removed by hand")
    if ANY in removed:
        for said in by_key.values():
            if said["fate"] == KEPT:
                said.update(
                    fate=REMOVED, rule=f"removed by hand: the caption was emptied ({ANY!r} undoes it)"
                )
    return _ordered(list(by_key.values()), hand.order)


def _ordered(tags: list[Tag], order: Sequence[str] | None) -> list[Tag]:
    if order is None:
        return tags
    by_key = {tag_key(tag["tag"]): tag for tag in tags}
    return [by_key[tag_key(name)] for name in arranged([tag["tag"] for tag in tags], order)]


def hand_caption(text: str, trigger: str | None, class_word: str | None) -> str:
    """A caption written by hand: as it is, but with the trigger word exactly once, at its beginning.

    Further on in the text the class word takes the trigger word's place: `A photo of sks.` becomes
    `sks, A photo of girl.`.
    """
    if trigger is None:
        return text
    start = _spoken(trigger).match(text.lstrip())
    if start is not None:
        rest = text.lstrip()[start.end() :]
        return start[0] + without_trigger(rest, trigger, class_word)
    bare = without_trigger(text, trigger, class_word)
    first = trigger if class_word and says(bare, class_word) else lead(trigger, class_word)
    return caption_text(first, [bare] if bare else [])


def one_line(text: str) -> str:
    """A text's lines in one, parted by a comma where nothing else ends one: trainers read the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ended = [line if line.endswith(_ENDS) else f"{line}," for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])


def without_trigger(text: str, trigger: str, class_word: str | None) -> str:
    """A text in which the class word, or nothing, stands where the trigger word stood; else untouched."""
    both = rf"(?:[\s_]+{re.escape(class_word)}(?![^\W_]))?" if class_word else ""
    pattern = re.compile(_spoken(trigger).pattern + both, re.IGNORECASE)
    if not pattern.search(text):
        return text
    bare = pattern.sub(class_word or "", text)
    return bare if class_word else re.sub(r"[ _]{2,}", " ", re.sub(r"\s+([,.;:!?])", r"\1", bare)).strip(" _")


@lru_cache(maxsize=64)
def _spoken(trigger: str) -> re.Pattern[str]:
    """The trigger word in a text, as whole words; `_` parts words as a space does."""
    words = r"[\s_]+".join(re.escape(word) for word in trigger.replace("_", " ").split())
    return re.compile(rf"(?<![^\W_]){words}(?![^\W_])", re.IGNORECASE)
