"""The trigger word: is it rare enough to be free, short enough to be learned, and read as written?"""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path
from typing import Final

from dataprep.curate.captions import tag_key
from dataprep.tags.tokens import Tokenizer, tokenizer, words, written_words

# A whole-word token that CLIP learned earlier than this means something to every model: `hugging` is
# 26,546th, `miku` 37,191st, `sks` 47,624th, `ohwx` 47,481st of 48,894.
ORDINARY_BELOW_RANK: Final = 40_000
MOST_TOKENS: Final = 3
_TELLING: Final = 4  # letters; of three, every second combination is written somewhere
_WORD_LISTS: Final = tuple(Path("/usr/share/dict", name) for name in ("words", "american-english"))
# Whole-word tokens past that rank that are no word, name or common abbreviation; a test measures them.
RARE_WORDS: Final = (
    "sks",
    "ohwx",
    "nlwx",
    "nmwx",
    "kprs",
    "scwx",
    "mwf",
    "ncbd",
    "pkk",
    "snhl",
    "cwgc",
    "swfl",
)


def trigger_report(
    trigger: str, known: Tokenizer | None = None, vocabulary: Collection[str] = ()
) -> list[str]:
    """What is unwise about a trigger word, each with the reason; empty if nothing is.

    Args:
        trigger: the word, or words.
        known: CLIP's tokenizer; loaded if it isn't given.
        vocabulary: the tagger's tags, any spelling.
    """
    clip = known or tokenizer()
    found = [*_form(trigger), *_rarity(trigger, clip), *_clash(trigger, vocabulary)]
    if found:
        free = ", ".join(free_words(clip, vocabulary, without=trigger))
        found.append(f"free and rare, one token each: {free}")
    return found


def trigger_facts(trigger: str, known: Tokenizer | None = None) -> str:
    """How rare CLIP's tokenizer finds a trigger word: its tokens and the merge rank of each."""
    clip = known or tokenizer()
    pieces = [piece for word in words(trigger) for piece in clip.pieces(word)]
    parts = ", ".join(f"{piece.removesuffix('</w>')} {clip.rank(piece):,}" for piece in pieces)
    count = "1 token" if len(pieces) == 1 else f"{len(pieces)} tokens"
    return f"trigger {trigger!r}: {count}; merge rank in CLIP's {len(clip.ranks):,} (late is rare): {parts}"


def held_against() -> str:
    """Which words a trigger word is compared with."""
    own = f"the {len(dictionary()):,} of this system's dictionary"
    return (
        f"CLIP's tokens, {len(written_words()):,} more words of the text they were made from, and "
        f"{own if dictionary() else 'no dictionary: this system has none'}"
    )


@functools.cache
def dictionary() -> frozenset[str]:
    """The words of this system's own word list, lower case; empty where it has none."""
    for path in _WORD_LISTS:
        if path.is_file():
            return frozenset(path.read_text(encoding="utf-8", errors="replace").lower().split())
    return frozenset()


def free_words(
    known: Tokenizer, vocabulary: Collection[str] = (), *, without: str = "", count: int = 3
) -> list[str]:
    """Rare words of one token that no tag uses.

    Args:
        known: CLIP's tokenizer.
        vocabulary: the tagger's tags, any spelling.
        without: a word not to suggest.
        count: how many.
    """
    taken = {word for tag in vocabulary for word in tag_key(tag).split()} | {without.lower()}
    return [word for word in RARE_WORDS if word not in taken and len(known.pieces(word)) == 1][:count]


def _form(trigger: str) -> list[str]:
    found = []
    if any(sign in trigger for sign in "()[]{}|:\\"):
        found.append(f"trigger {trigger!r} has a sign that trainers and prompts read as a command")
    if trigger != trigger.lower():
        found.append(f"trigger {trigger!r}: CLIP reads lower case, so it is the same as {trigger.lower()!r}")
    if len(trigger.strip()) == 1:
        found.append(f"trigger {trigger!r} is a single letter: CLIP knows it from everywhere")
    if len(trigger.split()) > 1:
        found.append(f"trigger {trigger!r} is several words; the class word has its own setting")
    return found


def _rarity(trigger: str, clip: Tokenizer) -> list[str]:
    found = []
    pieces = [piece for word in words(trigger) for piece in clip.pieces(word)]
    if len(pieces) > MOST_TOKENS:
        parts = " + ".join(piece.removesuffix("</w>") for piece in pieces)
        found.append(
            f"trigger {trigger!r} is {len(pieces)} tokens ({parts}): each must be learned, and each means "
            "something of its own already"
        )
    for word in words(trigger):
        tokens = clip.pieces(word)
        if len(tokens) == 1 and len(word) > 1 and clip.rank(tokens[0]) < ORDINARY_BELOW_RANK:
            found.append(
                f"trigger word {word!r} is an ordinary word: CLIP's token no. {clip.rank(tokens[0]):,} of "
                f"{len(clip.ranks):,} by rank (rare from {ORDINARY_BELOW_RANK:,}); what models know by it "
                "would mix with your subject. Keep it only to strengthen what it already means"
            )
        elif word in dictionary():
            found.append(
                f"trigger word {word!r} is in the dictionary: what it means would mix with your subject"
            )
        elif len(tokens) > 1 and all(_is_word(token, clip) for token in tokens):
            parts = " + ".join(token.removesuffix("</w>") for token in tokens)
            found.append(
                f"trigger word {word!r} is made of words that models know: {parts}; what they mean would mix "
                "with your subject"
            )
        elif len(word) >= _TELLING and word in written_words():
            found.append(
                f"trigger word {word!r} is a word or name that people write: no. {written_words()[word]:,} "
                "by frequency in the text that CLIP's tokens were made from; what it means would mix with "
                "your subject"
            )
    return found


def _is_word(token: str, clip: Tokenizer) -> bool:
    """Whether a token is, by itself, a word of three letters or more that CLIP learned early."""
    alone = token.removesuffix("</w>") + "</w>"
    return len(alone) >= len("abc</w>") and alone in clip.ids and clip.rank(alone) < ORDINARY_BELOW_RANK


def _clash(trigger: str, vocabulary: Collection[str]) -> list[str]:
    key = tag_key(trigger)
    same = [tag for tag in vocabulary if tag_key(tag) == key]
    if same:
        return [
            f"trigger {trigger!r} is one of the tagger's tags: it would stand in captions with that meaning"
        ]
    inside = [tag for tag in vocabulary if key in tag_key(tag).split(" ")]
    if inside:
        some = ", ".join(inside[:3])
        return [f"trigger {trigger!r} is a word of the tagger's tags ({some}): such tags are left out"]
    return []
