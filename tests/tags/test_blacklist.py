from __future__ import annotations

import pytest

from dataprep.tags.blacklist import why_unwanted


@pytest.mark.parametrize(
    "tag",
    [
        "watermark",
        "twitter_username",
        "Absurdres",
        "jpeg artifacts",
        "fanbox username",
        "weibo logo",
        "artist logo",
        "Company_Logo",
        "third-party watermark",
        "song name",
        "character_name",
        "artist name",
        "copyright name",
        "company name",
        "timestamp",
    ],
)
def test_what_is_not_seen_is_unwanted(tag: str) -> None:
    assert why_unwanted(tag, "general")


@pytest.mark.parametrize("category", ["rating", "meta", "artist"])
def test_some_categories_are_unwanted_whole(category: str) -> None:
    assert why_unwanted("anything", category)


@pytest.mark.parametrize(
    "tag",
    [
        "1girl",
        "signature pose",
        "logo print",
        "logo shirt",
        "adidas logo",
        "name tag",
        "your name",
        "call me by your name",
        "kimi no name",
        "hat",
        "water",
        "saber (fate)",
    ],
)
def test_content_is_wanted(tag: str) -> None:
    assert why_unwanted(tag, "general") is None


def test_the_users_list_takes_wildcards_and_any_spelling() -> None:
    assert "'*_focus'" in (why_unwanted("solo focus", "general", ["*_focus"]) or "")
    assert why_unwanted("focus group", "general", ["*_focus"]) is None
