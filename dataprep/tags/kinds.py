"""What a tag is about: hair, eyes, clothes, pose, background and so on, told by its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from dataprep.curate.captions import KAOMOJI, is_sentence_word, tag_key, tags_of
from dataprep.tags.kind_words import WHOLE, WORDS
from dataprep.tags.vocabulary import CHARACTER, COPYRIGHT

Kind = Literal[
    "people",
    "name",
    "hair",
    "eyes",
    "body",
    "clothes",
    "accessory",
    "expression",
    "pose",
    "framing",
    "background",
    "style",
    "thing",  # put beside the subject: food, vehicles, animals, weapons, instruments
    "other",
]

_PEOPLE = re.compile(
    r"^(\d\+?|multiple )(girl|boy|other|people|person)s?$|^solo( focus)?$|^no humans$|^(male|female) focus$"
    r"|^(hetero|yuri|yaoi|couple|group)$"
)
_COUNTS = re.compile(r"^(\d+)\+?(girl|boy|other)s?$")


def _table(text: str, separator: str) -> dict[str, tuple[str, ...]]:
    """Lines of `kind: word, word`; a line that is indented goes on with the one before."""
    joined = text.strip().replace("\n    ", " ")
    parts = (line.partition(":")[::2] for line in joined.splitlines())
    return {kind: tuple(word.strip() for word in words.strip().split(separator)) for kind, words in parts}


def _by_word(table: Mapping[str, tuple[str, ...]]) -> dict[str, Kind]:
    return {word: kind for kind, words in table.items() for word in words}  # type: ignore[misc]


_WORDS: Final = _by_word(_table(WORDS, " "))
_WHOLE: Final = _by_word(_table(WHOLE, ","))
# What stands in brackets behind a word says what it is, not whose: `bow (weapon)`.
_QUALIFIERS: Final = _by_word(
    _table(
        """
thing: animal bird computer creature drink fish food fruit game gun instrument insect machine music
    object plant pokemon projectile sport tool toy vehicle vegetable weapon
clothes: clothing clothes garment uniform
accessory: accessory jewelry
hair: hair hairstyle
pose: gesture pose posture
expression: expression face
background: flower place season location building weather
style: artwork medium style technique
body: anatomy
other: company emblem event idiom logo meme phrase shape suit symbol text
""",
        " ",
    )
)
# As the last word these make an action of what stands before them: `skirt hold`, `dress tug`, `hat removed`.
_DONE_TO_WORDS: Final = """
adjust aside bite caress carry catch fondle grab grabbing grip hold holding hug kick kiss lift lifted
lifting peek pinch pinching poke pose press pull pulled pulling punch raised removal removed removing
rest rip ripped rub shake slap slip squeeze stance stroking tip tipping touch tuck tucked tucking tug
tugging undone unbuttoned unfastened unworn unzipped untied wagging wring
"""
_DONE_TO: Final = frozenset(_DONE_TO_WORDS.split())
# First words that end like an action and are none: `string bikini`, `wedding ring`.
_NO_ACTIONS_WORDS: Final = """
bowling clothing earring evening flying glowing hanging king matching missing mourning piercing plunging
ring sewing shining sparkling sterling string swimming training viking wedding wing
"""
_NO_ACTIONS: Final = frozenset(_NO_ACTIONS_WORDS.split())
_BEFORE_A_PLACE_WORDS: Final = """
across against around at behind below beneath between by from in inside near of on over past through to
under underneath with without
"""
_BEFORE_A_PLACE: Final = frozenset(_BEFORE_A_PLACE_WORDS.split())
# As first words: how it is for a while, not what it is like: `wet hair`, `torn dress`.
_STATES_WORDS: Final = """
bandaged bleeding bloody burnt covered damaged dirty drenched muddy oiled ripped soaked soiled stained
sweaty torn wet
"""
_STATES: Final = frozenset(_STATES_WORDS.split())
# What is done to a part of the body is a pose: `breasts squeezed together`, `hanging breasts`.
_SQUEEZED: Final = frozenset(
    ("bouncing", "bound", "hanging", "lifted", "pressed", "pushed", "squeezed", "squished")
)
_TURNED: Final = frozenset(("no", "unworn", "missing", "without"))
_DRAWINGS: Final = frozenset(tag_key(tag) for tag in KAOMOJI)
_GONE: Final = frozenset(("removed", "removal", "unworn"))
_PARTICLES: Final = frozenset(("apart", "back", "down", "off", "out", "together", "up"))
# By the first word of a tag, else the last.
_POSE: Final = frozenset(
    _table(
        """
pose: arm arms bent crossed crouching dancing drinking eating facing fighting finger fingers floating
    flying from hand hands head holding hug hugging jumping kiss kneeling leaning leg legs looking lying on
    outstretched own peace pointing reaching reading running salute sitting sleeping spread
    squatting standing stretching v walking waving
""",
        " ",
    )["pose"]
)
# First words of poses that also tell where something is worn, or what it is for: `arm tattoo`.
_ATTRIBUTES: Final = frozenset(
    ("arm", "arms", "crossed", "hand", "head", "leg", "legs", "reading", "running", "sleeping", "walking")
)
_WORN: Final = frozenset({"hair", "body", "clothes", "accessory"})
# Where one of these is seen, the absence of a tag of that kind says nothing about the subject.
HIDDEN_BY: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        kind: frozenset(tags)
        for kind, tags in _table(
            """
