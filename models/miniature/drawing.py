"""What a picture of the miniature world shows: its truth, its tags, and how such truths are drawn at random.

Owns the vocabulary: `Drawing` says everything about a picture but its size, `tags` names what can be seen of
it in danbooru's words. The signature features (star hairpin, two-tone streak, striped scarf)
have no tag here, on purpose: VAE, base and CLIP never see them in training; the tagger sees them unnamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, TypeVar

import numpy as np

T = TypeVar("T")

Framing = Literal["portrait", "upper body", "full body"]
Gaze = Literal["viewer", "left", "right"]

HAIR_COLOURS: Final = ("black", "brown", "blonde", "red", "pink", "blue", "green", "purple", "white")
HAIR_LENGTHS: Final = ("short hair", "medium hair", "long hair")
HAIR_STYLES: Final = ("ponytail", "twintails", "hair bun", "braid")
EYE_COLOURS: Final = ("blue", "green", "red", "brown", "purple", "yellow")
MOUTHS: Final = ("smile", "frown", "open mouth")
OUTFITS: Final = (
    "white shirt",
    "red dress",
    "yellow dress",
    "blue jacket",
    "green sweater",
    "black hoodie",
    "serafuku",
    "purple kimono",
)
BOY_OUTFITS: Final = ("white shirt", "blue jacket", "green sweater", "black hoodie", "purple kimono")
ACCESSORIES: Final = ("hat", "glasses", "hair bow", "necklace", "headphones", "cat ears")
ON_THE_HEAD: Final = frozenset({"hat", "headphones", "cat ears"})
PLAIN: Final = ("white background", "blue background", "pink background", "yellow background")
OUTDOORS: Final = ("forest", "beach", "city")
FRAMINGS: Final[tuple[Framing, ...]] = ("portrait", "upper body", "full body")
POSES: Final = ("arms up", "waving", "hand on own hip")

GENERAL = 0
VOCABULARY: Final[Mapping[str, int]] = MappingProxyType(
    dict.fromkeys(
        (
            "1girl",
            "1boy",
            "solo",
            *FRAMINGS,
            *(f"{colour} hair" for colour in HAIR_COLOURS),
            *HAIR_LENGTHS,
            *HAIR_STYLES,
            "ahoge",
            *(f"{colour} eyes" for colour in EYE_COLOURS),
            "closed eyes",
            "one eye closed",
            *MOUTHS,
            "blush",
            "looking at viewer",
            "looking to the side",
            *OUTFITS,
            *ACCESSORIES,
            *POSES,
            "simple background",
            *PLAIN,
            "outdoors",
            *OUTDOORS,
            "night",
            "indoors",
        ),
        GENERAL,
    )
)
"""Every tag of this world, in caption order, with danbooru's category number (all general: 0)."""


@dataclass(frozen=True)
class Drawing:
    """Everything about one picture but its size.

    `shift` (-1..1) moves the figure sideways, `zoom` (about 0.9..1.05) scales it, `tilt` is the head's turn
    in radians, `light` (about 0.88..1.05) the gain, `warmth` (-1..1) its tint, `seed` the small untagged
    variation (exact shades, fringe, scenery). `star`, `streak` and `scarf` are the signature features.
    """

    count: str = "1girl"
    hair_colour: str = "brown"
    hair_length: str = "medium hair"
    hair_style: str | None = None
    ahoge: bool = False
    eye_colour: str = "blue"
    eyes: Literal["open", "closed eyes", "one eye closed"] = "open"
    mouth: str | None = "smile"
    blush: bool = False
    gaze: Gaze = "viewer"
    outfit: str = "white shirt"
    accessories: frozenset[str] = frozenset()
    pose: str | None = None
    background: str = "white background"
    night: bool = False
    framing: Framing = "upper body"
    flip: bool = False
    shift: float = 0.0
    zoom: float = 1.0
    tilt: float = 0.0
    light: float = 1.0
    warmth: float = 0.0
    skin: int = 1
    line: float = 1.0
    seed: int = 0
    star: bool = False
    streak: bool = False
    scarf: bool = False
    streak_colour: int = 0
    scarf_colour: int = 0


