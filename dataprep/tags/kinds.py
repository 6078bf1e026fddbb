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


# By the last word of a tag, else the first.
_WORDS: Final = _by_word(
    _table(
        """
hair: hair hairs bangs ponytail twintails ahoge braid braids bun sidelocks bob hairstyle dreadlocks afro
    drills fringe pigtails mohawk undercut widow's peak
eyes: eyes pupils sclera eyelashes
body: skin breasts ears tail wings horns horn freckles mole scar scars fangs fang tan tattoo beard
    mustache eyebrows muscular abs stubble thighs halo elf height antlers feathers fur wing girl boy
    woman man female male skinned loli shota petite tall robot android cyborg makeup eyeshadow nails
    eyeliner fingernails bald goatee bandaid polish fluff prosthesis
    navel collarbone cleavage mechanical prosthetic bandages
clothes: shirt dress jacket sweater hoodie skirt pants shorts serafuku kimono uniform coat socks shoes
    boots thighhighs pantyhose gloves swimsuit bikini leotard apron vest cardigan blouse jeans suit cape
    cloak robe yukata armor sleeves sleeve collar bra panties underwear footwear sandals sneakers
    legwear kneehighs t-shirt top tops bodysuit turtleneck sleeveless clothes belt loafers heels china
    overalls sarashi outfit costume poncho warmers guards trim frills lace midriff plaid zettai
    barefoot cuffs gauntlets shawl hakama buruma garter straps uniforms
accessory: hat glasses bow necklace headphones ribbon hairpin hairband hairclip scarf earrings choker
    necktie bowtie ornament jewelry bracelet ring eyepatch mask headband tiara crown eyewear sunglasses
    headwear beret cap helmet bag backpack watch piercing goggles scrunchie flower brooch pendant veil
    hood monocle headset amulet wreath headgear pin piercings anklet necklaces bracelets rings
expression: smile frown blush grin tears crying angry sad happy surprised smirk pout open-mouth mouth
    tongue teeth laughing expression expressionless sweatdrop shy nervous sleepy embarrassed :d :o ;d :3
    >:) ^_^ >_< @_@ ^^ o_o smiling sweat drool closed
framing: portrait view shot body close-up focus angle pov perspective split-screen cowboy wide
background: background outdoors indoors forest beach city sky night day sunset ocean sea water street
    classroom bedroom room window tree trees flowers grass snow mountain mountains building buildings
    cloud clouds sunlight moon stars rain cityscape park garden field bed chair desk table wall fence
    road stage crowd interior lights pool couch sofa pillow pillows blanket curtain curtains floor
    ceiling door doorway stairs bridge railing balcony rooftop shelf bookshelf lamp lantern lamppost
    blossoms petals leaf leaves plant plants bush bamboo vines ivy roots rock rocks stone cliff cave
    river lake waterfall pond desert island shore horizon path bench swing tent house castle church
    shrine temple torii ruins tower skyscraper skyline village town alley street sidewalk crosswalk
    station train-interior hallway corridor kitchen bathroom bathtub shower onsen library office shop
    store restaurant cafe bar school gym hospital arena fireworks rainbow fog mist smoke fire flame
    star starry sparkle bubble bubbles snowflakes snowing raining confetti shadow architecture scenery
    landscape tatami carpet rug sunrise dusk dawn evening twilight
style: monochrome sketch greyscale lineart painting watercolor style comic 4koma chibi pixel render
    photo illustration cel-shading realistic art traditional colors theme outline halftone
    photorealistic artstyle (style) (medium) (artwork) media impasto coloring palette shading views blurry
    bokeh blur contrast grain flare aberration artifacts screentones border letterboxed pillarboxed
    cover collage reference spread-page hatching crosshatching brushstrokes pastel ukiyo-e pointillism
    surreal abstract minimalism colorful lighting backlighting exposure speedlines lines
thing: food cake bread fruit apple banana orange strawberry cherry lemon peach watermelon grapes meat
    fish-dish sushi rice noodles ramen soup egg eggs bento sandwich burger pizza candy lollipop chocolate
    cookie cookies donut pastry popsicle cream tea coffee milk juice drink beer wine sake alcohol cup mug
    glass bottle can teacup teapot kettle plate bowl spoon fork knife chopsticks tray
    bicycle bike motorcycle car truck bus train tram boat ship aircraft airplane helicopter vehicle tank
    spacecraft scooter skateboard wheel
    cat dog bird birds fish horse rabbit bunny mouse bear fox wolf dragon snake frog butterfly insect
    bee spider owl crow penguin chicken duck cow pig sheep lion tiger elephant monkey panda dolphin whale
    shark octopus crab jellyfish turtle dinosaur animal animals creature pokemon
    sword katana knife-weapon gun rifle handgun pistol weapon polearm spear axe bow-weapon arrow arrows
    shield staff wand hammer scythe dagger whip bomb
    guitar piano violin drum drums flute trumpet microphone instrument
    book books pen pencil paper letter card cards box gift bucket broom rope chain ladder basket bouquet
    phone smartphone cellphone computer laptop keyboard monitor television camera clock controller
    console toy doll ball balloon balloons kite dice puppet plush figurine umbrella parasol stick cane
    fan candle cigarette pipe mirror towel tissue sign flag banner poster money coin key scissors
    syringe pill skull bone statue cushion furniture hourglass telescope binoculars map globe
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
    from behind, profile, depth of field, foreshortening, fisheye
accessory: hair ornament, hair ribbon, hair bow, hair flower, hair bobbles, cat ears
hair: one side up, two side up, three side up, hair between eyes,
    hair over one eye, hair intakes, hair bun, double bun
eyes: heterochromia, tsurime, tareme, sanpaku, jitome
clothes: bare shoulders, bare arms, bare legs, off shoulder, striped, wet clothes
body: dark skin, makeup, lipstick, elf
style: black and white picture, flat color, spot color, partially colored, multiple views, film grain
thing: stuffed toy, stuffed animal, teddy bear, ice cream, hot dog, hand fan, hand mirror, walking stick,
    drinking glass, drinking straw, arm cannon, reading material
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
    if key in _WHOLE:
        return _WHOLE[key]
    words = key.split(" ")
    if len(words) == 2 and words[0] in _ATTRIBUTES and _WORDS.get(words[1]) in _WORN:
        return _WORDS[words[1]]
    if words[0] in _POSE:
        return "pose"
    if words[0] in ("mechanical", "prosthetic"):
        return "body"
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
