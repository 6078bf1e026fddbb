from __future__ import annotations

import pytest

from dataprep.curate.captions import KAOMOJI, tag_key
from dataprep.tags.aliases import ALIASES, canonical
from dataprep.tags.implications import IMPLIES


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("gray_hair", "grey hair"),
        ("Gray Background", "grey background"),
        ("blond hair", "blonde hair"),
        ("eyes closed", "closed eyes"),
        ("hand_on_hip", "hand on own hip"),
        ("peace sign", "v"),
        ("tie", "necktie"),
        ("tie-dye", "tie-dye"),
        ("Kaga_(azur_lane)", "Kaga_(azur_lane)"),
        ("long hair", "long hair"),
    ],
)
def test_other_words_for_a_tag_become_the_name_in_use(tag: str, expected: str) -> None:
    assert canonical(tag) == expected


def test_the_name_in_use_has_no_other_name() -> None:
    assert all(canonical(name) == name == tag_key(name) for name in ALIASES.values())


def test_kaomoji_and_tags_of_the_implication_table_are_names_in_use() -> None:
    assert all(canonical(tag) == tag for tag in KAOMOJI)
    assert all(canonical(tag) == tag for tag in IMPLIES)
