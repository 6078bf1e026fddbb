from __future__ import annotations

import pytest

from dataprep.captions import tag_key
from dataprep.tags.implications import IMPLIES, implied, overlaps


@pytest.mark.parametrize(
    ("tags", "superfluous"),
    [
        (["long hair", "very long hair"], {"long hair"}),
        (["long_hair", "Very_Long_Hair"], {"long_hair"}),
        (["dress", "red dress"], {"dress"}),
        (["school uniform", "serafuku"], {"school uniform"}),
        (["animal ears", "cat ears"], {"animal ears"}),
        (["simple background", "white background"], {"simple background"}),
        (["swimsuit", "bikini", "string bikini"], {"swimsuit", "bikini"}),
        (["v", "double v"], {"v"}),
        # what others' substring rules destroy
        (["v", "smile", "gloves"], set()),
        (["car", "scarf"], set()),
        (["suit", "swimsuit"], set()),
        (["tie", "necktie"], set()),
        (["hat", "hat ribbon"], set()),
        (["solo", "solo focus"], set()),
        (["shirt", "t-shirt"], set()),
        (["closed eyes", "half-closed eyes"], set()),
        # a first word that turns the meaning round
        (["shoes", "no shoes"], set()),
        (["pants", "without pants"], set()),
        (["hat", "unworn hat"], set()),
        (["shoulder", "off shoulder"], set()),
        (["viewer", "looking at viewer"], set()),
        (["1girl", "2girls"], set()),
        (["glasses", "wine glasses"], set()),
        (["dog", "hot dog", "stuffed dog"], set()),
        (["^", "^_^"], set()),
        (["(fate)", "saber (fate)"], set()),
        (["blue eyes", "red eyes", "blue hair"], set()),
        ([], set()),
    ],
)
def test_a_tag_gives_way_only_to_one_that_says_it(tags: list[str], superfluous: set[str]) -> None:
    assert set(overlaps(tags)) == superfluous


def test_overlap_names_the_tag_that_says_it() -> None:
    assert overlaps(["dress", "red dress"]) == {"dress": "red dress"}


def test_the_table_has_no_circles_and_final_spellings() -> None:
    for specific, generals in IMPLIES.items():
        assert specific == tag_key(specific)
        for general in generals:
            assert general == tag_key(general)
            assert specific not in implied(general), f"{specific} <> {general}"


def test_the_table_is_closed_so_that_a_missing_middle_loses_nothing() -> None:
    for specific, generals in IMPLIES.items():
        for general in generals:
            assert IMPLIES.get(general, frozenset()) <= implied(specific), specific
