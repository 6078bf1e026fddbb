"""What the four arms are compared by: shares over seeds, one table, and claims that can fail.

Pure functions of what judge and tagger saw in each picture. What counts as holding was written down before
the first run, and is not moved afterwards:

1. **The recipe works**: over the seeds' means, 80% or more of the pictures with the trigger show two or three
   of the signature features, under 10% without the trigger do, under 10% of those for the class word do, and
   the class word's tag entropy is within 10% of the base model's.
2. **Class images guard the prior**: without them the class word's tag entropy, of the base's, is lower.
3. **The trigger absorbs what is pruned**: with unpruned captions fewer pictures for "trigger and class word
   alone" show the character's constant features (of pink hair, green eyes and long hair those that the full
   recipe's captions leave to the trigger, averaged).
4. **Captions that tell the truth are what makes a prompt work**: with captions of other pictures fewer of the
   tags that a prompt asks for are drawn, with the trigger in it.

Each of 2 to 4 compares the full recipe with one arm, seed by seed. It holds if the mean difference is 10
percentage points or more and the sign is right in at least four of five seeds (80%); else it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from benchmarks.proof import MOST_OF_THEM, SHOWN, tag_entropy

FULL, BASE = "full recipe", "base model"
WITH, WITHOUT, CLASS, ALONE = (
    "with the trigger",
    "same prompts without it",
    "class word alone",
    "trigger and class word alone",
)
SETS = (WITH, WITHOUT, CLASS, ALONE)
FEATURES = ("star", "streak", "scarf")
CONSTANTS = ("pink hair", "green eyes", "long hair")  # what the tagger knows of the character
MARGIN = 0.10  # a difference of shares that counts
SEEDS_RIGHT = 0.8  # share of seeds whose difference has the expected sign


@dataclass(frozen=True)
class Seen:
    """What judge and tagger saw in one picture, and which tags its prompt asked for."""

    features: tuple[float, float, float]  # the judge's probabilities of FEATURES
    tags: tuple[str, ...]  # the tagger's, from probability 0.5
    asked: tuple[str, ...] = ()


Sets = Mapping[str, Sequence[Seen]]  # by SETS


@dataclass(frozen=True)
class Run:
    """One arm at one seed."""

    arm: str
    seed: int
    sets: Sets


def feature_shares(seen: Sequence[Seen]) -> list[float]:
    """Share of pictures with each of FEATURES."""
    return [fmean(one.features[i] >= SHOWN for one in seen) for i in range(len(FEATURES))]


def signature_share(seen: Sequence[Seen]) -> float:
    """Share of pictures with most of FEATURES."""
    return fmean(sum(p >= SHOWN for p in one.features) >= MOST_OF_THEM for one in seen)


def tag_share(seen: Sequence[Seen], tag: str) -> float:
    """Share of pictures in which the tagger saw a tag."""
    return fmean(tag in one.tags for one in seen)


def asked_share(seen: Sequence[Seen]) -> float | None:
    """Share of the asked tags that the tagger saw, over all pictures; None where nothing was asked."""
    found = [tag in one.tags for one in seen for tag in one.asked]
    return fmean(found) if found else None


def entropy(seen: Sequence[Seen]) -> float:
    """Bits of the tags' presence, summed over the tags."""
    names = sorted({tag for one in seen for tag in one.tags})
    present = np.array([[tag in one.tags for tag in names] for one in seen], np.float32)  # (N, tags)
    return tag_entropy(present, 0.5)


def kept_entropy(seen: Sequence[Seen], base: Sequence[Seen]) -> float:
    """Tag entropy as a share of the base model's for the same prompts and seeds."""
    return entropy(seen) / entropy(base)


def constant_share(seen: Sequence[Seen], constants: Sequence[str]) -> float:
    """Share of constant features that the tagger saw, over all pictures."""
    return fmean(tag_share(seen, tag) for tag in constants)


# --- claims ---


@dataclass(frozen=True)
class Comparison:
    """The full recipe against one arm by one measure, seed by seed; the full recipe should have more."""

    claim: str
    measure: str
    full: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def differences(self) -> list[float]:
        """Full minus other, of each seed."""
        return [a - b for a, b in zip(self.full, self.other, strict=True)]

    @property
    def right(self) -> int:
        """Seeds in which the full recipe has more."""
        return sum(d > 0 for d in self.differences)

    @property
    def holds(self) -> bool:
        """The rule of the module's head."""
        enough = self.right >= SEEDS_RIGHT * len(self.full)
        return enough and fmean(self.differences) >= MARGIN - 1e-9

    def row(self) -> str:
        """One line of the table of claims."""
        return (
            f"| {self.claim} | {self.measure} | {spread(self.full)} | {spread(self.other)} "
            f"| {fmean(self.differences) * 100:+.0f} points | {self.right} of {len(self.full)} "
            f"| {'**holds**' if self.holds else '**does not hold**'} |"
        )


