from __future__ import annotations

import pytest

from dataprep.tags.vocabulary import KAOMOJI, escaped, keys, label_spelling


@pytest.mark.parametrize("kaomoji", sorted(KAOMOJI))
def test_kaomoji_keep_their_underscores(kaomoji: str) -> None:
    assert label_spelling(kaomoji) == kaomoji


def test_there_are_nineteen_kaomoji() -> None:
    assert len(KAOMOJI) == 19


@pytest.mark.parametrize(
    ("label", "spelling"),
    [
        ("long_hair", "long hair"),
        ("a_b", "a b"),
        ("saber_(fate)", "saber (fate)"),
        ("artoria_pendragon_(lancer)_(fate)", "artoria pendragon (lancer) (fate)"),
        (":d", ":d"),
        ("k-on!", "k-on!"),
        ("1girl", "1girl"),
        ("_", "_"),
    ],
)
def test_labels_are_written_with_spaces(label: str, spelling: str) -> None:
    assert label_spelling(label) == spelling


def test_brackets_are_escaped_only_on_demand() -> None:
    assert escaped("saber (fate)") == r"saber \(fate\)"
    assert escaped("plain") == "plain"


def test_keys_make_spellings_equal() -> None:
    assert keys(["Long_Hair", "long hair", r"saber \(fate\)"]) == {"long hair", "saber (fate)"}
