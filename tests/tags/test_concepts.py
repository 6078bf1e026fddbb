from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataprep.errors import ConfigError
from dataprep.tags.concepts import (
    CONCEPTS,
    NULL_PROMPTS,
    TEMPLATES,
    read_words,
    sigmoid_probability,
    softmax_probability,
)


def test_a_concept_no_better_than_words_that_say_nothing_has_a_half() -> None:
    cosine = np.array([[0.2]], np.float32)
    np.testing.assert_allclose(
        softmax_probability(cosine, np.array([[0.2, 0.2]], np.float32), 100.0), [[0.5]]
    )


def test_it_is_the_softmax_over_concept_and_mean_null() -> None:
    logits, nulls = np.array([3.0, 1.0]), np.array([0.5, 2.0])
    null = np.log(np.mean(np.exp(nulls)))
    expected = np.exp(logits) / (np.exp(logits) + np.exp(null))
    found = softmax_probability(logits[None].astype(np.float32), nulls[None].astype(np.float32), 1.0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_a_concept_does_not_depend_on_what_else_is_asked() -> None:
    nulls = np.array([[0.1]], np.float32)
    alone = softmax_probability(np.array([[0.3]], np.float32), nulls, 50.0)
    among = softmax_probability(np.array([[0.3, 0.9]], np.float32), nulls, 50.0)
    assert alone[0, 0] == among[0, 0]


@pytest.mark.parametrize("cosine", [-1.0, 1.0])
def test_extreme_similarities_stay_probabilities(cosine: float) -> None:
    extreme = np.array([[cosine]], np.float32)
    for score in (
        softmax_probability(extreme, -extreme, 1000.0),
        sigmoid_probability(extreme, 1000.0, -10.0),
    ):
        assert 0 <= score[0, 0] <= 1


def test_the_defaults_are_usable() -> None:
    assert len(set(CONCEPTS)) == len(CONCEPTS)
    assert all("{}" in template for template in TEMPLATES)
    assert NULL_PROMPTS


def test_a_vocabulary_is_read_from_a_list_or_a_table(tmp_path: Path) -> None:
    plain, table = tmp_path / "words.txt", tmp_path / "selected_tags.csv"
    plain.write_text("# places\nbeach\nnight_sky  # at night\n\nBeach\n", encoding="utf-8")
    table.write_text("tag_id,name,category\n0,long_hair,0\n1,^_^,0\n", encoding="utf-8")
    assert read_words(plain) == ("beach", "night sky")
    assert read_words(table) == ("long hair", "^_^")


def test_of_a_taggers_table_only_general_tags_are_words(tmp_path: Path) -> None:
    lines = "tag_id,name,category,count\n0,explicit,9,5\n1,long_hair,0,5\n2,hatsune_miku,4,5\n3,hat,0,5\n"
    for name, text in (
        ("selected_tags.csv", lines),
        ("TAGS.CSV", lines),
        ("tags.tsv", lines.replace(",", "\t")),
        ("named.csv", "tag,category\nexplicit,rating\nlong_hair,general\nhat,\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_words(tmp_path / name) == ("long hair", "hat"), name
    (tmp_path / "tags.txt").write_text("hat\nrating:explicit\n", encoding="utf-8")
    assert read_words(tmp_path / "tags.txt") == ("hat",)


def test_a_vocabulary_that_cannot_be_read_or_is_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clip\.vocabulary.*nothing\.txt"):
        read_words(tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text("# only a remark", encoding="utf-8")
    with pytest.raises(ConfigError, match="no words"):
        read_words(tmp_path / "empty.txt")
