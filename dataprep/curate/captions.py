"""Caption files as people leave them, in any encoding and shape, read as tags or as prose. Owns equality.

Two captions are equal when their tags are, by `tag_key`: case, `_` or space, `\\(` or `(`, duplicates, line
ends, byte order marks and stray commas are spelling, not meaning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dataprep.curate.encodings import Text as Text
from dataprep.curate.encodings import decode as decode

SEPARATOR = ", "  # what is always written; kohya splits on the comma
_SPLIT = re.compile(r"[,，、\n]")
_SPACES = re.compile(r"\s+")
_ESCAPED = re.compile(r"\\([()\[\]])")
_SENTENCE_END = re.compile(r"(?:\w['\")\]]*[.!?…]+['\")\]]*|[。！？]+[」』]?)$")
_CJK_END = re.compile(r"[。！？]")
_LONG_PHRASE_WORDS = 6  # the longest tags in use have five or six words
_SHORT_PHRASE_WORDS = 4
_MOSTLY = 0.75  # share of short pieces from which a line with a full stop is a list of tags
# Words that sentences are made with and that hardly any tag has: `love live! sunshine!!` is a title.
_OF_SENTENCES = """
a an and are am be been but by can do does doing down for from had has have he her here hers him his how i in
into is it its just like me my of on or our out she some that the their them then there these they this those
to us very was we were what when where which while who whose will with you your
"""
_SENTENCE_WORDS = frozenset(_OF_SENTENCES.split())
# Of these one is enough: they need a verb, or are one.
_OF_SPEECH = """
am are has he her his how i is its me my our she their them there they this us was we were what which who
whose will you your
"""
_SPEAKING_WORDS = frozenset(_OF_SPEECH.split())
_ARTICLES = frozenset(("a", "an", "the"))
_QUALITY = re.compile(r"score_\d+(?:_up)?$", re.IGNORECASE)  # the words of Pony's training captions

# Underscores in these are drawings, not spaces: the list that the WD taggers' author publishes with them.
KAOMOJI = frozenset(
    "0_0 (o)_(o) +_+ +_- ._. <o>_<o> <|>_<|> =_= >_< 3_3 6_9 >_o @_@ ^_^ o_o u_u x_x |_| ||_||".split()  # noqa: SIM905
)


@lru_cache(maxsize=2**17)
def tag_key(tag: str) -> str:
    """What makes two spellings the same tag: lower case, spaces for underscores, brackets unescaped."""
    plain = _ESCAPED.sub(r"\1", unicodedata.normalize("NFC", tag)).casefold().replace("_", " ")
    return _SPACES.sub(" ", plain).strip() or tag.strip()


@lru_cache(maxsize=2**17)
def spelled(tag: str) -> str:
    """A hand-typed tag as it is written: as typed, underscores and all, but for white space and `\\(`."""
    return _SPACES.sub(" ", _ESCAPED.sub(r"\1", unicodedata.normalize("NFC", tag))).strip()


def spaced(tag: str) -> str:
    """A booru's tag as captions have it: spaces for underscores, but in drawings (`T_T`) and `score_9_up`."""
    plain = spelled(tag)
    if plain in KAOMOJI or _QUALITY.match(plain) or is_drawing(plain):
        return plain
    return _SPACES.sub(" ", plain.replace("_", " ")).strip() or plain


def is_drawing(tag: str) -> bool:
    """Whether the underscores of a tag are part of a face: no letters in it, or twice the same eye."""
    if "_" not in tag or " " in tag:
        return False
    left, _, right = tag.partition("_")
    return not any(map(str.isalnum, tag)) or (len(left) <= 2 and left.casefold() == right.casefold())


def unique(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags without empty ones and repetitions (by `tag_key`), first spelling kept."""
    first: dict[str, str] = {}
    for tag in tags:
        if tag.strip():
            first.setdefault(tag_key(tag), tag)
    return tuple(first.values())


def tags_of(text: str) -> tuple[str, ...]:
    """Tags of a caption's text: split at commas (also 、 and ，) and lines; booru tag strings at spaces.

    Underscores stay as they were typed, but in a tag string, where they are how a space is written.
    """
    parts = [part.strip() for part in _SPLIT.split(text)]
    parts = [part for part in parts if part]
    if len(parts) == 1 and _is_tag_string(parts[0]):
        return unique(spaced(part) for part in parts[0].split())
    return unique(spelled(part) for part in parts)


def _is_tag_string(text: str) -> bool:
    # "1girl solo long_hair": words separated by spaces, where spaces inside a tag are underscores.
    words = text.split()
    if any(word.lower() in _SENTENCE_WORDS for word in words):  # "photo of my_token"
        return False
    return len(words) > 1 and any(re.search(r"[a-z0-9]_[a-z0-9(]", word, re.I) for word in words)


def is_prose(text: str, known: Sequence[str] = ()) -> bool:
    """Whether a caption is sentences rather than tags.

    Args:
        text: as `decode` gives it.
        known: tags that are expected; a line made mostly of them is a tag list whatever stands beside them.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) > 1:
        return any(_is_sentence(line) for line in lines)
    if not lines or not _is_sentence(lines[0]):
        return False
    expected = {tag_key(tag) for tag in known}
    found = [tag_key(tag) for tag in tags_of(lines[0])]
    return 2 * sum(tag in expected for tag in found) < len(found) or len(found) == 1


