"""The three-way merge, tag by tag."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.curate.captions import tag_key
from dataprep.curate.merge import Edit, arranged, difference, merged

TAGS = st.sampled_from(["1girl", "solo", "red hair", "blush", "smile", "hat", "v", "kaga (azur lane)", "^_^"])
CAPTION = st.lists(TAGS, max_size=9, unique=True)


def keys(tags: tuple[str, ...] | list[str]) -> list[str]:
    return [tag_key(tag) for tag in tags]


@pytest.mark.parametrize(
    ("base", "file", "edit"),
    [
        (["1girl", "blush"], ["1girl", "blush"], Edit()),
        (["1girl", "long hair"], ["1Girl", "long_hair", "long hair"], Edit()),
        (["1girl", "blush"], ["1girl"], Edit(removed=("blush",))),
        (["1girl"], ["1girl", "hat"], Edit(added=("hat",), order=("1girl", "hat"))),
        (["1girl", "blush"], ["hat", "1girl"], Edit(("hat",), ("blush",), ("hat", "1girl"))),
        (["a", "b", "c"], ["c", "a", "b"], Edit(order=("c", "a", "b"))),
        ([], ["hat"], Edit(added=("hat",), order=("hat",))),
        (["hat"], [], Edit(removed=("hat",))),
    ],
)
def test_an_edit_is_what_was_added_removed_and_moved(base: list[str], file: list[str], edit: Edit) -> None:
    assert difference(base, file) == edit


@pytest.mark.parametrize(
    ("base", "file", "broken"),
    [
        (["1girl", "kaga (azur lane)", "hat"], ["1girl", "kaga", "(azur lane)", "hat"], "kaga (azur lane)"),
        (["1girl", "hat"], ["(1girl)", "hat"], "1girl"),
        (["café", "hat"], ["caf\ufffd", "hat"], "café"),
        (["café", "hat"], ["caf\ufffd\ufffd", "hat"], "café"),
    ],
)
def test_what_an_editor_breaks_on_saving_is_no_edit(base: list[str], file: list[str], broken: str) -> None:
    edit = difference(base, file)
    assert not edit
    assert edit.repaired == (broken,)


@pytest.mark.parametrize(
    ("base", "file"),
    [
        (["kaga (azur lane)", "akagi (azur lane)"], ["kaga", "(azur lane)", "akagi", "(azur lane)"]),
        (["kaga (azur lane)", "akagi (azur lane)"], ["kaga", "(azur lane)", "akagi"]),
        (["kaga (azur lane)", "akagi (azur lane)"], ["kaga", "((azur lane))", "akagi"]),
        (["saber", "saber (fate)"], ["saber", "(fate)"]),
        (["saber (fate)", "saber"], ["saber", "(fate)"]),
        (["saber", "saber (fate)"], ["(saber)", "(fate)"]),
        (["1girl", "(o)_(o)", "hat"], ["1girl", "(o)", "hat"]),
        (["1girl", "(o)_(o)", "hat"], ["1girl", "(o)", "(o)", "hat"]),
        (["a (b) (c)", "d (b)"], ["a", "(b)", "(c)", "d"]),
    ],
)
def test_names_that_share_a_piece_are_all_mended(base: list[str], file: list[str]) -> None:
    edit = difference(base, file)
    assert not edit
    assert edit.repaired


def test_of_names_that_an_editor_split_the_one_that_was_removed_is() -> None:
    edit = difference(["kaga (azur lane)", "akagi (azur lane)", "hat"], ["kaga", "(azur lane)", "hat"])
    assert (edit.added, edit.removed, edit.repaired) == ((), ("akagi (azur lane)",), ("kaga (azur lane)",))


def test_a_name_whose_brackets_a_person_took_away_is_an_edit() -> None:
    edit = difference(["bow (weapon)", "hat"], ["bow", "weapon", "hat"])
    assert (edit.added, edit.removed) == (("bow", "weapon"), ("bow (weapon)",))


def test_a_broken_tag_beside_a_real_edit_is_mended_and_the_edit_is_kept() -> None:
    edit = difference(["1girl", "kaga (azur lane)", "blush"], ["1girl", "kaga", "(azur lane)", "hat"])
    assert (edit.added, edit.removed, edit.order) == (
        ("hat",),
        ("blush",),
        ("1girl", "kaga (azur lane)", "hat"),
    )


def test_adding_brackets_that_were_never_a_tag_is_an_edit() -> None:
    assert difference(["1girl"], ["1girl", "(hat)"]).added == ("(hat)",)


@settings(deadline=None)
@given(CAPTION, CAPTION)
def test_an_edit_applied_to_its_own_base_gives_the_file(base: list[str], file: list[str]) -> None:
    edit = difference(base, file)
    result = merged(base, edit.added, edit.removed, edit.order)
    assert set(keys(result)) == set(keys(file))
    assert keys(result) == keys(file)


@settings(deadline=None)
@given(CAPTION, CAPTION, CAPTION)
def test_both_sides_of_a_merge_survive(base: list[str], file: list[str], machine: list[str]) -> None:
    edit = difference(base, file)
    result = keys(merged(machine, edit.added, edit.removed, edit.order))
    assert set(keys(edit.added)) <= set(result)
    assert not set(keys(edit.removed)) & set(result)
    untouched = set(keys(machine)) - set(keys(edit.added)) - set(keys(edit.removed))
    assert untouched <= set(result)
    assert len(result) == len(set(result))


@settings(deadline=None)
@given(CAPTION, CAPTION)
def test_hand_made_order_is_kept_whatever_else_comes(order: list[str], tags: list[str]) -> None:
    result = arranged(tags, order)
    assert sorted(result) == sorted(tags)
    ordered = [tag for tag in result if tag in order]
    assert ordered == [tag for tag in order if tag in tags]
    assert arranged(result, order) == result


def test_a_new_tag_stays_behind_the_tag_it_followed() -> None:
    assert arranged(["1girl", "solo", "hat", "blush"], ["blush", "solo", "1girl"]) == (
        "blush",
        "solo",
        "hat",
        "1girl",
    )


def test_added_wins_over_removed() -> None:
    assert merged(["a", "b"], added=["b"], removed=["b"]) == ("a", "b")
