"""CLIP's tokens, counted without loading a tokenizer: its byte-pair merges and nothing else.

Gives exactly the ids of CLIP's own tokenizer (a test holds them together) without its seconds of start-up:
captions are counted in a stage that must not import a model library.
"""

from __future__ import annotations

import functools
import gzip
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Final

from dataprep.inference.text import MERGES, clip_merges, clip_vocabulary

BUDGETS: Final = (75, 150, 225)  # tokens that trainers feed at once, start and end tokens not counted
_END: Final = "</w>"
# CLIP splits into contractions, runs of letters, single digits, and runs of other signs.
_WORDS: Final = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")


@dataclass(frozen=True)
class Tokenizer:
    """CLIP's byte-pair encoding.

    Attributes:
        ranks: a merge's rank, 0 the first and most frequent.
        ids: a token's id.
    """

    ranks: Mapping[tuple[str, str], int]
    ids: Mapping[str, int]

    def pieces(self, word: str) -> tuple[str, ...]:
        """The tokens of one word, the last ending in `</w>`."""
        letters = _byte_letters()
        parts = [letters[byte] for byte in word.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            ranked = [self.ranks.get(pair, len(self.ranks)) for pair in pairwise(parts)]
            best = min(ranked)
            if best == len(self.ranks):
                break
            parts = _merged(parts, parts[ranked.index(best)], parts[ranked.index(best) + 1])
        return tuple(parts)

    def rank(self, token: str) -> int:
        """How early CLIP learned a token: 0 for single letters, up to 48,893 for the rarest."""
        return max(0, self.ids[token] - 2 * 256)


def _merged(parts: list[str], first: str, second: str) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and merged[-1] == first and part == second:
            merged[-1] = first + second
        else:
            merged.append(part)
    return merged


@functools.cache
def tokenizer() -> Tokenizer:
    """CLIP's tokenizer, from the file of merges inside open_clip.

    Raises:
        ModelError: open_clip is not installed.
    """
    merges = clip_merges()
    return Tokenizer({pair: rank for rank, pair in enumerate(merges)}, clip_vocabulary(merges))


@functools.cache
def written_words() -> Mapping[str, int]:
    """Words that people write, each with its place by frequency: CLIP's merge file past its tokens.

    The file holds 262,144 merges of the English web text that CLIP's tokens were made from, and CLIP uses the
    first 48,894; of the rest some 162,000 make a whole word, which nonsense of four letters hardly ever is.

    Raises:
        ModelError: open_clip is not installed.
    """
    clip_merges()  # says what to do where the file is missing
    spec = find_spec("open_clip")
    assert spec is not None and spec.origin is not None  # noqa: PT018 - one fact
    file = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()[MERGES + 1 :]
    whole = ((i, line.removesuffix(_END).replace(" ", "")) for i, line in enumerate(lines, MERGES))
    return {word: i for (i, word), line in zip(whole, lines, strict=True) if line.endswith(_END)}


@functools.cache
def _byte_letters() -> list[str]:
    # The vocabulary's first 256 tokens are CLIP's printable stand-ins for bytes, printable bytes first.
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    order = [*printable, *(byte for byte in range(256) if byte not in set(printable))]
    tokens = list(tokenizer().ids)[:256]
    letters = [""] * 256
    for byte, token in zip(order, tokens, strict=True):
        letters[byte] = token
    return letters


def words(text: str) -> list[str]:
    """The words that CLIP reads in a text: lower case, punctuation and digits apart."""
    found = _WORDS.findall(unicodedata.normalize("NFC", text).lower())
    return found if text.isascii() else [part for word in found for part in _numerals_apart(word)]


def _numerals_apart(word: str) -> list[str]:
    # Python counts signs such as ½ among the letters; CLIP reads each by itself.
    parts: list[str] = []
    for letter in word:
        number = unicodedata.category(letter).startswith("N")
        if parts and not number and not unicodedata.category(parts[-1][-1]).startswith("N"):
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts


@functools.lru_cache(maxsize=2**17)
def _word_tokens(word: str) -> int:
    return len(tokenizer().pieces(word))


@functools.lru_cache(maxsize=2**17)
def token_count(caption: str) -> int:
    """Tokens of a caption, without the start and end tokens."""
    return sum(_word_tokens(word) for word in words(caption))


def caption_tokens(caption: str) -> int:
    """Tokens of a caption of comma-separated tags; each tag is counted once for all captions it is in."""
    *parts, last = caption.split(", ")
    # With its comma, because CLIP reads "), " as one token.
    return sum(token_count(f"{part},") for part in parts) + token_count(last)
