from __future__ import annotations

import pytest

from dataprep.tags.absorb import Count, Policy, Purpose, decide

ALWAYS = Count(38, 41, 41, contrast_hits=1, contrast_total=25)


def fate(tag: str, count: Count = ALWAYS, policy: Policy | None = None, category: str = "general") -> str:
    return decide(tag, category, count, policy or Policy()).fate


@pytest.mark.parametrize(
    ("purpose", "absorbed", "kept"),
    [
        (
            "character",
            ["pink hair", "green eyes", "scarf", "red dress"],
            ["smile", "beach", "1girl", "arms up"],
        ),
        ("style", ["monochrome", "pencil sketch"], ["pink hair", "red dress", "smile", "beach"]),
        ("outfit", ["red dress", "hair bow"], ["pink hair", "green eyes", "smile"]),
        ("pose", ["arms up", "looking at viewer"], ["pink hair", "red dress", "1girl"]),
        ("object", ["teapot"], ["beach", "smile", "1girl"]),
    ],
)
def test_each_purpose_absorbs_what_belongs_to_it(
    purpose: Purpose, absorbed: list[str], kept: list[str]
) -> None:
    policy = Policy(purpose=purpose)
    assert {tag: fate(tag, policy=policy) for tag in absorbed} == dict.fromkeys(absorbed, "absorbed")
    assert {tag: fate(tag, policy=policy) for tag in kept} == dict.fromkeys(kept, "kept")


def test_a_reason_has_the_numbers() -> None:
    rule = decide("pink hair", "general", ALWAYS, Policy()).rule
    assert rule == (
        "absorbed: in 38 of 41 single-subject pictures (at least 83% with 95% confidence), 4% in class images"
    )


@pytest.mark.parametrize(("hits", "expected"), [(5, "kept"), (7, "kept"), (8, "absorbed"), (10, "absorbed")])
def test_what_varies_is_kept(hits: int, expected: str) -> None:
    assert fate("pink hair", Count(hits, 10, 10)) == expected


def test_clothes_must_be_more_constant_than_hair() -> None:
    count = Count(29, 40, 40)
    assert (fate("pink hair", count), fate("red dress", count)) == ("absorbed", "kept")


def test_a_few_pictures_prove_nothing() -> None:
    decision = decide("pink hair", "general", Count(7, 7, 7), Policy())
    assert decision.fate == "kept"
    assert "too few" in decision.rule


def test_what_the_whole_class_has_is_not_the_subjects() -> None:
    assert fate("black hair", Count(40, 41, 41, contrast_hits=24, contrast_total=25)) == "kept"


def test_a_handful_of_class_images_is_no_contrast() -> None:
    assert fate("black hair", Count(40, 41, 41, contrast_hits=3, contrast_total=3)) == "absorbed"


def test_a_constant_that_is_not_the_subjects_is_kept_and_reported() -> None:
    decision = decide("white background", "general", ALWAYS, Policy())
    assert (decision.fate, decision.bleeds) == ("kept", True)
    assert "vary it" in decision.rule
    assert not decide("white background", "general", Count(20, 41, 41), Policy()).bleeds


def test_the_users_lists_outrank_everything_in_any_spelling() -> None:
    policy = Policy(absorb=("White_Background",), keep=("pink_hair",))
    assert fate("white background", Count(0, 41, 41), policy) == "absorbed"
    assert fate("pink hair", policy=policy) == "kept"


def test_a_characters_name_is_absorbed() -> None:
    assert fate("saber (fate)", category="character") == "absorbed"


def test_pictures_that_cannot_show_it_do_not_speak_against_it() -> None:
    decision = decide("green eyes", "general", Count(8, 9, 12), Policy())
    assert decision.fate == "absorbed"
    assert "9 single-subject pictures that can show it" in decision.rule


def test_without_class_images_the_taggers_base_rate_is_the_contrast() -> None:
    count = Count(40, 41, 41, contrast_hits=3, contrast_total=3, base_rate=0.95)
    assert fate("black hair", count) == "kept"
    rare = decide("pink hair", "general", Count(40, 41, 41, base_rate=0.04), Policy())
    assert rare.fate == "absorbed"
    assert "0.04 of all pictures the tagger knows" in rare.rule
