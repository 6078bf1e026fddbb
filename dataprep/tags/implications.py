"""Tags that say what another tag says already: a pinned table of implications, and endings by whole words.

`long hair` gives way to `very long hair`, `dress` to `red dress`; `v` stays beside `gloves`, `car` beside
`scarf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from dataprep.captions import KAOMOJI, tag_key

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
""".strip()

# First words that turn the meaning round: `no shoes` is not a kind of `shoes`.
_TURNING_WORDS: Final = """
adjusting alternate another's between covered covering eating facing fake grabbing half hiding
holding lifted looking missing no not off over removed removing stuffed thinking torn toy under unworn without
"""
_TURNING: Final = frozenset(_TURNING_WORDS.split())
# Names whose last word they are no kind of: `wine glasses` are not worn, a `hot dog` is no animal.
_NAMES: Final = """
air guitar, champagne glasses, cocktail glasses, drinking glasses, facial hair, hot dog, magnifying glass,
opera glasses, pubic hair, sea horse, shot glasses, teddy bear, third eye, toilet paper, wine glasses
"""
_OTHERWISE: Final = frozenset(name.strip() for name in _NAMES.split(","))
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
    """What a tag says besides itself, as `tag_key`s: by the table, and every ending of whole words.

    `very long hair` implies `long hair` and `hair`; `no shoes` implies nothing, `k-on!` implies nothing.
    """
    key = tag_key(tag)
    words = key.split(" ")
    endings: set[str] = set()
    if words[0] not in _TURNING and not key.endswith(")") and key not in _DRAWINGS | _OTHERWISE:
        endings = {" ".join(words[i:]) for i in range(1, len(words)) if words[-1] not in _NOT_A_THING}
    return frozenset(endings) | IMPLIES.get(key, frozenset())


def overlaps(tags: Iterable[str]) -> dict[str, str]:
    """Tags that another tag of the same picture makes superfluous, each with that other tag."""
    tags = list(tags)
    by_key = {tag_key(tag): tag for tag in tags}
    return {by_key[general]: tag for tag in tags for general in implied(tag) if general in by_key}
