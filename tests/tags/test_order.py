from __future__ import annotations

from dataprep.tags.kinds import kind_of
from dataprep.tags.order import GROUPS, group


def test_counts_come_first_then_solo_then_names_then_the_rest() -> None:
    tags = [("smile", "general"), ("saber (fate)", "character"), ("solo", "general"), ("1girl", "general")]
    groups = {tag: group(tag, kind_of(tag, category)) for tag, category in tags}
    assert sorted(groups, key=groups.__getitem__) == ["1girl", "solo", "saber (fate)", "smile"]


def test_every_group_has_room_in_the_sort_key() -> None:
    assert max(group(tag, kind_of(tag)) for tag in ("6+girls", "multiple boys", "solo focus", "hat")) < GROUPS
