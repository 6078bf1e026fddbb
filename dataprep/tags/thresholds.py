"""From which probability a tag counts: the model card's precision = recall point, per category or per tag.

And how common each tag is at all: the share of the pictures that the tagger learned from.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dataprep.errors import ConfigError, ModelError
from dataprep.tags.absorb import Purpose
from dataprep.tags.vocabulary import CHARACTER, COPYRIGHT, GENERAL

if TYPE_CHECKING:
    from dataprep.models import Model
    from dataprep.stage import Stage

log = logging.getLogger(__name__)
DEFAULT_GENERAL: Final = 0.35
DEFAULT_CHARACTER: Final = 0.85
# Styles and concepts are tagged more coarsely, so that little of the content is left unnamed to be learned.
_COARSE: Final = 0.75
_FACTOR: Final[Mapping[Purpose, float]] = {
    "character": 1.0, "style": _COARSE, "outfit": _COARSE, "pose": _COARSE, "object": _COARSE
}  # fmt: skip


@dataclass(frozen=True)
class Thresholds:
    """Probabilities from which tags count.

    Attributes:
        general: of general tags and all others but names.
        character: of names of characters and series.
        per_tag: of single tags, which outrank their category's.
        said: where they come from, for people.
        base_rates: share of the pictures that the tagger learned from which have a tag, where it says so.
        own_general, own_character: the user's own number, which outranks those of single tags of its sort.
    """

    general: float = DEFAULT_GENERAL
    character: float = DEFAULT_CHARACTER
    per_tag: Mapping[str, float] = field(default_factory=dict)
    said: str = "no model card"
    base_rates: Mapping[str, float] = field(default_factory=dict)
    own_general: bool = False
    own_character: bool = False

    def chosen(self, general: float | None, character: float | None, purpose: Purpose) -> Thresholds:
        """These, with the user's own in their place, shifted for the purpose where the user has none."""
        factor = _FACTOR[purpose]
        return replace(
            self,
            general=self.general * factor if general is None else general,
            character=self.character if character is None else character,
            per_tag={tag: limit * factor for tag, limit in self.per_tag.items()},
            own_general=general is not None,
            own_character=character is not None,
        )

    def of(self, tags: Sequence[str], categories: Sequence[str]) -> NDArray[np.float32]:
        """The threshold of each tag, shape (tags,)."""
        pairs = zip(tags, categories, strict=True)
        return np.array([self._of(tag, category) for tag, category in pairs], dtype=np.float32)

    def _of(self, tag: str, category: str) -> float:
        named = category in (CHARACTER, COPYRIGHT)
        limit, own = (self.character, self.own_character) if named else (self.general, self.own_general)
        return limit if own else self.per_tag.get(tag, limit)


def check_floor(stages: Iterable[Stage], tagger: Model | None, where: str) -> None:
    """Refuse a floor of stored scores that is above the threshold from which tags count.

    Args:
        stages: with tag and prune; where one is missing there is nothing to compare.
        tagger: whose own thresholds hold where the user names none.
        where: what set the floor, for the message.
    Raises:
        ConfigError: scores between the threshold and the floor would be lost.
    """
    by_name: Mapping[str, Any] = {stage.name: stage for stage in stages}
    if not {"tag", "prune"} <= by_name.keys():
        return
    floor, prune = by_name["tag"].floor, by_name["prune"]
    limits = model_thresholds(tagger).chosen(
        prune.general_threshold, prune.character_threshold, prune.purpose
    )
    for sort, limit in (("general", limits.general), ("character", limits.character)):
        if floor > limit:
            raise ConfigError(
                f"{where}: tag.floor: {floor:g} is above the threshold of {sort} tags, {limit:.3g} "
                f"({limits.said}, purpose {prune.purpose}): the scores between are not kept, and their tags "
                f"would be lost; set tag.floor to {limit:.3g} or less, or prune.{sort}_threshold to {floor:g}"
            )
    lost = sum(limit < floor for limit in limits.per_tag.values())
    if lost and not limits.own_general:
        log.warning(
            "tag.floor: %g is above the thresholds that the model ships for %d of its tags: these count from "
            "%g on; a lower tag.floor honours them",
            floor, lost, floor,
        )  # fmt: skip


def model_thresholds(model: Model | None) -> Thresholds:
    """A tagger's thresholds: of its card (pins.toml), and per tag where its list of tags has them."""
    from dataprep.inference.tagger import read_labels
    from dataprep.models import facts

    if model is None:
        return Thresholds()
    known = facts(model)
    try:
        labels = read_labels(model.path)
    except ModelError:
        labels = None  # a model without a list of tags fails where it is used, with a better reason
    own = labels.category_thresholds if labels else {}
    source = f"the card of {model.name}" if "general" in known else f"the files of {model.name}"
    return Thresholds(
        float(known.get("general", own.get(GENERAL, DEFAULT_GENERAL))),
        float(known.get("character", own.get(CHARACTER, DEFAULT_CHARACTER))),
        labels.thresholds if labels else {},
        source if "general" in known or own else "this program's default",
        labels.base_rates if labels else {},
    )
