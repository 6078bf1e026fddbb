"""CLIP's tokenizer from open_clip's BPE file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from dataprep.inference.text import clip_merges, clip_tokenizer, clip_vocabulary

GOLDEN = Path(__file__).parents[1] / "golden" / "clip_tokens.json.gz"


def ids_of(text: str, pad: str) -> list[int]:
    tokenizer = clip_tokenizer("eos" if pad == "eos" else "!")
    ids: list[int] = tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
    return ids


def test_ids_equal_those_of_the_real_tokenizers() -> None:
    cases = json.loads(gzip.decompress(GOLDEN.read_bytes()))["cases"]
    short = [case for case in cases if case["max_token_length"] is None]
    assert len(short) > 3
    for case in short:
        assert ids_of(case["caption"], "eos") == case["sd"][0], case["caption"]
        assert ids_of(case["caption"], "!") == case["sdxl2"][0], case["caption"]


def test_ids_equal_open_clips_own() -> None:
    from dataprep.inference.torch_compat import prepare_torch

    prepare_torch()
    import open_clip

    for text in (
        "1girl, solo, pink hair, sks",
        "a photo of the  cat's tail",
        "日本語 café",
        "(hat:1.2) \\(x\\)",
    ):
        assert ids_of(text, "!") == open_clip.SimpleTokenizer()([text])[0].tolist()


def test_the_vocabulary_has_clips_size_and_ends_with_the_specials() -> None:
    vocabulary = clip_vocabulary(clip_merges())
    assert len(vocabulary) == 49408
    assert (vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]) == (49406, 49407)
    assert vocabulary["!"] == 0


@pytest.mark.parametrize(("pad", "wanted"), [("eos", 49407), ("!", 0)])
def test_padding_is_the_asked_one(pad: str, wanted: int) -> None:
    assert ids_of("hat", pad)[-1] == wanted
