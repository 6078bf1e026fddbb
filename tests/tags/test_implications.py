from __future__ import annotations

import pytest

from dataprep.curate.captions import tag_key
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
        # the longer is no kind of the shorter: its last word tells where, or the two are a name
        (["on stomach", "mole on stomach", "scar on stomach"], set()),
        (["field", "depth of field", "track and field"], set()),
        (["gun", "weapon", "finger gun"], {"weapon"}),  # by gun
        (["weapon", "water gun", "finger gun"], set()),
        (["bubble", "speech bubble", "thought bubble"], set()),
        (["wall", "fourth wall"], set()),
        (["hug", "pillow hug", "object hug"], set()),
        (["on head", "hat on head", "legs", "hugging own legs"], set()),
        (["suit", "mobile suit", "duck", "rubber duck", "card", "id card"], set()),
        (["day", "white day", "cat day", "hair", "pubic hair", "lips", "parted lips"], set()),
        (["kiss", "imminent kiss", "after kiss", "heart", "spoken heart"], set()),
        (["belt", "garter belt"], set()),
        (["belt", "garter belt", "black garter belt"], {"garter belt"}),
        (["collar", "sailor collar", "blue sailor collar"], {"sailor collar"}),
        # and where it is one, it still goes
        (["school uniform", "ooarai school uniform", "uniform"], {"school uniform", "uniform"}),
        (["hair ornament", "star hair ornament"], {"hair ornament"}),
        (["wall", "brick wall", "umbrella", "red umbrella"], {"wall", "umbrella"}),
        (["tree", "palm tree", "moon", "full moon"], {"tree", "moon"}),
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
