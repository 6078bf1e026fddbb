"""Which tags the trigger word takes over: decisions with reasons, from how sure it is that a tag is constant.

What is constant in the subject and belongs to it is absorbed (not captioned, so that the trigger learns it);
what varies is kept; what is constant but does not belong to the subject is kept and reported as bleed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from dataprep.curate.captions import tag_key
from dataprep.tags.frequency import wilson_lower
from dataprep.tags.kinds import Kind, kind_of

Purpose = Literal["character", "style", "outfit", "pose", "object"]

# What belongs to the thing that is learned (first), and what may if it is there nearly always (second).
OWNED: Final[Mapping[Purpose, tuple[frozenset[Kind], frozenset[Kind]]]] = {
    "character": (frozenset({"hair", "eyes", "body", "name"}), frozenset({"clothes", "accessory"})),
    "style": (frozenset({"style"}), frozenset()),
    "outfit": (frozenset({"clothes", "accessory"}), frozenset()),
    "pose": (frozenset({"pose"}), frozenset({"expression"})),
    "object": (frozenset({"other"}), frozenset({"thing", "accessory", "clothes", "body"})),
}
# Share of pictures from which what can be taken off belongs to the subject; a tagger misses some of the rest.
NEARLY_ALWAYS: Final = 0.75
_UNKNOWN: Final = frozenset({"thing", "other"})  # a sword may be a knight's; a couch is nobody's
_CLASS_IMAGES: Final = 8  # from here on they are the contrast, below it the tagger's base rates are


@dataclass(frozen=True)
class Count:
    """How often a tag was seen.

    Attributes:
        hits: pictures of one subject that have it.
        total: pictures of one subject that could show it: not an eye colour where eyes are closed.
        pictures: pictures of one subject at all.
        contrast_hits, contrast_total: the same of class images.
        base_rate: share of all pictures that the tagger learned from; None: it does not say.
    """

    hits: int
    total: int
    pictures: int
    contrast_hits: int = 0
    contrast_total: int = 0
    base_rate: float | None = None


@dataclass(frozen=True)
class Policy:
    """What a user may decide about absorbing.

    Attributes:
        purpose: what is learned; decides which kinds of tag belong to it.
        share_from: Wilson lower bound of a tag's share from which it is constant.
        bleed_from: the same, from which a foreign constant is reported.
        fewest: pictures of one subject below which nothing is absorbed.
        absorb, keep: the user's lists; they outrank the counts, and what is kept is not absorbed.
    """

    purpose: Purpose = "character"
    share_from: float = 0.5
    bleed_from: float = 0.6
    fewest: int = 8
    absorb: Collection[str] = ()
    keep: Collection[str] = ()


@dataclass(frozen=True)
class Decision:
    """What becomes of a tag in the training captions, and why."""

    fate: Literal["kept", "absorbed"]
    rule: str
    lower: float  # Wilson lower bound of its share, 0..1
    bleeds: bool = False


def decide(tag: str, category: str, count: Count, policy: Policy) -> Decision:
    """The fate of one tag in training captions.

    Args:
        tag: any spelling.
        category: the model's, such as general or character.
        count: over active pictures with one subject; duplicates are no longer among them.
        policy: the user's settings.
    """
    lower = wilson_lower(count.hits, count.total)
    key = tag_key(tag)
    if key in {tag_key(one) for one in policy.keep}:
        return Decision("kept", f"kept: on your keep list; {_seen(count)}", lower)
    if key in {tag_key(one) for one in policy.absorb}:
        return Decision("absorbed", f"absorbed: on your absorb list; {_seen(count)}", lower)
    kind = kind_of(tag, category)
    if kind == "people":
        return Decision("kept", "kept: how many people there are is never part of a subject", lower)
    certain, possible = OWNED[policy.purpose]
    if kind in certain or kind in possible:
        return _owned(count, policy, lower, NEARLY_ALWAYS if kind in possible else 0.0)
    return _foreign(kind, count, policy, lower)


def _owned(count: Count, policy: Policy, lower: float, fewest_share: float) -> Decision:
    if lower < policy.share_from:
        bar = f"constant from {policy.share_from:.0%} with 95% confidence, this is {lower:.0%}"
        return Decision("kept", f"kept: varies; {_seen(count)} ({bar})", lower)
    if count.hits < fewest_share * count.total:
        bar = f"what can be taken off must be in {fewest_share:.0%}"
        return Decision("kept", f"kept: varies; {_seen(count)} ({bar})", lower)
    if count.pictures < policy.fewest:
        return Decision(
            "kept", f"kept: too few pictures to judge; {_seen(count)}, {policy.fewest} needed", lower
        )
    if _as_common_in_contrast(count, lower):
        return Decision("kept", f"kept: the class has it as well; {_seen(count)}{_contrast(count)}", lower)
    rule = f"absorbed: {_seen(count)} (at least {lower:.0%} with 95% confidence){_contrast(count)}"
    return Decision("absorbed", rule, lower)


def _foreign(kind: Kind, count: Count, policy: Policy, lower: float) -> Decision:
    bleeds = (
        lower >= policy.bleed_from
        and count.pictures >= policy.fewest
        and not _as_common_in_contrast(count, lower)
    )
    if kind in _UNKNOWN and bleeds:
        rule = (
            f"kept, may bleed: {_seen(count)} (at least {lower:.0%}): constant, but not known to belong to "
            f"{_a(policy.purpose)}: --absorb takes it"
        )
        return Decision("kept", rule, lower, bleeds=True)
    if bleeds:
        rule = (
            f"kept, may bleed: {_seen(count)} (at least {lower:.0%}), but {_article(kind)} is no part of the "
            f"{policy.purpose}; vary it, or the trigger may learn it too"
        )
        return Decision("kept", rule, lower, bleeds=True)
    return Decision(
        "kept",
        f"kept: {_article(kind)} is {_no_part(kind, policy.purpose)}; {_seen(count)} (at least {lower:.0%})",
        lower,
    )


def _no_part(kind: Kind, purpose: Purpose) -> str:
    return f"not known to belong to {_a(purpose)}" if kind in _UNKNOWN else f"no part of the {purpose}"


def _a(purpose: Purpose) -> str:
    return f"an {purpose}" if purpose[0] in "aeiou" else f"a {purpose}"


def _as_common_in_contrast(count: Count, lower: float) -> bool:
    # A handful of class images proves nothing about the class.
    if count.contrast_total >= _CLASS_IMAGES:
        return count.contrast_hits / count.contrast_total >= lower
    return count.base_rate is not None and count.base_rate >= lower


def _seen(count: Count) -> str:
    shown = "" if count.total == count.pictures else " that can show it"
    return f"in {count.hits} of {count.total} single-subject pictures{shown}"


def _contrast(count: Count) -> str:
    if count.contrast_total:
        return f", {count.contrast_hits / count.contrast_total:.0%} in class images"
    return "" if count.base_rate is None else f", {count.base_rate:.2g} of all pictures the tagger knows"


def _article(kind: Kind) -> str:
    return {
        "hair": "hair",
        "eyes": "an eye colour",
        "body": "a body feature",
        "name": "a name",
        "clothes": "clothing",
        "accessory": "an accessory",
        "expression": "an expression",
        "pose": "a pose",
        "framing": "the framing",
        "background": "a background",
        "style": "a style",
        "thing": "a thing beside it",
    }.get(kind, "this")
