"""From decisions to captions: what stands first, what people added, removed and ordered, the final text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from dataprep.curate.captions import SEPARATOR, spelled, tag_key
from dataprep.curate.decisions import ANY
from dataprep.curate.merge import arranged
from dataprep.tags.aliases import canonical

Tag = dict[str, Any]  # a manifest.TAG
KEPT, ABSORBED, PRUNED = "kept", "absorbed", "pruned"
ADDED, REMOVED = "added_by_hand", "removed_by_hand"
IN_CAPTION: Final = frozenset({KEPT, ADDED})
_ENDS: Final = (",", ".", "!", "?", ";", ":", "…", "。", "！", "？", "、", "，")


# A prompt's brackets and weight, or quotes, with nothing in them.
_HOLLOW: Final = re.compile(r"""\(\s*(?::\s*[\d.]*\s*)?\)|\[\s*(?::\s*[\d.]*\s*)?\]|\{\s*\}|""|''|“”|‘’""")
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


def with_hand(tags: Sequence[Tag], hand: Hand, spellings: Mapping[str, str] | None = None) -> list[Tag]:
    """The machine's tags after people's decisions, which outrank every rule.

    Args:
        tags: of one picture, with fates, in caption order.
        hand: what people decided.
        spellings: key of a tag -> as the machine writes it anywhere in this set: `long_hair` by hand is one
            tag with its `long hair`. What it does not know stays as typed.
    """
    removed = {tag_key(tag) for tag in hand.removed}
    by_key = {tag_key(tag["tag"]): dict(tag) for tag in tags}
    for tags_by_hand, source, rule in (
        (hand.raw, "raw", "added by hand: in the caption beside the raw picture"),
        (hand.added, "hand", "added by hand"),
    ):
        for tag in tags_by_hand:
            key = tag_key(tag)
            place = _place(by_key, key)
            old = by_key.get(place, {})
            by_key[place] = {
                "tag": _written(tag, old.get("tag"), spellings or {}),
                "score": old.get("score"),
                "source": source,
                "category": old.get("category") or "general",
                "fate": ADDED,
                "rule": _said(rule, key, old.get("tag"), hand.written),
                "frequency": old.get("frequency"),
                "bound": old.get("bound"),
            }
    for key in removed:
        for said in (by_key.get(place) for place in (key, tag_key(canonical(key)))):
            # `blond hair` written for `blonde hair` took the place of the one that was removed.
            if said is not None and (said["fate"] != ADDED or tag_key(said["tag"]) == key):
                said.update(fate=REMOVED, rule="removed by hand")
    if ANY in removed:
        for said in by_key.values():
            if said["fate"] == KEPT:
                said.update(
                    fate=REMOVED, rule=f"removed by hand: the caption was emptied ({ANY!r} undoes it)"
                )
    return _ordered(list(by_key.values()), hand.order)


def _place(by_key: Mapping[str, Tag], key: str) -> str:
    """Which of the tags a hand's tag stands for: itself, or the machine's of which it is another name."""
    known = tag_key(canonical(key))
    if known not in by_key or known == key:
        other = by_key.get(key)
        taken = other is not None and other["fate"] == ADDED and tag_key(other["tag"]) != key
        return f"{key} by its own name" if taken else key
    return known if key not in by_key and by_key[known]["fate"] != ADDED else key


def _written(tag: str, machine: str | None, spellings: Mapping[str, str]) -> str:
    """A hand's tag as it stands in the caption: as typed, or in the machine's spelling of the very same."""
    if machine is not None and tag_key(machine) == tag_key(tag):
        return machine
    return spellings.get(tag_key(tag) if "_" in tag else "") or spelled(tag)


def _said(rule: str, key: str, machine: str | None, written: Mapping[str, str]) -> str:
    if key in written:
        return f"{rule}, as {written[key]!r}: {_ONCE}"
    return rule if machine is None or tag_key(machine) == key else f"{rule}; the tagger calls it {machine!r}"


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
    return bare if class_word else _tidied(bare)


def _tidied(text: str) -> str:
    """A text without what is left around a word that was taken out: `(:1.2)`, `""`, a hyphen, spaces."""
    before = None
    while before != text:
        before, text = text, _HOLLOW.sub("", text)
    text = re.sub(r"([(\[{])\s+", r"\1", re.sub(r"\s+([,.;:!?])", r"\1", text))
    return re.sub(r"[ _]{2,}", " ", text).strip(" _").removeprefix("-")


@lru_cache(maxsize=64)
def _spoken(trigger: str) -> re.Pattern[str]:
    """The trigger word in a text, as whole words; `_` parts words as a space does."""
    words = r"[\s_]+".join(re.escape(word) for word in trigger.replace("_", " ").split())
    return re.compile(rf"(?<![^\W_]){words}(?![^\W_])", re.IGNORECASE)
