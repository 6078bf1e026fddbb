from __future__ import annotations

from typing import Any

import pytest

from dataprep.tags.assemble import (
    Hand,
    caption_text,
    hand_caption,
    lead,
    says,
    with_hand,
    without_trigger,
)


def tag(name: str, fate: str = "kept") -> dict[str, Any]:
    return {"tag": name, "score": 0.9, "source": "tagger", "category": "general", "fate": fate, "rule": "r"}


@pytest.mark.parametrize(
    ("trigger", "class_word", "first"),
    [("sks", "girl", "sks girl"), ("sks", None, "sks"), (None, "girl", "girl"), (None, None, "")],
)
def test_the_trigger_stands_before_the_class_word(
    trigger: str | None, class_word: str | None, first: str
) -> None:
    assert lead(trigger, class_word) == first


def test_a_caption_never_begins_or_ends_with_a_comma() -> None:
    assert caption_text("", ["a", "b"]) == "a, b"
    assert caption_text("sks", []) == "sks"
    assert caption_text("", []) == ""


@pytest.mark.parametrize(
    ("tag_", "word", "expected"),
    [
        ("sks", "sks", True),
        ("SKS_dress", "sks", True),
        ("sks girl", "sks", True),
        ("sksy", "sks", False),
        ("cat ears", "cat", True),
        ("scatter", "cat", False),
        ("hatsune miku", "hatsune miku", True),
        ("a+b", "a+b", True),
    ],
)
def test_a_word_is_found_only_as_a_whole(tag_: str, word: str, expected: bool) -> None:
    assert says(tag_, word) is expected


def test_a_hand_added_tag_keeps_what_the_machine_knows_of_it() -> None:
    (added,) = with_hand([tag("pink hair", "absorbed")], Hand(added=["Pink_Hair"]))
    expected = tag("pink hair") | {"frequency": None, "bound": None}
    assert added == expected | {"source": "hand", "fate": "added_by_hand", "rule": "added by hand"}


def test_a_removal_of_what_is_not_there_changes_nothing() -> None:
    assert with_hand([tag("hat")], Hand(removed=["scarf"])) == [tag("hat")]


def test_the_order_of_unnamed_tags_is_the_machines() -> None:
    tags = [tag("a"), tag("b"), tag("c"), tag("d")]
    ordered = with_hand(tags, Hand(order=["c", "x"]))
    assert [t["tag"] for t in ordered] == ["c", "a", "b", "d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sks girl on a hill", "sks girl on a hill"),
        ("SKS on a hill; 100% (really).", "SKS on a hill; 100% (really)."),
        ("a girl on a hill", "sks, a girl on a hill"),
        ("on a hill", "sks girl, on a hill"),
        ("a picture of SKS, laughing", "sks, a picture of girl, laughing"),
        ("a sks girl and a sks_dress", "sks, a girl and a girl_dress"),
        ("sks and her dog. sks sits.", "sks and her dog. girl sits."),
        ("a risks assessment", "sks girl, a risks assessment"),
        ("", "sks girl"),
    ],
)
def test_a_hand_caption_is_verbatim_but_for_the_trigger_once_and_first(text: str, expected: str) -> None:
    assert hand_caption(text, "sks", "girl") == expected
    assert hand_caption(expected, "sks", "girl") == expected
    assert hand_caption(text, None, "girl") == text


def test_without_a_class_word_the_trigger_leaves_no_hole() -> None:
    assert hand_caption("a photo of sks , smiling", "sks", None) == "sks, a photo of, smiling"
    assert without_trigger("sks dress", "sks", None) == "dress"
    assert without_trigger("Two  spaces stay, unless it is there.", "sks", None).startswith("Two  spaces")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("(sks:1.2)", ""),
        ("((sks))", ""),
        ("[[sks]]", ""),
        ('"sks"', ""),
        ("sks-chan", "chan"),
        ("(sks dress:1.1)", "(dress:1.1)"),
        ("a {sks} girl", "a girl"),
        ("sks (series)", "(series)"),
        ("portrait of (sks), by the sea", "portrait of, by the sea"),
    ],
)
def test_nothing_hollow_is_left_around_a_trigger_word_that_is_taken_out(text: str, left: str) -> None:
    assert without_trigger(text, "sks", None) == left


def test_a_trigger_of_several_words_is_found_in_any_spelling() -> None:
    assert hand_caption("a photo of my_cat", "my cat", "cat") == "my cat, a photo of cat"


def test_a_new_tag_stays_behind_the_tag_it_followed() -> None:
    tags = [tag("a"), tag("new"), tag("b")]
    assert [t["tag"] for t in with_hand(tags, Hand(order=["b", "a"]))] == ["b", "a", "new"]


def test_another_name_by_hand_takes_the_place_of_the_machines_tag_and_keeps_its_spelling() -> None:
    (said,) = with_hand([tag("blonde hair", "absorbed")], Hand(added=["blond hair"]))
    assert (said["tag"], said["fate"], said["score"]) == ("blond hair", "added_by_hand", 0.9)
    assert said["rule"] == "added by hand; the tagger calls it 'blonde hair'"


def test_another_name_that_was_removed_takes_the_machines_with_it() -> None:
    (said,) = with_hand([tag("rabbit ears")], Hand(removed=["bunny ears"]))
    assert said["fate"] == "removed_by_hand"


@pytest.mark.parametrize(("added", "removed"), [("blond hair", "blonde hair"), ("blonde hair", "blond hair")])
def test_one_name_for_another_by_hand_is_a_tag_added_not_one_removed(added: str, removed: str) -> None:
    said = with_hand([tag("blonde hair"), tag("hat")], Hand(added=[added], removed=[removed]))
    assert [(one["tag"], one["fate"]) for one in said] == [(added, "added_by_hand"), ("hat", "kept")]


@pytest.mark.parametrize("added", [["blond hair", "blonde hair"], ["blonde hair", "blond hair"]])
def test_both_names_by_hand_both_stand(added: list[str]) -> None:
    said = with_hand([tag("blonde hair")], Hand(added=added))
    assert sorted(one["tag"] for one in said if one["fate"] == "added_by_hand") == sorted(added)