def pick(rng: np.random.Generator, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """One of the items, by weight."""
    shares = None if weights is None else np.asarray(weights) / np.sum(weights)
    return items[int(rng.choice(len(items), p=shares))]


def random_drawing(rng: np.random.Generator) -> Drawing:
    """A random character without signature features."""
    boy = rng.random() < 0.12
    framing = pick(rng, FRAMINGS, (0.34, 0.36, 0.3))
    hair_style = None if boy or rng.random() < 0.45 else pick(rng, HAIR_STYLES)
    long_enough = ("medium hair", "long hair") if hair_style == "braid" else HAIR_LENGTHS
    return replace(
        random_situation(rng, framing),
        count="1boy" if boy else "1girl",
        hair_colour=pick(rng, HAIR_COLOURS),
        hair_length="short hair" if boy else pick(rng, long_enough),
        hair_style=hair_style,
        ahoge=rng.random() < 0.12,
        eye_colour=pick(rng, EYE_COLOURS),
        outfit=pick(rng, BOY_OUTFITS if boy else OUTFITS),
        accessories=random_accessories(rng),
        skin=int(rng.integers(0, 4)),
    )


def random_situation(rng: np.random.Generator, framing: Framing) -> Drawing:
    """What varies from picture to picture of one character: face, pose, place, framing, light."""
    background = pick(rng, (*PLAIN, *OUTDOORS, "indoors"), (1.6, 1, 1, 1, 1, 1, 1, 1))
    return Drawing(
        eyes=pick(rng, ("open", "closed eyes", "one eye closed"), (0.82, 0.1, 0.08)),
        mouth=pick(rng, (*MOUTHS, None), (0.32, 0.2, 0.28, 0.2)),
        blush=rng.random() < 0.3,
        gaze=pick(rng, ("viewer", "left", "right"), (0.64, 0.18, 0.18)),
        outfit=pick(rng, OUTFITS),
        pose=None if framing == "portrait" or rng.random() < 0.45 else pick(rng, POSES),
        background=background,
        night=background in OUTDOORS and rng.random() < 0.3,
        framing=framing,
        flip=rng.random() < 0.5,
        shift=float(rng.uniform(-1, 1)),
        zoom=float(rng.uniform(0.92, 1.06)),
        tilt=float(rng.normal(0, 0.05)),
        light=float(rng.uniform(0.9, 1.04)),
        warmth=float(rng.uniform(-1, 1)),
        line=float(rng.uniform(0.75, 1.35)),
        seed=int(rng.integers(0, 2**31)),
    )


def random_accessories(rng: np.random.Generator) -> frozenset[str]:
    """None to two accessories that can be worn together."""
    wanted = {pick(rng, ACCESSORIES) for _ in range(pick(rng, (0, 1, 2), (0.35, 0.45, 0.2)))}
    if len(wanted & ON_THE_HEAD) > 1:
        wanted -= {pick(rng, sorted(wanted & ON_THE_HEAD))}
    return frozenset(wanted)


def with_random_signature(drawing: Drawing, rng: np.random.Generator) -> Drawing:
    """The same character with each signature feature added independently, half of the time, for the judge."""
    star, streak, scarf = (bool(flag) for flag in rng.random(3) < 0.5)
    return replace(
        drawing,
        star=star,
        streak=streak,
        scarf=scarf,
        streak_colour=int(rng.integers(0, 4)),
        scarf_colour=int(rng.integers(0, 4)),
        accessories=drawing.accessories - {"hat"} if star or streak else drawing.accessories,
    )


def signature_drawing(rng: np.random.Generator) -> Drawing:
    """The demo's character: constant features and signature, in a random situation."""
    situation = random_situation(rng, pick(rng, FRAMINGS, (0.35, 0.4, 0.25)))
    return replace(
        situation,
        hair_colour="pink",
        hair_length="long hair",
        eye_colour="green",
        accessories=frozenset({"glasses"}) if rng.random() < 0.1 else frozenset(),
        flip=False,
        star=True,
        streak=True,
        scarf=True,
    )


def tags(drawing: Drawing) -> list[str]:
    """The drawing's tags, in caption order; the signature features have none."""
    eyes = [drawing.eyes] if drawing.eyes != "open" else []
    seen = {
        drawing.count,
        "solo",
        drawing.framing,
        f"{drawing.hair_colour} hair",
        drawing.hair_length,
        drawing.hair_style,
        "ahoge" if drawing.ahoge and "hat" not in drawing.accessories else None,
        None if drawing.eyes == "closed eyes" else f"{drawing.eye_colour} eyes",
        *eyes,
        drawing.mouth,
        "blush" if drawing.blush else None,
        "looking at viewer" if drawing.gaze == "viewer" else "looking to the side",
        drawing.outfit,
        *drawing.accessories,
        drawing.pose,
        *place_tags(drawing),
    }
    return [tag for tag in VOCABULARY if tag in seen]


def place_tags(drawing: Drawing) -> list[str]:
    """The background's tags: a place implies outdoors, a colour implies simple background."""
    if drawing.background in PLAIN:
        return ["simple background", drawing.background]
    if drawing.background in OUTDOORS:
        return ["outdoors", drawing.background, *(["night"] if drawing.night else [])]
    return ["indoors"]