def _is_sentence(line: str) -> bool:
    phrases = [part.split() for part in re.split("[,，、]", line) if part.strip()]
    if not phrases:
        return False
    ended = _SENTENCE_END.search(line)
    if ended and _CJK_END.search(line):
        return True
    if ended and (len(phrases[-1]) >= 3 or any(map(_starts_sentence, phrases))):
        return not _is_list(phrases, titled=line.rstrip("'\")]")[-1] in "!?")
    lengths = sorted(len(phrase) for phrase in phrases)
    return lengths[len(lengths) // 2] > _LONG_PHRASE_WORDS


def _is_list(phrases: Sequence[Sequence[str]], *, titled: bool) -> bool:
    """Whether pieces that end like a sentence are tags all the same.

    Args:
        phrases: the words of each piece between commas.
        titled: they end with ! or ?, as many titles do (`love live! sunshine!!`).
    """
    plain = [phrase for phrase in phrases if not _speaks(phrase)]
    short = sum(len(phrase) <= _SHORT_PHRASE_WORDS for phrase in plain)
    if len(plain) < len(phrases):  # one sentence may be a title: `is the order a rabbit?`
        return titled and len(phrases) > 2 and 3 * short >= 2 * len(phrases)
    return titled or (len(phrases) > 2 and short >= _MOSTLY * len(phrases))


def is_sentence_word(word: str) -> bool:
    """Whether a lower-case word is one of those that sentences are made with."""
    return word in _SENTENCE_WORDS


def _speaks(words: Sequence[str]) -> bool:
    """Whether a piece is worded as in a sentence: `a girl in the rain`, `she waves`; no title's words."""
    small = [word.strip("'\".!?…()[]").lower() for word in words]
    if len(words) >= 2 and any(word in _SPEAKING_WORDS for word in small):
        return True
    several = sum(word in _SENTENCE_WORDS for word in small) >= 2
    return _starts_sentence(words) or several or (len(words) >= 3 and bool(_ARTICLES.intersection(small)))


def _starts_sentence(words: Sequence[str]) -> bool:
    # "She waves at us": a capital, then small words; tags are all small, or all capital as "Hatsune Miku".
    return len(words) >= 3 and words[0].istitle() and all(word.islower() for word in words[1:3])


def other_separator(text: str) -> str | None:
    """What parts the tags of a caption that has no comma, where it is `;` or `|`; else None."""
    if _SPLIT.search(text):
        return None
    return next((sign for sign in ";|" if text.count(sign) > 1), None)


def without_lead(tags: Sequence[str], trigger: str | None, class_word: str | None) -> tuple[str, ...]:
    """A caption's tags without what the program puts first: the trigger word, with or without class word."""
    if trigger is None:
        return tuple(tags)
    alone, both = tag_key(trigger), tag_key(f"{trigger} {class_word or ''}")
    kept = [tag for tag in tags if tag_key(tag) not in (alone, both)]
    split_lead = len(tags) > 1 and tag_key(tags[0]) == alone and class_word is not None
    if split_lead and kept and tag_key(kept[0]) == tag_key(class_word or ""):
        kept = kept[1:]  # "sks, girl, ..." is "sks girl, ..." with a comma too many
    return tuple(kept)


def prose_without_lead(text: str, trigger: str | None, class_word: str | None) -> str:
    """Prose without the trigger word that the program puts before it."""
    for lead in filter(None, (f"{trigger} {class_word}" if class_word else None, trigger)):
        match = re.match(rf"{re.escape(lead)}\s*[,，]\s*", text, re.IGNORECASE) if trigger else None
        if match:
            return text[match.end() :]
    return text


def same_prose(one: str, other: str) -> bool:
    """Whether prose captions differ only by what editors do on saving: white space, lower-casing it all."""
    a, b = _SPACES.sub(" ", one).strip(" ,"), _SPACES.sub(" ", other).strip(" ,")
    return a == b or b == a.lower()


@dataclass(frozen=True)
class Lead:
    """What the program puts before every training caption."""

    trigger: str | None = None
    class_word: str | None = None

    def tags(self, text: str, role: str) -> tuple[str, ...]:
        """A caption's tags without the lead."""
        tags = tags_of(text)
        return without_lead(tags, self.trigger, self.class_word) if role == "train" else tags

    def prose(self, text: str, role: str) -> str:
        """A prose caption without the lead."""
        return prose_without_lead(text, self.trigger, self.class_word) if role == "train" else text

    def in_front_of(self, text: str) -> bool:
        """Whether a caption starts with the trigger word, which may be several words."""
        if self.trigger is None:
            return True
        return re.match(rf"{re.escape(tag_key(self.trigger))}(?!\w)", tag_key(text)) is not None
