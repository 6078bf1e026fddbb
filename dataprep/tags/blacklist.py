"""Tags that say nothing about the picture's content: ratings, image quality, ownership, notes of a booru."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from dataprep.curate.captions import tag_key
from dataprep.tags.vocabulary import ARTIST, META, RATING

_CATEGORIES: Final = {RATING: "the rating", META: "about the file, not the picture", ARTIST: "who drew it"}
_LIST: Final = """
    absurdres, animated, artist logo, artist name, bad id, bad pixiv id, bad twitter id, character name,
    check translation, chinese commentary, commentary, commission, company name, content rating,
    copyright, copyright name, copyright notice, dated, duplicate, english commentary, fanbox reward,
    has bad revision, highres, incredibly absurdres, instagram username, jpeg artifacts, logo, lowres,
    md5 mismatch, mixed-language commentary, official art, paid reward available, partially translated,
    patreon logo, patreon reward, patreon username, pixiv logo, pixiv username, rating:explicit,
    rating:questionable, rating:safe, resized, revision, sample watermark, scan, scan artifacts,
    pixiv id, signature, skeb commission, source smaller, tagme, timestamp, third-party edit, translated,
    translation request, twitter logo, twitter username, upscaled, username, variant set,
    virtual youtuber, watermark, web address, weibo username
"""
# Whose logos stand on pictures that were posted there; others, `adidas logo`, are on what people wear.
_SITES: Final = """
    amazon artist artstation bilibili bluesky booth ci-en circle company copyright deviantart discord dlsite
    facebook fanbox fansly fantia gumroad instagram ko-fi line lofter newgrounds nijie patreon paypal picarto
    pinterest pixiv plurk reddit sample skeb social_media subscribestar telegram tiktok tinami tumblr twitch
    twitter vk website weibo x xiaohongshu youtube
"""
_LOGOS: Final = frozenset(f"{site.replace('_', ' ')} logo" for site in _SITES.split())
# What whoever drew, posted or sells a picture writes on it; of other names, `your name`, some are titles.
_NAMED: Final = """
    album artist author band brand character circle commissioner company copyright event game group magazine
    model pen photographer product real series ship show song staff studio translator unit user weapon
"""
_NAMES: Final = frozenset(f"{word} name" for word in _NAMED.split())
# Last words of the same: `fanbox username`.
_ENDINGS: Final = (
    " commentary",
    " request",
    " reward",
    " signature",
    " username",
    " watermark",
)
_TAGS: Final = frozenset(tag_key(tag) for tag in _LIST.replace("\n", " ").split(","))


def why_unwanted(tag: str, category: str, extra: Iterable[str] = ()) -> str | None:
    """Why a tag never goes into a caption, None if it may.

    Args:
        tag: any spelling.
        category: the model's, such as general or rating.
        extra: the user's own list; `*` and `?` are wildcards.
    """
    if category in _CATEGORIES:
        return f"blacklist: {_CATEGORIES[category]}"
    key = tag_key(tag)
    pattern = next((one for one in extra if fnmatchcase(key, tag_key(one))), None)
    if pattern is not None:
        return f"blacklist: your list has {pattern!r}"
    if key in _TAGS or key in _LOGOS or key in _NAMES or key.endswith(_ENDINGS):
        return "blacklist: says nothing about what is seen"
    return None