eyes: blindfold, closed eyes, covered eyes, faceless, facing away, from behind, hair over eyes,
    head out of frame, lower body, solid circle eyes, sunglasses
hair: bald, head out of frame, helmet, hood up, lower body
body: close-up, head out of frame, portrait
clothes: close-up, completely nude, eye focus, nude
accessory: close-up, head out of frame, lower body
""",
            ",",
        ).items()
    }
)


@lru_cache(maxsize=2**16)
def kind_of(tag: str, category: str = "general") -> Kind:
    """What a tag is about.

    Args:
        tag: any spelling.
        category: the model's; character and copyright tags are names.
    """
    if category in (CHARACTER, COPYRIGHT):
        return "name"
    key = tag_key(tag)
    if _PEOPLE.match(key):
        return "people"
    return "expression" if key in _DRAWINGS else _WHOLE.get(key) or _by_rule(key)


def _by_rule(key: str) -> Kind:
    """What a tag is about by its grammar: the thing that it names is its last word, but for some turns."""
    named, _, qualifier = key.partition(" (")
    if qualifier.endswith(")"):
        return _QUALIFIERS.get(qualifier[:-1].split(" ")[-1], "other")
    words = named.split(" ")
    if words[0] in _TURNED and len(words) > 1:
        return _absent(words[1:])
    if words[-1] in _DONE_TO and len(words) > 1:
        # That a thing was taken off says nothing of the subject; that it is held or lifted is a pose.
        return "other" if words[-1] in _GONE else "pose"
    if (kind := _for_a_while(words)) is not None:
        return kind
    if len(words) == 2 and words[0] in _ATTRIBUTES and _WORDS.get(words[1]) in _WORN:
        return _WORDS[words[1]]
    if words[0] in ("mechanical", "prosthetic"):
        return "body"
    if words[0] in _POSE or _is_action(words):
        return "pose"
    return _by_head(words)


def _for_a_while(words: list[str]) -> Kind | None:
    """What a tag is about that tells how something is or is held at the moment, None for others."""
    if len(words) < 2:
        return None
    if words[-2:] == ["on", "top"]:
        return "pose"
    kind = _by_head(words)
    if words[0] in _STATES or words[-1] == "out":
        return "other" if kind in _WORN else None
    return "pose" if kind == "body" and _SQUEEZED.intersection(words) else None


def _absent(words: list[str]) -> Kind:
    """What `no X` is about: X, if that is part of a body or of the picture; if X is worn, nothing known."""
    kind = kind_of(" ".join(words))
    return "other" if kind in ("clothes", "accessory", "thing") else kind


def _is_action(words: list[str]) -> bool:
    """Whether a tag starts with what somebody does: `adjusting hair`; `wedding dress` does not."""
    first = words[0]
    return first.endswith("ing") and len(first) > 4 and first not in _NO_ACTIONS and first not in _WORDS


def _by_head(words: list[str]) -> Kind:
    """By the last word before a place: `scar on face` is a scar, `hair between eyes` hair."""
    place = next((i for i, word in enumerate(words) if i and word in _BEFORE_A_PLACE), len(words))
    head = words[place - 1]
    if place > 2 and (whole := _WHOLE.get(" ".join(words[place - 2 : place]))) is not None:
        return whole  # `black pubic hair` as `pubic hair`
    if (kind := _word_kind(head)) is not None:
        return kind
    # `sleeves rolled up`, `eyes closed`: what comes behind tells how the first word's thing is.
    states = words[1:place]
    if states and all(word in _PARTICLES or word.endswith("ed") for word in states):
        return _word_kind(words[0]) or "other"
    return "pose" if head in _POSE else "other"


def _word_kind(word: str) -> Kind | None:
    for form in (word, word.removesuffix("s"), word.removesuffix("es"), f"{word}s"):
        if form in _WORDS:
            return _WORDS[form]
    last = word.rpartition("-")[2]
    return _WORDS.get(last) if last != word else None


def known_tags(text: str) -> tuple[str, ...]:
    """Those of a caption's pieces that are tags in use by this module's tables: `solo`, never `a girl`."""

    def known(tag: str) -> bool:
        words = tag_key(tag).split(" ")
        spoken = len(words) > 1 and any(map(is_sentence_word, words))
        return len(words) <= 3 and not spoken and kind_of(tag) != "other"

    return tuple(tag for tag in tags_of(text) if known(tag))


def people(tags: frozenset[str]) -> int | None:
    """How many people a picture's tags (as `tag_key`s) speak of; None if they don't say. `2+` counts as 2."""
    counted = [int(match[1]) for tag in tags if (match := _COUNTS.match(tag))]
    multiple = sum(2 for tag in tags if tag in ("multiple girls", "multiple boys", "multiple others"))
    if counted or multiple:
        # "1girl" beside "2girls" is one tagger's doubt; "1girl" beside "1boy" is two people
        kinds: dict[str, int] = {}
        for tag in tags:
            match = _COUNTS.match(tag)
            if match:
                kinds[match[2]] = max(kinds.get(match[2], 0), int(match[1]))
        return max(sum(kinds.values()), multiple)
    if "solo" in tags:
        return 1
    return 0 if "no humans" in tags else None
