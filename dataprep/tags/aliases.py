"""Other words for one tag: what older taggers, other vocabularies and people call it, and the name in use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from dataprep.curate.captions import tag_key

# name in use < other names, comma-separated; written from how the vocabularies changed over the years
_TABLE: Final = """
arms behind back < arms behind own back
blonde hair < blond hair, yellow hair, golden hair
blush < blushing
bowtie < bow tie
close-up < closeup
closed eyes < eyes closed
closed mouth < mouth closed
double v < double peace, double peace sign
from behind < from back, rear view
glasses < spectacles, eyeglasses
greyscale < grayscale
hair bun < bun (hair)
hairclip < hair clip
hairpin < hair pin
hand on own cheek < hand on cheek
hand on own chest < hand on chest
hand on own chin < hand on chin
hand on own face < hand on face
hand on own head < hand on head
hand on own hip < hand on hip
hands on own chest < hands on chest
hands on own hips < hands on hips
headphones < headphone
heterochromia < odd eyes, mismatched eyes
high heels < heels
hoodie < hooded sweatshirt
jewelry < jewellery
knee boots < knee-high boots, knee high boots
kneehighs < knee highs, knee-highs
light brown hair < light-brown hair
looking to the side < looking sideways
multicolored hair < multi-colored hair, multicoloured hair
necktie < tie
ocean < sea
one eye closed < wink, winking
open mouth < mouth open
pantyhose < tights
pointy ears < elf ears, pointed ears
ponytail < pony tail
rabbit ears < bunny ears
rabbit girl < bunny girl
rabbit tail < bunny tail
school swimsuit < sukumizu
serafuku < sailor uniform, seifuku
sitting < sitting down
smile < smiling
t-shirt < tee shirt, tshirt
thighhighs < thigh-highs, thigh highs
traditional media < traditional art
twintails < twin tails
two-tone hair < two-toned hair, two tone hair
v < peace sign, victory sign
"""
_WORDS: Final = MappingProxyType({"gray": "grey", "coloured": "colored"})  # one word inside any tag


def _read(table: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for line in table.strip().splitlines():
        name, others = (part.strip() for part in line.split("<"))
        found.update({other.strip(): name for other in others.split(",")})
    return MappingProxyType(found)


ALIASES: Final = _read(_TABLE)


@lru_cache(maxsize=2**16)
def canonical(tag: str) -> str:
    """The name in use of a tag; the tag as it is where no other is known.

    Args:
        tag: any spelling.
    """
    key = " ".join(_WORDS.get(word, word) for word in tag_key(tag).split(" "))
    known = ALIASES.get(key, key)
    return tag if known == tag_key(tag) else known
