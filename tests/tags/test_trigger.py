from __future__ import annotations

import re

import pytest

from dataprep.tags.tokens import tokenizer
from dataprep.tags.trigger import (
    ORDINARY_BELOW_RANK,
    RARE_WORDS,
    free_words,
    trigger_facts,
    trigger_report,
)

VOCABULARY = ("1girl", "cat_girl", "long_hair", "hugging", "kprs")


@pytest.mark.parametrize("trigger", ["sks", "ohwx"])
def test_a_rare_word_passes(trigger: str) -> None:
    assert trigger_report(trigger, vocabulary=VOCABULARY) == []


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ("girl", "ordinary word"),
        ("hugging", "ordinary word"),
        ("hugging", "one of the tagger's tags"),
        ("cat", r"a word of the tagger's tags \(cat_girl\)"),
        ("zkzbrthwq", "6 tokens"),
        ("My Char", "lower case"),
        ("hatsune miku", "several words"),
        ("a, b", "comma"),
        ("sks:1", "command"),
    ],
)
def test_an_unwise_word_is_reported_with_the_reason(trigger: str, reason: str) -> None:
    report = trigger_report(trigger, vocabulary=VOCABULARY)
    assert any(re.search(reason, line) for line in report), report


def test_three_free_words_are_suggested_that_no_tag_uses() -> None:
    report = trigger_report("girl", vocabulary=["sks", "ohwx dress"])
    assert report[-1].endswith("nlwx, nmwx, kprs")


def test_a_suggestion_is_never_the_word_itself() -> None:
    assert "sks" not in free_words(tokenizer(), without="SKS")


@pytest.mark.parametrize("word", RARE_WORDS)
def test_suggestions_are_single_rare_tokens(word: str) -> None:
    pieces = tokenizer().pieces(word)
    assert len(pieces) == 1
    assert tokenizer().rank(pieces[0]) >= ORDINARY_BELOW_RANK


def test_the_measured_rarity_is_told() -> None:
    assert (
        trigger_facts("sks")
        == "trigger 'sks': 1 token; merge rank in CLIP's 48,894 (late is rare): sks 47,624"
    )
    assert "2 tokens" in trigger_facts("redhair")


def test_a_word_made_of_known_words_is_unwise() -> None:
    assert any("red + hair" in line for line in trigger_report("redhair"))


def test_a_word_of_the_systems_dictionary_is_unwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataprep.tags.trigger.dictionary", lambda: frozenset({"petrichor"}))
    assert any("dictionary" in line for line in trigger_report("petrichor"))


def test_a_single_letter_is_unwise() -> None:
    assert "single letter" in trigger_report("v")[0]


def test_a_missing_dictionary_is_said_where_it_would_tell_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataprep.tags.trigger.dictionary", frozenset)
    assert "no dictionary was found on this machine" in trigger_facts("quokka")
    assert "dictionary" not in trigger_facts("sks")
