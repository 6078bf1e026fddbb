from __future__ import annotations

import pytest

from dataprep.tags.sentences import as_tag
from tests.stages.test_prune import a_set, captions, fates, picture, pruned

SAID = "A girl, smiling,\nstands in a field."


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (SAID, "A girl smiling stands in a field"),
        ("A photo of sks girl, in snake_case!", "A photo of girl in snake case"),
        ("  ", ""),
    ],
)
def test_a_sentence_becomes_one_tag_without_the_trigger(sentence: str, expected: str) -> None:
    assert as_tag(sentence, "sks", "girl") == expected


def test_a_sentence_stands_behind_the_tags_and_has_its_fate() -> None:
    rows = [picture({"hat": 0.9, "scarf": 0.1}, sentence=SAID), picture({"hat": 0.9})]
    result = pruned(rows)
    assert result["caption"].to_pylist() == [
        "sks girl, hat, A girl smiling stands in a field",
        "sks girl, hat",
    ]
    assert list(fates(result)) == ["hat", "A girl smiling stands in a field", "scarf"]


def test_a_sentence_removed_by_hand_stays_removed() -> None:
    row = picture({"hat": 0.9}, sentence=SAID, hand_removed=["a girl smiling stands in a field"])
    assert captions([row])[0] == "sks girl, hat"


def test_class_images_get_sentences_unless_the_class_word_alone_is_wanted() -> None:
    rows = [*a_set(2), picture({"hat": 0.9}, role="reg", sentence=SAID)]
    assert captions(rows)[2] == "girl, hat, A girl smiling stands in a field"
    assert captions(rows, reg_captions="class")[2] == "girl"
