"""CLIP's tokenizer without a download: its vocabulary rebuilt from the BPE file inside open_clip.

Owns one decision: which id pads. SD1.x pads with EOS; SDXL's second tokenizer and SD2 pad with "!" (id 0).
"""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dataprep.errors import ModelError
from dataprep.inference.torch_compat import prepare_torch

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

Pad = Literal["eos", "!"]

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
VOCABULARY_SIZE = 49408
BOS_ID, EOS_ID = VOCABULARY_SIZE - 2, VOCABULARY_SIZE - 1
TOKENS = 77  # positions of CLIP's text model, BOS and EOS included
_SPANS = (("!", "~"), ("¡", "¬"), ("®", "ÿ"))  # bytes that stand for themselves in CLIP's tokens
# CLIP reads this many merges; the file holds more, which would shift every later id.
MERGES = 49152 - 256 - 2


@functools.cache
def clip_tokenizer(pad: Pad = "eos") -> CLIPTokenizer:
    """The tokenizer of every CLIP text encoder (49408 ids, 77 positions).

    Args:
        pad: "eos" pads with id 49407, as SD1.x and SDXL's first encoder do; "!" with id 0, as SDXL's second
            and SD2 do.
    Raises:
        ModelError: open_clip, or the BPE file in it, is not installed.
    """
    prepare_torch()
    from transformers import CLIPTokenizer

    merges = clip_merges()
    return CLIPTokenizer(
        vocab=clip_vocabulary(merges),
        merges=merges,
        pad_token=EOS if pad == "eos" else "!",
        model_max_length=TOKENS,
    )


def clip_merges() -> list[tuple[str, str]]:
    """CLIP's 48,894 BPE merges in order of rank.

    Raises:
        ModelError: open_clip, or the BPE file in it, is not installed.
    """
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ModelError(
            "CLIP's vocabulary comes with open_clip, which is not installed: pip install open_clip_torch"
        )
    file = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    if not file.is_file():
        raise ModelError(f"{file} is missing: install open_clip again: pip install open_clip_torch")
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")[1 : MERGES + 1]
    pairs = [line.split() for line in lines]
    return [(pair[0], pair[1]) for pair in pairs]


def clip_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Every token's id: 256 bytes, the same ending a word, one for each merge, BOS, EOS."""
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), BOS, EOS]
    return {token: index for index, token in enumerate(tokens)}


def decoded(ids: Iterable[int]) -> str:
    """The text that token ids stand for; BOS and EOS, and ids outside the vocabulary, say nothing.

    Raises:
        ModelError: open_clip, or the BPE file in it, is not installed.
    """
    tokens, byte = _tokens_by_id(), {letter: code for code, letter in _letters_by_byte().items()}
    text = "".join(tokens[i] for i in ids if 0 <= i < BOS_ID)
    data = bytes(byte[letter] for letter in text.replace("</w>", "Ġ") if letter in byte)
    return data.decode("utf-8", "replace").strip()


@functools.cache
def _tokens_by_id() -> tuple[str, ...]:
    return tuple(clip_vocabulary(clip_merges()))


@functools.cache
def _letters_by_byte() -> dict[int, str]:
    """The letter that stands for each byte in CLIP's tokens."""
    order = [code for first, last in _SPANS for code in range(ord(first), ord(last) + 1)]
    order += [code for code in range(256) if code not in set(order)]
    return dict(zip(order, _byte_letters(), strict=True))


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in CLIP's order: the printable bytes first, then the others."""
    printable = [code for first, last in _SPANS for code in range(ord(first), ord(last) + 1)]
    others = 256 - len(printable)
    return [*map(chr, printable), *(chr(256 + index) for index in range(others))]
