"""The miniature world: one drawing, its truth, its pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from models.miniature.drawing import (
    VOCABULARY,
    Drawing,
    random_drawing,
    signature_drawing,
    tags,
    with_random_signature,
)
from models.miniature.world import render


def test_the_same_drawing_gives_the_same_pixels() -> None:
    drawing = random_drawing(np.random.default_rng(3))
    assert np.array_equal(np.asarray(render(drawing, 64, 64)), np.asarray(render(drawing, 64, 64)))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (48, 80), (80, 48), (32, 128), (128, 32)])
def test_any_aspect_is_drawn_at_the_asked_size(width: int, height: int) -> None:
    image = render(random_drawing(np.random.default_rng(4)), width, height)
    assert (image.mode, image.size) == ("RGB", (width, height))


def test_a_side_under_16_px_is_refused() -> None:
    with pytest.raises(ValueError, match="8x64 px is too small"):
        render(Drawing(), 8, 64)


def test_every_tag_of_the_vocabulary_comes_up() -> None:
    rng = np.random.default_rng(0)
    seen = Counter(tag for _ in range(1500) for tag in tags(random_drawing(rng)))
    assert set(seen) == set(VOCABULARY)
    assert min(seen.values()) > 20


def test_tags_come_in_caption_order_without_repeats() -> None:
    rng = np.random.default_rng(1)
    order = list(VOCABULARY)
    for _ in range(100):
        places = [order.index(tag) for tag in tags(random_drawing(rng))]
        assert places == sorted(set(places))


def test_every_tag_but_solo_can_be_seen_in_the_pixels() -> None:
    plain = Drawing(framing="full body")
    shown = np.asarray(render(plain, 96, 96)).astype(int)
    for change in (
        {"hair_colour": "red"}, {"hair_length": "long hair"}, {"hair_style": "braid"}, {"ahoge": True},
        {"eye_colour": "red"}, {"eyes": "closed eyes"}, {"mouth": "frown"}, {"blush": True},
        {"gaze": "left"},
        {"outfit": "serafuku"},
        {"accessories": frozenset({"hat"})}, {"pose": "waving"}, {"background": "city"},
        {"framing": "portrait"}, {"count": "1boy"}, {"star": True}, {"streak": True}, {"scarf": True},
    ):  # fmt: skip
        drawing = replace(plain, **change)
        changed = np.asarray(render(drawing, 96, 96))
        assert (np.abs(changed - shown).max(axis=2) > 20).sum() > 20, change


def test_the_signature_never_appears_by_chance() -> None:
    rng = np.random.default_rng(2)
    drawings = [random_drawing(rng) for _ in range(500)]
    assert not any(d.star or d.streak or d.scarf for d in drawings)


def test_the_signature_character_is_constant_where_the_tagger_knows_it() -> None:
    rng = np.random.default_rng(5)
    drawings = [signature_drawing(rng) for _ in range(60)]
    constant = {("pink", "long hair", "green", True, True, True)}
    assert {
        (d.hair_colour, d.hair_length, d.eye_colour, d.star, d.streak, d.scarf) for d in drawings
    } == constant
    assert min(len({d.outfit for d in drawings}), len({d.background for d in drawings})) > 5


def test_judge_truths_are_independent_and_balanced() -> None:
    rng = np.random.default_rng(6)
    signed = [with_random_signature(random_drawing(rng), rng) for _ in range(600)]
    flags = np.array([(d.star, d.streak, d.scarf) for d in signed], dtype=float)
    assert np.all(np.abs(flags.mean(axis=0) - 0.5) < 0.08)
    assert np.all(np.abs(np.corrcoef(flags.T)[np.triu_indices(3, 1)]) < 0.12)


def test_a_place_and_a_plain_colour_exclude_each_other() -> None:
    assert {"outdoors", "beach", "night"} <= set(tags(Drawing(background="beach", night=True)))
    assert "simple background" not in tags(Drawing(background="beach"))
    assert {"simple background", "blue background"} <= set(tags(Drawing(background="blue background")))
