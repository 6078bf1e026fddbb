"""Shares, claims and tables of the four arms: pure functions, and able to say no."""

from __future__ import annotations

import pytest

from benchmarks.claims import (
    ALONE,
    CLASS,
    FULL,
    WITH,
    WITHOUT,
    Comparison,
    Run,
    Seen,
    Sets,
    asked_share,
    claims_table,
    comparisons,
    constant_share,
    entropy,
    feature_shares,
    kept_entropy,
    measured_table,
    recipe_works,
    signature_share,
    spread,
)

ALL, TWO, ONE, NONE = (0.9, 0.8, 0.7), (0.9, 0.1, 0.5), (0.9, 0.1, 0.4), (0.0, 0.0, 0.0)
VARIED = (Seen(NONE, ("outdoors", "smile")), Seen(NONE, ("indoors",)))
ALIKE = (Seen(NONE, ("outdoors",)), Seen(NONE, ("outdoors",)))


def sets(shown: bool = True, constant: bool = True, asked: bool = True, varied: bool = True) -> Sets:
    """The four sets of one run, each with one property or without it."""
    tags = ("red dress",) if asked else ("blue jacket",)
    return {
        WITH: (Seen(ALL if shown else NONE, tags, ("red dress",)),),
        WITHOUT: (Seen(NONE, ("red dress",), ("red dress",)),),
        CLASS: VARIED if varied else ALIKE,
        ALONE: (Seen(ALL, ("green eyes", "long hair") if constant else ()),),
    }


def five(arm: str, *good: Sets) -> list[Run]:
    """One run for each of the sets."""
    return [Run(arm, seed, one) for seed, one in enumerate(good, start=1)]


def test_a_character_is_two_features_of_three() -> None:
    seen = [Seen(ALL, ()), Seen(TWO, ()), Seen(ONE, ()), Seen(NONE, ())]
    assert signature_share(seen) == 0.5
    assert feature_shares(seen) == [0.75, 0.25, 0.5]


def test_asked_tags_are_counted_over_all_pictures() -> None:
    seen = [Seen(NONE, ("a", "b"), ("a", "b", "c")), Seen(NONE, ("c",), ("a",))]
    assert asked_share(seen) == 0.5
    assert asked_share([Seen(NONE, ("a",))]) is None


def test_constants_are_averaged() -> None:
    seen = [Seen(NONE, ("green eyes", "long hair")), Seen(NONE, ("long hair",))]
    assert constant_share(seen, ("green eyes", "long hair")) == 0.75


def test_entropy_is_one_bit_a_tag_that_half_of_the_pictures_have() -> None:
    assert entropy(VARIED) == pytest.approx(3, abs=1e-6)
    assert entropy(ALIKE) == pytest.approx(0, abs=1e-6)
    assert kept_entropy(ALIKE, VARIED) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("full", "other", "holds"),
    [
        ((0.9, 0.9, 0.9, 0.9, 0.9), (0.8, 0.8, 0.8, 0.8, 0.8), True),  # ten points are enough
        ((0.9, 0.9, 0.9, 0.9, 0.9), (0.82, 0.82, 0.82, 0.82, 0.82), False),  # eight are not
        ((0.9, 0.9, 0.9, 0.9, 0.5), (0.5, 0.5, 0.5, 0.5, 0.9), True),  # four seeds of five
        ((0.9, 0.9, 0.9, 0.4, 0.4), (0.0, 0.0, 0.0, 0.5, 0.5), False),  # three, however large
        ((0.1, 0.1, 0.1, 0.1, 0.1), (0.9, 0.9, 0.9, 0.9, 0.9), False),  # the wrong way round
        ((0.9, 0.9, 0.9, 0.9, 0.9), (0.9, 0.9, 0.9, 0.9, 0.9), False),  # no difference
    ],
)
def test_a_claim_holds_by_margin_and_by_seeds(
    full: tuple[float, ...], other: tuple[float, ...], holds: bool
) -> None:
    assert Comparison("c", "m", full, other).holds is holds


def test_each_claim_looks_at_what_its_arm_changes() -> None:
    good = sets()
    runs = [
        *five(FULL, good, good),
        *five("no class images", sets(varied=False), sets(varied=False)),
        *five("unpruned captions", sets(constant=False), sets(constant=False)),
        *five("random captions", sets(asked=False), sets(asked=False)),
    ]
    found = comparisons(runs, good, ("green eyes", "long hair"))
    assert [one.holds for one in found] == [True, True, True]
    assert [one.full for one in found] == [(1.0, 1.0)] * 3
    assert [one.other for one in found] == [pytest.approx((0, 0), abs=1e-6)] * 3


def test_arms_that_do_as_well_refute_the_claims() -> None:
    good = sets()
    names = (FULL, "no class images", "unpruned captions", "random captions")
    runs = [run for name in names for run in five(name, good, good)]
    assert not any(one.holds for one in comparisons(runs, good, ("green eyes",)))
    assert claims_table(runs, good, ("green eyes",)).count("does not hold") == 3


def test_only_seeds_of_both_arms_are_compared() -> None:
    runs = [*five(FULL, sets(), sets(), sets()), Run("random captions", 2, sets(asked=False))]
    (found,) = comparisons(runs, sets(), ("green eyes",))
    assert len(found.full) == 1


def test_nothing_is_claimed_of_absorbing_where_nothing_was_absorbed() -> None:
    runs = [*five(FULL, sets()), *five("unpruned captions", sets(constant=False))]
    assert comparisons(runs, sets(), ()) == []


def test_a_recipe_that_teaches_nothing_misses_its_goal() -> None:
    works = recipe_works(five(FULL, sets(), sets()), sets())
    fails = recipe_works(five(FULL, sets(shown=False, varied=False)), sets())
    assert list(works.values()) == [True, True, True, True]
    assert list(fails.values()) == [False, True, True, False]
    assert recipe_works([], sets()) == {}


def test_spread_is_the_sample_standard_deviation() -> None:
    assert spread((0.5, 0.7)) == "60% ± 14"
    assert spread((0.5,)) == "50%"


def test_the_table_has_every_set_of_every_arm_and_the_base_where_it_can_be_asked() -> None:
    lines = measured_table([*five(FULL, sets(), sets())], sets()).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == [WITH, WITHOUT, CLASS, ALONE, WITHOUT, CLASS]
    assert len({line.count("|") for line in lines}) == 1
    assert "| full recipe | with the trigger | 2 x 1 | 100% ± 0 |" in lines[2]
