from __future__ import annotations

import pytest

from dataprep.tags.kinds import Kind, kind_of, people


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("1girl", "people"),
        ("6+girls", "people"),
        ("multiple_boys", "people"),
        ("solo", "people"),
        ("pink hair", "hair"),
        ("twintails", "hair"),
        ("hair between eyes", "hair"),
        ("hair bun", "hair"),
        ("green eyes", "eyes"),
        ("closed eyes", "expression"),
        ("one eye closed", "expression"),
        ("open mouth", "expression"),
        ("dark skin", "body"),
        ("large breasts", "body"),
        ("red dress", "clothes"),
        ("serafuku", "clothes"),
        ("hair bow", "accessory"),
        ("hair ornament", "accessory"),
        ("glasses", "accessory"),
        ("striped scarf", "accessory"),
        ("looking at viewer", "pose"),
        ("hand on own hip", "pose"),
        ("arms up", "pose"),
        ("waving", "pose"),
        ("upper body", "framing"),
        ("from behind", "framing"),
        ("simple background", "background"),
        ("white background", "background"),
        ("night", "background"),
        ("forest", "background"),
        ("monochrome", "style"),
        ("pencil sketch", "style"),
        ("flat color", "style"),
        ("retro artstyle", "style"),
        ("1990s (style)", "style"),
        ("impasto", "style"),
        ("photorealistic", "style"),
        ("multiple views", "style"),
        ("couch", "background"),
        ("cherry blossoms", "background"),
        ("bridge", "background"),
        ("car", "thing"),
        ("food", "thing"),
        ("bicycle", "thing"),
        ("hetero", "people"),
        ("crossed bangs", "hair"),
        ("crossed arms", "pose"),
        ("arm tattoo", "body"),
        ("head wings", "body"),
        ("head tilt", "pose"),
        ("running shoes", "clothes"),
        ("holding hat", "pose"),
        ("two side up", "hair"),
        ("mechanical arms", "body"),
        ("xyzzy", "other"),
    ],
)
def test_words_tell_what_a_tag_is_about(tag: str, kind: Kind) -> None:
    assert kind_of(tag) == kind


def test_names_are_told_by_their_category() -> None:
    assert kind_of("saber (fate)", "character") == "name"


@pytest.mark.parametrize(
    ("tags", "count"),
    [
        ({"1girl"}, 1),
        ({"1girl", "solo"}, 1),
        ({"solo"}, 1),
        ({"1girl", "1boy"}, 2),
        ({"1girl", "2girls"}, 2),  # the tagger's doubt is not three people
        ({"multiple girls"}, 2),
        ({"2girls", "multiple girls"}, 2),
        ({"6+girls"}, 6),
        ({"no humans"}, 0),
        ({"hat"}, None),
    ],
)
def test_people_are_counted_from_tags(tags: set[str], count: int | None) -> None:
    assert people(frozenset(tags)) == count
