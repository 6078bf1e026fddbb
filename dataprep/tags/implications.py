"""Tags that say what another tag says already: a pinned table of implications, and endings that are a kind.

`long hair` gives way to `very long hair`, `dress` to `red dress`; `v` stays beside `gloves`, `car` beside
`scarf`, `gun` beside `finger gun`, `on stomach` beside `scar on stomach`. In doubt both stay: a tag too many
costs a token, one too few teaches something wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from dataprep.curate.captions import KAOMOJI, tag_key
from dataprep.tags.kinds import kind_of

# specific > general; written from how the taggers' vocabulary uses these words
_TABLE = """
very long hair > long hair
absurdly long hair > very long hair
very short hair > short hair
light brown hair > brown hair
dark blue hair > blue hair
light blue hair > blue hair
dark green hair > green hair
light green hair > green hair
light purple hair > purple hair
platinum blonde hair > blonde hair
side ponytail > ponytail
high ponytail > ponytail
low ponytail > ponytail
short ponytail > ponytail
short twintails > twintails
low twintails > twintails
double bun > hair bun
single hair bun > hair bun
side braid > braid
single braid > braid
twin braids > braid
french braid > braid
crown braid > braid
huge breasts > large breasts
gigantic breasts > huge breasts
cat girl > animal ears
cat ears > animal ears
dog ears > animal ears
fox ears > animal ears
rabbit ears > animal ears
wolf ears > animal ears
horse ears > animal ears
mouse ears > animal ears
cat tail > tail
fox tail > tail
demon tail > tail
wolf tail > tail
serafuku > school uniform
miniskirt > skirt
microskirt > skirt
pencil skirt > skirt
pleated skirt > skirt
denim skirt > skirt
short shorts > shorts
micro shorts > shorts
denim shorts > shorts
school swimsuit > swimsuit
one-piece swimsuit > swimsuit
bikini > swimsuit
string bikini > bikini
beret > hat
baseball cap > hat
witch hat > hat
top hat > hat
straw hat > hat
sun hat > hat
peaked cap > hat
santa hat > hat
beanie > hat
round eyewear > glasses
semi-rimless eyewear > glasses
under-rim eyewear > glasses
black-framed eyewear > glasses
red-framed eyewear > glasses
detached sleeves > sleeves
thigh boots > boots
knee boots > boots
ankle boots > boots
high heel boots > boots
high heel boots > high heels
black thighhighs > thighhighs
white thighhighs > thighhighs
striped thighhighs > thighhighs
elbow gloves > gloves
fingerless gloves > gloves
partially fingerless gloves > gloves
bowtie > bow
red bowtie > bowtie
black bowtie > bowtie
hair ribbon > ribbon
neck ribbon > ribbon
light smile > smile
grin > smile
evil grin > grin
evil smile > smile
wavy mouth > mouth
v-shaped eyebrows > eyebrows
thick eyebrows > eyebrows
full blush > blush
light blush > blush
nose blush > blush
white background > simple background
black background > simple background
grey background > simple background
blue background > simple background
pink background > simple background
red background > simple background
yellow background > simple background
green background > simple background
purple background > simple background
orange background > simple background
brown background > simple background
gradient background > simple background
two-tone background > simple background
blue sky > sky
night sky > sky
night sky > night
cloudy sky > sky
starry sky > night sky
holding sword > sword
holding gun > gun
holding weapon > weapon
holding umbrella > umbrella
holding phone > phone
holding cup > cup
katana > sword
sword > weapon
rifle > gun
handgun > gun
assault rifle > rifle
gun > weapon
double v > v
kneehighs > socks
black pantyhose > pantyhose
white pantyhose > pantyhose
full-face blush > blush
sitting on chair > sitting
sitting on bed > sitting
indian style > sitting
wariza > sitting
seiza > sitting
yokozuwari > sitting
crossed legs > sitting
on back > lying
on stomach > lying
on side > lying
all fours > kneeling
silent comic > comic
bamboo forest > forest
bare tree > tree
christmas tree > tree
palm tree > tree
pine tree > tree
crescent moon > moon
full moon > moon
falling petals > petals
rose petals > petals
flower field > field
potted plant > plant
cumulonimbus cloud > cloud
blank speech bubble > speech bubble
paper lantern > lantern
chain-link fence > fence
desk lamp > lamp
office chair > chair
school chair > chair
school desk > desk
tile floor > floor
machine gun > gun
submachine gun > gun
sniper rifle > rifle
kitchen knife > knife
alarm clock > clock
beach umbrella > umbrella
oil-paper umbrella > umbrella
acoustic guitar > guitar
bass guitar > guitar
electric guitar > guitar
grand piano > piano
video camera > camera
flip phone > phone
sports car > car
water bottle > bottle
wine bottle > bottle
milk bottle > bottle
beer mug > mug
coffee cup > cup
coffee mug > mug
disposable cup > cup
birthday cake > cake
fried egg > egg
polar bear > bear
wide spread legs > spread legs
french kiss > kiss
group hug > hug
""".strip()

# Words that turn the meaning of what follows round: `no shoes` is not a kind of `shoes`.
_TURNING_WORDS: Final = """
adjusting after alternate another's bad between broken burning covered covering drawing eating facing fake
faux grabbing half hiding holding imminent implied invisible lifted looking missing no not off over own
playing prone removed removing shared spoken stuffed thinking torn toy under unworn used without wrong
"""
_TURNING: Final = frozenset(_TURNING_WORDS.split())
# With one of these inside, the last word only tells where: `scar on stomach`, `depth of field`.
_RELATING_WORDS: Final = """
above across against and around as at behind below beside between by for from in inside into near of off on
out over own past than the through to under up with without
"""
_RELATING: Final = frozenset(_RELATING_WORDS.split())
# Names whose last word they are no kind of: `wine glasses` are not worn, a `hot dog` is no animal; nor is a
# `black garter belt` a `belt`, though it is a `garter belt`. Found by reading all pairs of danbooru's tags of
# which one ends the other.
_NAMES: Final = """
air guitar, ammunition belt, anal beads, anal tail, ankle cuffs, arm belt, arm cuffs, breast curtains,
champagne glasses, chest belt, clitoral hood, cocktail glasses, condom belt, crotch plate, diving suit,
drinking glasses, facial hair, fat suit, frilled cuffs, fur collar, garter belt, hair horns, hair ring, hair
rings, high collar, hot dog, leg belt, licking lips, magnifying glass, mandarin collar, mobile suit, open
collar, opera glasses, parted lips, pilot suit, popped collar, power suit, pubic hair, puckered lips, pursed
lips, sailor collar, sea horse, shirt collar, shot glasses, single ear cover, single hair ring, sleeve cuffs,
soul gem, space suit, tail ring, taimanin suit, teddy bear, third eye, toilet paper, track suit, usekh collar,
watson cross, white day, wine glasses, wing collar, wrist cuffs, zero suit
"""
_OTHERWISE: Final = tuple(name.strip() for name in _NAMES.replace("\n", " ").split(","))
# Of what somebody has or wears, two words name a kind of what the last one names. Of all else only where
# the words before are plain ones: a `red car` is a car, but a `rubber duck` is no duck.
_BY_HEAD: Final = frozenset(("hair", "eyes", "body", "clothes", "accessory", "expression"))
_PLAIN_WORDS: Final = """
aqua big black blank blue brick broad brown cloudy colorful cracked dark giant gigantic glowing gradient
green grey huge large light little long medium multicolored old orange ornate pale pink plain
purple rainbow red round short silver small square starry stone striped tall thick thin tiny transparent
two-tone very white wide wooden yellow
"""
_PLAIN: Final = frozenset(_PLAIN_WORDS.split())
# Ending words that name no thing of their own: `behind` isn't told by `from behind`.
_ENDING_WORDS: Final = "above back behind below down focus front open out side up view"
_DRAWINGS: Final = frozenset(tag_key(tag) for tag in KAOMOJI)  # `^ ^` is no kind of `^`
_NOT_A_THING: Final = frozenset(_ENDING_WORDS.split())


def _read(table: str) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in table.splitlines():
        specific, general = (part.strip() for part in line.split(">"))
        found.setdefault(specific, set()).add(general)
    return MappingProxyType({specific: _all_above(specific, found) for specific in found})


def _all_above(tag: str, found: Mapping[str, set[str]]) -> frozenset[str]:
    # What a general tag implies is implied too, so that a missing middle loses nothing.
    direct = found.get(tag, set())
    return frozenset(direct).union(*(_all_above(general, found) for general in direct))


IMPLIES: Final = _read(_TABLE)


@lru_cache(maxsize=2**16)
def implied(tag: str) -> frozenset[str]:
    """What a tag says besides itself, as `tag_key`s: by the table, and endings that it is a kind of.

    `very long hair` implies `long hair` and `hair`; `no shoes` implies nothing, `finger gun` implies nothing.
    """
    key = tag_key(tag)
    words = key.split(" ")
    endings: set[str] = set()
    if not (key.endswith(")") or key in _DRAWINGS or words[-1] in _NOT_A_THING):
        endings = {end for i in range(1, len(words)) if _is_kind_of(words, end := " ".join(words[i:]))}
    return frozenset(endings) | IMPLIES.get(key, frozenset())


def _is_kind_of(words: list[str], end: str) -> bool:
    """Whether a tag is a kind of what its last words name.

    Args:
        words: the tag's.
        end: some of them, as one text.
    """
    key = " ".join(words)
    before = words[: len(words) - end.count(" ") - 1]
    if _TURNING.intersection(before) or _RELATING.intersection(words[:-1]):
        return False
    if any(f" {key}".endswith(f" {name}") and len(end) < len(name) for name in _OTHERWISE):
        return False
    kind = kind_of(key)
    if kind != kind_of(end):
        return False
    return kind in _BY_HEAD or _PLAIN.issuperset(before)


def overlaps(tags: Iterable[str]) -> dict[str, str]:
    """Tags that another tag of the same picture makes superfluous, each with that other tag."""
    tags = list(tags)
    by_key = {tag_key(tag): tag for tag in tags}
    return {by_key[general]: tag for tag in tags for general in implied(tag) if general in by_key}
