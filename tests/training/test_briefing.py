from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataprep.inference.base import load_base
from dataprep.inference.sampling import Prompt
from dataprep.train.captions import Captions
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared
from dataprep.training.briefing import caption_notes, default_prompts, start_notes


@pytest.fixture
def prepared(tmp_path: Path, base_path: Path) -> Path:
    """A prepared folder: 5 images x 2 and 3 regularization images in two buckets."""
    from tiny import prepare_folder

    return prepare_folder(tmp_path / "set", base_path)


def test_the_start_says_the_arithmetic_and_what_is_odd(prepared: Path, base_path: Path) -> None:
    config = TrainConfig(use_reg=True, batch_size=16, precision="bf16")
    data = Prepared(prepared, config)
    notes = start_notes(data, Captions(load_base(base_path, "cpu", torch.float32), config, 6), 6, "cpu")
    assert "5 images, 10 with repeats; 3 regularization images, 10 with repeats" in notes
    assert "2 buckets, 2 batches of up to 16 an epoch; 6 steps, 3 epochs" in notes
    assert "buckets that never fill a batch of 16: 64x64, 64x128" in notes
    assert any("float32 is used" in note for note in notes)


def test_a_clip_skip_that_sdxl_does_not_take_is_said(prepared: Path, xl_path: Path) -> None:
    base = load_base(xl_path, "cpu", torch.float32)
    for clip_skip, said in ((1, True), (2, False)):
        config = TrainConfig(clip_skip=clip_skip)
        notes = start_notes(Prepared(prepared, config), Captions(base, config, 6), 6, "cpu")
        assert any("clip_skip 1 is not for SDXL" in note for note in notes) is said


def test_long_captions_are_said_with_the_setting_that_reads_them(base_path: Path) -> None:
    captions = Captions(load_base(base_path, "cpu", torch.float32), TrainConfig(), 10)
    notes = caption_notes([["tag " * 100], ["short"], []], captions)
    assert notes == [
        "3 captions, 1 empty; the longest: 100 tokens",
        "1 captions are cut off after 75 tokens; token_length 150 reads more",
    ]


def test_default_prompts_come_with_and_without_the_trigger(prepared: Path) -> None:
    prompts = default_prompts(Prepared(prepared, TrainConfig()))
    size = {"width": 64, "height": 64, "seed": 0, "steps": 20}
    assert prompts[:2] == [
        Prompt("sks girl, tag0, red hair", **size),
        Prompt("girl, tag0, red hair", **size),
    ]
    assert len(prompts) == 4


@pytest.mark.parametrize(
    ("trigger", "class_word", "caption", "bare"),
    [
        ("anna smith", "girl", "anna smith girl, red hair", "girl, red hair"),
        ("my_oc", None, "my oc, red hair", "red hair"),
        ("sks", "girl", "A photo of Sks. SKS smiles; sks's hat", "A photo of girl. girl smiles; girl's hat"),
        ("sks", "girl", "sks girl, a sign --weird --w 8", "girl, a sign --weird --w 8"),
    ],
)
def test_a_trigger_of_any_form_is_left_out_and_no_word_is_taken_for_an_option(
    prepared: Path, trigger: str, class_word: str | None, caption: str, bare: str
) -> None:
    data = Prepared(prepared, TrainConfig())
    data.meta |= {"trigger": trigger, "class_word": class_word}
    data.images = (replace(data.images[0], lines=(caption,)),)
    assert [prompt.text for prompt in default_prompts(data)] == [caption, bare]


def test_masks_that_are_not_there_and_an_assumed_prediction_are_said(
    prepared: Path, base_path: Path, tmp_path: Path
) -> None:
    from tiny import prepare_folder

    config, base = TrainConfig(masked=True), load_base(base_path, "cpu", torch.float32)
    data = Prepared(prepared, config)
    notes = start_notes(data, Captions(base, config, 6), 6, "cpu")
    assert any("8 of 8 images have no mask" in note for note in notes)
    assert not any("does not say what it predicts" in note for note in notes)
    guessed = replace(base, prediction_assumed=True)
    data = Prepared(prepare_folder(tmp_path / "masked", base_path, mask=True), config)
    notes = start_notes(data, Captions(guessed, config, 6), 6, "cpu")
    assert not any("mask" in note for note in notes)
    assert any('set target = "eps"' in note for note in notes)
    data = Prepared(prepared, TrainConfig(target="eps"))
    notes = start_notes(data, Captions(guessed, config, 6), 6, "cpu")
    assert not any("does not say what it predicts" in note for note in notes)
