from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from dataprep.inference.text import clip_tokenizer
from dataprep.inference.tokens import parse_weights, token_ids

GOLDEN = json.loads(
    gzip.decompress((Path(__file__).parent.parent / "golden" / "clip_tokens.json.gz").read_bytes())
)


@pytest.mark.parametrize(
    "case", GOLDEN["cases"], ids=lambda case: f"{case['max_token_length']}-{case['caption'][:12]}"
)
def test_token_ids_and_weights_equal_the_golden_ones(case: dict[str, object]) -> None:
    chunks = int(case["max_token_length"] or 75) // 75
    text = str(case["caption"])
    assert token_ids(clip_tokenizer("eos"), text, chunks)[0] == case["sd"]
    assert token_ids(clip_tokenizer("!"), text, chunks)[0] == case["sdxl2"]
    ids, weights = token_ids(clip_tokenizer("eos"), text, chunks, weighted=True)
    assert ids == case["sd_weighted_ids"]
    middle = [weight for chunk in case["sd_weights"] for weight in chunk[1:-1]]
    assert weights == pytest.approx([1.0, *middle, 1.0])


def test_weights_nest_escape_and_run_to_the_end_where_unclosed() -> None:
    found = dict(parse_weights(r"a (b:1.5) [c] ((d)) \(e\) (f"))
    assert found["b"] == 1.5
    assert found["c"] == pytest.approx(1 / 1.1)
    assert found["d"] == pytest.approx(1.21)
    assert found[" (e) "] == 1
    assert found["f"] == pytest.approx(1.1)
    assert parse_weights("") == [("", 1.0)]
