from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.tags.kinds import Kind, kind_of, people

GOLDEN = Path(__file__).parents[1] / "golden"


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
        # what stands in brackets, what was taken off, what is done to a thing, what the thing really is
        ("bow (weapon)", "thing"),
        ("bow (clothes)", "clothes"),
        ("ring (fate)", "other"),
        ("no hat", "other"),
        ("no pupils", "eyes"),
        ("hat removed", "other"),
        ("unworn_hat", "other"),
        ("skirt hold", "pose"),
        ("dress tug", "pose"),
        ("shirt lift", "pose"),
        ("adjusting eyewear", "pose"),
        ("wedding dress", "clothes"),
        ("string bikini", "clothes"),
        ("ring light", "background"),
        ("scar on face", "body"),
        ("sleeves rolled up", "clothes"),
        ("hair over shoulder", "hair"),
        ("bowl cut", "hair"),
        ("facial mark", "body"),
        ("camisole", "clothes"),
        ("^_^", "expression"),
    ],
)
def test_words_tell_what_a_tag_is_about(tag: str, kind: Kind) -> None:
    assert kind_of(tag) == kind


def _sorted_by_hand() -> list[tuple[str, str]]:
    lines = (GOLDEN / "tag_kinds.txt").read_text(encoding="utf-8").replace("\n    ", " ").splitlines()
    parts = [line.partition(": ")[::2] for line in lines if not line.startswith("#")]
    return [(tag, kind) for kind, tags in parts for tag in tags.split(", ")]


def test_tags_in_use_are_about_what_a_person_says_they_are() -> None:
    table = _sorted_by_hand()
    wrong = {tag: (kind_of(tag), kind) for tag, kind in table if kind_of(tag) != kind}
    assert len(table) > 1900
    assert wrong == {}


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
