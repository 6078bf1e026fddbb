from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from dataprep.inference.text import clip_tokenizer
from dataprep.train.captions import Moment, parse_weights, read_caption, token_ids
from dataprep.train.config import TrainConfig

GOLDEN = json.loads(
    gzip.decompress((Path(__file__).parent.parent / "golden" / "clip_tokens.json.gz").read_bytes())
)
NOW = Moment(step=50, steps=100, epoch=1)


def read(text: str | list[str], seed: int = 0, moment: Moment = NOW, **settings: object) -> str:
    lines = [text] if isinstance(text, str) else text
    return read_caption(lines, TrainConfig(**settings), moment, random.Random(seed))


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


def test_untouched_captions_keep_even_the_separator_mark() -> None:
    assert read("sks ||| 1girl, hat", keep_tokens_separator="|||") == "sks ||| 1girl, hat"


def test_shuffle_keeps_the_first_tags_and_every_tag() -> None:
    seen = {read("sks, a, b, c, d", seed, shuffle=True, keep_tokens=1) for seed in range(50)}
    assert len(seen) > 10
    for text in seen:
        first, *rest = text.split(", ")
        assert first == "sks"
        assert sorted(rest) == ["a", "b", "c", "d"]


def test_separator_mark_fixes_a_beginning_and_an_end() -> None:
    seen = {
        read("sks, x ||| a, b, c ||| end", s, shuffle=True, keep_tokens_separator="|||") for s in range(20)
    }
    assert len(seen) > 1
    assert all(text.startswith("sks, x, ") and text.endswith(", end") for text in seen)


def test_tag_dropout_drops_its_share_and_never_a_kept_tag() -> None:
    texts = [read("sks, a, b, c, d", seed, tag_dropout=0.5, keep_tokens=1).split(", ") for seed in range(400)]
    assert all(tags[0] == "sks" for tags in texts)
    assert sum(len(tags) - 1 for tags in texts) / 1600 == pytest.approx(0.5, abs=0.05)


def test_caption_dropout_empties_its_share_and_every_nth_epoch() -> None:
    empty = [read("sks, a", seed, caption_dropout=0.2) == "" for seed in range(1000)]
    assert sum(empty) / 1000 == pytest.approx(0.2, abs=0.04)
    assert read("sks, a", moment=Moment(0, 9, 4), caption_dropout_every=2) == ""
    assert read("sks, a", moment=Moment(0, 9, 5), caption_dropout_every=2) == "sks, a"


def test_warm_up_lets_tags_in_one_by_one() -> None:
    text = "sks, a, b, c, d"
    lengths = [
        len(read(text, moment=Moment(step, 100, 1), warmup_tag_steps=40, warmup_tags=1).split(", ")) - 1
        for step in (0, 10, 20, 39, 40, 99)
    ]
    assert lengths == [1, 1, 2, 3, 4, 4]


def test_prefix_and_suffix_are_joined_by_spaces_only() -> None:
    assert read("1girl, hat", caption_prefix="sks", caption_suffix="end") == "sks 1girl, hat end"


def test_wildcards_pick_a_line_and_a_choice() -> None:
    lines = ["a {red|blue} hat", "{{literal}}"]
    seen = {read(lines, seed, wildcard=True) for seed in range(60)}
    assert seen == {"a red hat", "a blue hat", "{literal}"}
    assert read(lines) == "a {red|blue} hat"


def test_secondary_separator_holds_tags_together() -> None:
    seen = {read("sks, a;;;b, c", s, shuffle=True, secondary_separator=";;;") for s in range(20)}
    assert seen == {"sks, a,b, c", "sks, c, a,b"}


def test_the_same_seed_reads_the_same_caption() -> None:
    settings = {"shuffle": True, "tag_dropout": 0.3, "caption_dropout": 0.1}
    assert [read("a, b, c, d, e", s, **settings) for s in range(9)] == [
        read("a, b, c, d, e", s, **settings) for s in range(9)
    ]
