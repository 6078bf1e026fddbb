from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dataprep.inference.base import Base, load_base
from dataprep.train.conditions import Captions
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared


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


def test_long_captions_are_said_with_the_setting_that_reads_them(base: Base) -> None:
    notes = Captions(base, TrainConfig(), 10).notes([["tag " * 100], ["short"], []])
    assert notes == [
        "3 captions, 1 empty; the longest: 100 tokens",
        "1 captions are cut off after 75 tokens; token_length 150 reads more",
    ]


def test_captions_vary_by_batch_number_and_not_by_chance(base: Base, prepared: Path) -> None:
    config = TrainConfig(shuffle=True, keep_tokens=0, train_text_encoder=False)
    data = Prepared(prepared, config)
    batch = data.batch([0], torch.Generator().manual_seed(0))
    told = [
        Captions(base, config, 10).conditions(batch, 0, 0, number).context for number in (1, 1, 2, 3, 4, 5)
    ]
    assert torch.equal(told[0], told[1])
    assert any(not torch.equal(told[0], other) for other in told[2:])
