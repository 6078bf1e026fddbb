from __future__ import annotations

import re

import numpy as np
import pytest

from dataprep.tags.tokens import tokenizer, written_words
from dataprep.tags.trigger import (
    ORDINARY_BELOW_RANK,
    RARE_WORDS,
    free_words,
    held_against,
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
    monkeypatch.setattr("dataprep.tags.trigger.written_words", dict)
    assert any("is in the dictionary" in line for line in trigger_report("petrichor"))
    assert "the 1 of this system's dictionary" in held_against()


@pytest.mark.parametrize("word", ["quixotic", "verdigris", "wyvern", "petrichor", "obelisk", "konoha"])
def test_a_word_that_people_write_is_unwise_without_any_dictionary(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataprep.tags.trigger.dictionary", frozenset)
    assert any("that people write" in line for line in trigger_report(word)), trigger_report(word)


def test_nonsense_is_hardly_ever_a_word_that_people_write() -> None:
    letters = np.array(list("bcdfghjklmnpqrstvwxz"))
    drawn = np.random.default_rng(0).choice(letters, (2000, 4))
    found = sum("".join(row) in written_words() for row in drawn)
    assert found / 2000 < 0.02
    assert len(written_words()) > 150_000


def test_a_single_letter_is_unwise() -> None:
    assert "single letter" in trigger_report("v")[0]


def test_a_missing_dictionary_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataprep.tags.trigger.dictionary", frozenset)
    assert held_against().endswith("no dictionary: this system has none")