def comparisons(runs: Sequence[Run], base: Sets, constants: Sequence[str]) -> list[Comparison]:
    """Claims 2 to 4, over the seeds that both arms have.

    Args:
        runs: any number of arms and seeds.
        base: the base model's pictures for the same prompts.
        constants: those of CONSTANTS that the full recipe absorbed; with none, claim 3 is left out.
    """
    measures: list[tuple[str, str, str, Callable[[Sets], float]]] = [
        (
            "class images guard the prior",
            "no class images",
            "tag entropy of the class word, of the base's",
            lambda sets: kept_entropy(sets[CLASS], base[CLASS]),
        ),
        (
            "the trigger absorbs what is pruned",
            "unpruned captions",
            f"{', '.join(constants)} for trigger and class word alone",
            lambda sets: constant_share(sets[ALONE], constants),
        ),
        (
            "true captions make prompts work",
            "random captions",
            "asked tags drawn, with the trigger",
            lambda sets: asked_share(sets[WITH]) or 0.0,
        ),
    ]
    found = []
    for claim, arm, measure, value in measures:
        full, other = _by_seed(runs, FULL), _by_seed(runs, arm)
        seeds = sorted(full.keys() & other.keys())
        if seeds and not ("pruned" in claim and not constants):
            values = [tuple(value(sets[seed]) for seed in seeds) for sets in (full, other)]
            found.append(Comparison(f"{claim} ({arm})", measure, *values))
    return found


def _by_seed(runs: Sequence[Run], arm: str) -> dict[int, Sets]:
    return {run.seed: run.sets for run in runs if run.arm == arm}


def recipe_works(runs: Sequence[Run], base: Sets) -> dict[str, bool]:
    """Claim 1, goal by goal, over the means of the seeds; empty without a run of the full recipe."""
    full = [run.sets for run in runs if run.arm == FULL]
    if not full:
        return {}
    shown = {name: fmean(signature_share(sets[name]) for sets in full) for name in SETS}
    kept = fmean(kept_entropy(sets[CLASS], base[CLASS]) for sets in full)
    return {
        f"with the trigger {shown[WITH]:.0%}, wanted 80% or more": shown[WITH] >= 0.8,
        f"without it {shown[WITHOUT]:.0%}, wanted under 10%": shown[WITHOUT] < 0.1,
        f"class word alone {shown[CLASS]:.0%}, wanted under 10%": shown[CLASS] < 0.1,
        f"its tag entropy {kept:.0%} of the base's, wanted 90% to 110%": 0.9 <= kept <= 1.1,
    }


# --- tables ---


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, in percent."""
    if len(values) < 2:
        return f"{values[0]:.0%}"
    return f"{fmean(values):.0%} ± {stdev(values) * 100:.0f}"


def claims_table(runs: Sequence[Run], base: Sets, constants: Sequence[str]) -> str:
    """Whether each claim holds, as Markdown."""
    goals = recipe_works(runs, base)
    lines = [f"- {goal}: {'**reached**' if reached else '**missed**'}" for goal, reached in goals.items()]
    head = "| claim (against) | measure | full recipe | the other | difference | seeds | verdict |"
    rows = [one.row() for one in comparisons(runs, base, constants)]
    return "\n".join(["Full recipe:", "", *lines, "", head, "|---|---|---|---|---|---|---|", *rows])


def measured_table(runs: Sequence[Run], base: Sets) -> str:
    """Every arm's shares, mean ± standard deviation over seeds, as Markdown."""
    columns = (
        "arm", "samples", "seeds x n", "two or three", *FEATURES, *CONSTANTS, "asked tags drawn",
        "tag entropy, of the base's",
    )  # fmt: skip
    arms = dict.fromkeys(run.arm for run in runs)
    grouped = {arm: list(_by_seed(runs, arm).values()) for arm in arms} | {BASE: [base]}
    rows = [
        _measured_row(arm, name, [sets[name] for sets in group], base[name])
        for arm, group in grouped.items()
        for name in SETS
        if not (arm == BASE and name in (WITH, ALONE))  # the trigger means nothing to it
    ]
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows])


def _measured_row(arm: str, name: str, seeds: Sequence[Sequence[Seen]], base: Sequence[Seen]) -> str:
    shares = [feature_shares(seen) for seen in seeds]
    asked = [share for seen in seeds if (share := asked_share(seen)) is not None]
    cells = [
        arm,
        name,
        f"{len(seeds)} x {len(seeds[0])}",
        spread([signature_share(seen) for seen in seeds]),
        *(spread([share[i] for share in shares]) for i in range(len(FEATURES))),
        *(spread([tag_share(seen, tag) for seen in seeds]) for tag in CONSTANTS),
        spread(asked) if asked else "",
        spread([kept_entropy(seen, base) for seen in seeds]) if name == CLASS else "",
    ]
    return f"| {' | '.join(cells)} |"
