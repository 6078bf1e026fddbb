from __future__ import annotations

import re

import pytest

from dataprep.tags.tokens import tokenizer
from dataprep.tags.trigger import ORDINARY_BELOW_RANK, RARE_WORDS, free_words, trigger_report

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
