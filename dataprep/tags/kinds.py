"""What a tag is about: hair, eyes, clothes, pose, background and so on, told by its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from dataprep.captions import tag_key
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
    "other",
]

_PEOPLE = re.compile(
    r"^(\d\+?|multiple )(girl|boy|other|people|person)s?$|^solo( focus)?$|^no humans$|^(male|female) focus$"
)
_COUNTS = re.compile(r"^(\d+)\+?(girl|boy|other)s?$")


def _table(text: str, separator: str) -> dict[str, tuple[str, ...]]:
    """Lines of `kind: word, word`; a line that is indented goes on with the one before."""
    joined = text.strip().replace("\n    ", " ")
    parts = (line.partition(":")[::2] for line in joined.splitlines())
    return {kind: tuple(word.strip() for word in words.strip().split(separator)) for kind, words in parts}


def _by_word(table: Mapping[str, tuple[str, ...]]) -> dict[str, Kind]:
    return {word: kind for kind, words in table.items() for word in words}  # type: ignore[misc]


# By the last word of a tag, else the first.
_WORDS: Final = _by_word(
    _table(
        """
hair: hair hairs bangs ponytail twintails ahoge braid braids bun sidelocks bob hairstyle dreadlocks afro
    drills fringe pigtails mohawk undercut widow's peak
eyes: eyes pupils sclera eyelashes
body: skin breasts ears tail wings horns horn freckles mole scar scars fangs fang tan tattoo beard
    mustache eyebrows muscular abs stubble thighs halo elf height antlers feathers fur
clothes: shirt dress jacket sweater hoodie skirt pants shorts serafuku kimono uniform coat socks shoes
    boots thighhighs pantyhose gloves swimsuit bikini leotard apron vest cardigan blouse jeans suit cape
    cloak robe yukata armor sleeves sleeve collar bra panties underwear footwear sandals sneakers
    legwear kneehighs t-shirt top tops bodysuit turtleneck sleeveless clothes belt loafers heels china
    overalls sarashi outfit costume poncho
accessory: hat glasses bow necklace headphones ribbon hairpin hairband hairclip scarf earrings choker
    necktie bowtie ornament jewelry bracelet ring eyepatch mask headband tiara crown eyewear sunglasses
    headwear beret cap helmet bag backpack watch piercing goggles scrunchie flower brooch pendant veil
    hood monocle headset amulet
expression: smile frown blush grin tears crying angry sad happy surprised smirk pout open-mouth mouth
    tongue teeth laughing expression expressionless sweatdrop shy nervous sleepy embarrassed :d :o ;d :3
    >:) ^_^ >_< @_@ ^^ o_o smiling sweat drool closed
framing: portrait view shot body close-up focus angle pov perspective split-screen cowboy wide
background: background outdoors indoors forest beach city sky night day sunset ocean sea water street
    classroom bedroom room window tree trees flowers grass snow mountain mountains building buildings
    cloud clouds sunlight moon stars rain cityscape park garden field bed chair desk table wall fence
    road stage crowd interior lights pool
style: monochrome sketch greyscale lineart painting watercolor style comic 4koma chibi pixel render
    photo illustration cel-shading realistic art traditional colors theme outline halftone
""",
        " ",
    )
)
# Tags whose words mislead.
_WHOLE: Final = _by_word(
    _table(
        """
expression: closed eyes, one eye closed, half-closed eyes, wide-eyed, open mouth, closed mouth,
    parted lips, tongue out
pose: looking at viewer
framing: full body, upper body, lower body, cowboy shot, dutch angle, from above, from below, from side,
    from behind, profile
accessory: hair ornament, hair ribbon, hair bow, hair flower, hair bobbles, cat ears
hair: hair between eyes, hair over one eye, hair intakes, hair bun, double bun
eyes: heterochromia
body: dark skin, makeup, lipstick, elf
style: black and white picture
""",
        ",",
    )
)
# By the first word of a tag, else the last.
_POSE: Final = frozenset(
    _table(
        """
pose: arm arms bent crossed crouching dancing drinking eating facing fighting floating flying from hand
    hands head holding hug hugging jumping kiss kneeling leaning leg legs looking lying on
    outstretched own peace pointing reaching reading running salute sitting sleeping spread
    squatting standing stretching v walking waving
""",
        " ",
    )["pose"]
)
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
    if key in _WHOLE:
        return _WHOLE[key]
    words = key.split(" ")
    if words[0] in _POSE:
        return "pose"
    for word in (words[-1], words[0]):
        if word in _WORDS:
            return _WORDS[word]
    return "pose" if words[-1] in _POSE else "other"


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
