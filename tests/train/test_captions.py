from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from dataprep.inference.base import Base, load_base
from dataprep.train.captions import Captions, read_caption
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared


def read(text: str | list[str], seed: int = 0, epoch: int = 1, **settings: object) -> str:
    lines = [text] if isinstance(text, str) else text
    return read_caption(lines, TrainConfig(**settings), epoch, random.Random(seed))


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
    assert read("sks, a", epoch=4, caption_dropout_every=2) == ""
    assert read("sks, a", epoch=5, caption_dropout_every=2) == "sks, a"


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


@pytest.fixture
def base(base_path: Path) -> Base:
    return load_base(base_path, "cpu", torch.float32)


def test_what_is_remembered_equals_what_is_encoded(base: Base, prepared: Path) -> None:
    data = Prepared(prepared, TrainConfig())
    batch = data.batch([0, 1], torch.Generator().manual_seed(0))
    live = Captions(base, TrainConfig(), 10).conditions(batch, 0, 0, 0)
    frozen = Captions(base, TrainConfig(train_text_encoder=False), 10).conditions(batch, 0, 0, 0)
    torch.testing.assert_close(frozen.context, live.context)
    assert live.context.shape == (2, 77, 32)


def test_the_text_encoder_learns_for_its_share_of_the_steps(base: Base) -> None:
    assert Captions(base, TrainConfig(text_encoder_until=0.7), 100).until == 70
    assert Captions(base, TrainConfig(train_text_encoder=False), 100).until == 0


def test_captions_vary_by_batch_number_and_not_by_chance(base: Base, prepared: Path) -> None:
    config = TrainConfig(shuffle=True, keep_tokens=0, train_text_encoder=False)
    data = Prepared(prepared, config)
    batch = data.batch([0], torch.Generator().manual_seed(0))
    told = [
        Captions(base, config, 10).conditions(batch, 0, 0, number).context for number in (1, 1, 2, 3, 4, 5)
    ]
    assert torch.equal(told[0], told[1])
    assert any(not torch.equal(told[0], other) for other in told[2:])
