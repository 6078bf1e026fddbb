"""All captions of a table at once: thresholds, counts, decisions, order. Columns in, columns out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprep.curate.captions import tag_key
from dataprep.manifest import ACTIVE
from dataprep.tags.absorb import Count, Decision, decide
from dataprep.tags.aliases import canonical
from dataprep.tags.assemble import ABSORBED, KEPT, PRUNED, caption_text, lead, says
from dataprep.tags.blacklist import why_unwanted
from dataprep.tags.by_hand import edited, hands
from dataprep.tags.columns import Entries, TagColumns, entries, opinions, row_lists
from dataprep.tags.counting import Rows, counts_of, rows_of
from dataprep.tags.head_counts import miscounted
from dataprep.tags.implications import implied
from dataprep.tags.kinds import kind_of
from dataprep.tags.order import GROUPS, group
from dataprep.tags.rivals import SEVERAL_COLOURS, rivalry
from dataprep.tags.sentences import with_sentences
from dataprep.tags.thresholds import Thresholds
from dataprep.tags.tokens import caption_tokens

if TYPE_CHECKING:
    from dataprep.stages.prune import Prune

AGREES_FROM, DISAGREES_BELOW = 0.5, 0.2  # CLIP's probability of a tag that the tagger gave
_FATES = (KEPT, ABSORBED, PRUNED)
_KEPT, _ABSORBED, _PRUNED = range(3)


@dataclass
class Verdicts:
    """Fate and rule of every entry; `rules` holds each distinct text once."""

    fate: NDArray[np.int64]  # (entries,) index into _FATES
    rule: NDArray[np.int64]  # (entries,) index into rules
    rules: list[str]
    frequency: NDArray[np.float32]  # (tags,) share of single-subject pictures; NaN where none could show it
    bound: NDArray[np.float32]  # (tags,) its Wilson lower bound

    def say(self, text: str) -> int:
        """The number of a rule's text."""
        self.rules.append(text)
        return len(self.rules) - 1


def captioned(table: pa.Table, settings: Prune, thresholds: Thresholds) -> pa.Table:
    """Prune's columns for every row of a manifest, in order; null for rows that are not active.

    Args:
        table: with the columns that Prune needs.
        settings: the stage.
        thresholds: probabilities from which tags count.
    """
    found = entries(table["tag_scores"], table["clip_scores"])
    limit = thresholds.of(found.tags, found.categories)
    above = found.score >= np.where(found.clip, np.float32(settings.clip_threshold), limit[found.tag])
    wrong = miscounted(found, above, _listed(found, settings.keep))
    above[list(wrong)] = False
    touched = hands(table, pc.equal(table["state"], ACTIVE).to_numpy(), settings)
    rows = rows_of(table, found, above, touched)
    gone = _removed_by_hand(found, table["hand_removed"])
    verdicts = _verdicts(found, above, gone, rows, settings, thresholds)
    for entry, told in wrong.items():
        verdicts.rule[entry] = verdicts.say(f"contradicts {', '.join(told)}, which the tagger sees")
    order = _caption_order(found, verdicts)
    captions = _captions(found, verdicts, order, rows, settings)
    active = rows.train | rows.reg
    bare = rows.reg if _is_bare(settings) else np.zeros(found.rows, dtype=bool)
    columns = _coded(found, verdicts, order)
    columns = with_sentences(columns, captions, table["sentence"], active & ~bare, settings)
    columns = edited(columns, captions, touched, rows.reg, settings)
    agree, disagree = _opinions(found, verdicts, order, opinions(found, table["clip_scores"]), active)
    return pa.table(
        {
            "tags": columns.lists(active),
            "caption": pa.array(captions, pa.string(), mask=~active),
            "caption_tokens": pa.array([caption_tokens(c) for c in captions], pa.int32(), mask=~active),
            "clip_agrees": agree,
            "clip_disagrees": disagree,
        }
    )


def _removed_by_hand(found: Entries, removed: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Entries that a person took out of that picture's caption. Shape (entries,)."""
    number = {tag_key(tag): i for i, tag in enumerate(found.tags)}
    touched = np.flatnonzero(removed.is_valid().to_numpy()).tolist()
    keys = ((row, tag_key(canonical(tag))) for row in touched for tag in removed[row].as_py())
    pairs = [row * len(number) + number[key] for row, key in keys if key in number]
    return np.isin(found.row * len(number) + found.tag, np.array(pairs, dtype=np.int64))


def _verdicts(
    found: Entries,
    above: NDArray[np.bool_],
    gone: NDArray[np.bool_],
    rows: Rows,
    settings: Prune,
    thresholds: Thresholds,
) -> Verdicts:
    """Rules in order of rank: threshold, blacklist, trigger, overlap, then what the trigger absorbs."""
    size, unknown = len(found.tag), np.full(len(found.tags), np.nan, np.float32)
    verdicts = Verdicts(np.zeros(size, np.int64), np.zeros(size, np.int64), [], unknown, unknown.copy())
    _absorbed(found, above, rows, settings, thresholds, verdicts)
    _contradicted(found, above, settings, verdicts)
    # What a list forbids says nothing: `dress` stays where `red dress` went. What a person took out still
    # does: a caption is what they left, and nothing comes in that they did not see in it.
    said = above & ~_forbidden(found, settings)
    _overlapped(
        found, above, said & gone, settings, verdicts, ", and was removed by hand: write it if it holds"
    )
    _overlapped(found, above, said & ~gone, settings, verdicts)
    _unwanted(found, settings, verdicts)
    _below(found, above, settings, thresholds, verdicts)
    return verdicts


def _absorbed(
    found: Entries,
    above: NDArray[np.bool_],
    rows: Rows,
    settings: Prune,
    thresholds: Thresholds,
    verdicts: Verdicts,
) -> None:
    counts = counts_of(found, above, rows, thresholds.base_rates)
    decisions = tag_decisions(found, counts, settings)
    fates = np.array([_FATES.index(d.fate) for d in decisions], dtype=np.int64)
    rules = np.array([verdicts.say(d.rule) for d in decisions], dtype=np.int64)
    if not len(decisions):
        return
    counted = [i for i, count in enumerate(counts) if count.total]
    verdicts.frequency[counted] = [counts[i].hits / counts[i].total for i in counted]
    verdicts.bound[counted] = [decisions[i].lower for i in counted]
    verdicts.fate[:], verdicts.rule[:] = fates[found.tag], rules[found.tag]
    taken = verdicts.fate == _ABSORBED
    spared = {
        "kept: a class image shows what the class is like": taken & rows.reg[found.row],
        "kept: several people in this picture, it may be another's": taken
        & (rows.train & ~rows.single)[found.row]
        & ~_listed(found, settings.absorb),
    }
    for text, mask in spared.items():
        verdicts.fate[mask], verdicts.rule[mask] = _KEPT, verdicts.say(text)
    other = rows.reg[found.row] & (verdicts.fate == _KEPT)
    verdicts.rule[other] = verdicts.say("kept: a class image shows what the class is like")
    if settings.reg_captions == "matched":
        _matched(found, above & taken & ~rows.reg[found.row], rows, settings, verdicts)


def _matched(
    found: Entries, absorbed: NDArray[np.bool_], rows: Rows, settings: Prune, verdicts: Verdicts
) -> None:
    """Class images keep silent about what the training captions leave to the trigger.

    If only class images named a hair colour, captions without one would mean the subject, trigger or not.
    """
    gone = set(found.tag[absorbed].tolist())
    sorts = {rivalry(found.tags[i]) for i in gone} - {None}
    silent = np.array([i in gone or rivalry(tag) in sorts for i, tag in enumerate(found.tags)], dtype=bool)
    if silent.any():
        mask = rows.reg[found.row] & silent[found.tag] & ~_listed(found, settings.keep)
        verdicts.fate[mask] = _PRUNED
        verdicts.rule[mask] = verdicts.say("matched: the training captions leave the like to the trigger")


def _listed(found: Entries, tags: tuple[str, ...]) -> NDArray[np.bool_]:
    wanted = {tag_key(tag) for tag in tags}
    listed = np.array([tag_key(tag) in wanted for tag in found.tags], dtype=bool)
    return listed[found.tag] if len(listed) else np.zeros(0, bool)


def tag_decisions(found: Entries, counts: list[Count], settings: Prune) -> list[Decision]:
    """What becomes of each distinct tag in training captions."""
    policy = settings.policy()
    decisions = [
        decide(tag, category, count, policy)
        for tag, category, count in zip(found.tags, found.categories, counts, strict=True)
    ]
    if settings.trigger is not None and settings.absorbing:
        return decisions
    why = "there is no trigger word" if settings.trigger is None else "absorbing is off"
    return [_spared(decision, why) for decision in decisions]


def _spared(decision: Decision, why: str) -> Decision:
    """The decision where the trigger word takes nothing over: what would have been absorbed is told."""
    if decision.fate == KEPT:
        return decision
    return replace(decision, fate="kept", rule=f"kept: {why}; else {decision.rule}")


def _contradicted(found: Entries, above: NDArray[np.bool_], settings: Prune, verdicts: Verdicts) -> None:
    """A rival of the one absorbed tag of its sort, seen in the same picture, is the tagger's error."""
    keep = {tag_key(tag) for tag in settings.keep}
    sorts: dict[str, list[int]] = defaultdict(list)
    for i, tag in enumerate(found.tags):
        if (sort := rivalry(tag)) is not None:
            sorts[sort].append(i)
    several = np.array([tag_key(tag) in SEVERAL_COLOURS for tag in found.tags], dtype=bool)
    for tags in sorts.values():
        absorbed = above & (verdicts.fate == _ABSORBED) & np.isin(found.tag, tags)
        constant = np.unique(found.tag[absorbed])
        if len(constant) != 1:
            continue
        certain = np.zeros(found.rows, dtype=bool)
        certain[found.row[absorbed]] = True
        certain[found.row[above & several[found.tag]]] = False
        doubted = [i for i in tags if i != constant[0] and tag_key(found.tags[i]) not in keep]
        rivals = above & certain[found.row] & np.isin(found.tag, doubted)
        verdicts.fate[rivals] = _PRUNED
        verdicts.rule[rivals] = verdicts.say(
            f"contradicts {found.tags[constant[0]]!r}, which the subject has"
        )


def _forbidden(found: Entries, settings: Prune) -> NDArray[np.bool_]:
    """Entries of tags that the blacklist takes out. Shape (entries,)."""
    keep = {tag_key(tag) for tag in settings.keep}
    names = [
        tag_key(tag) not in keep and why_unwanted(tag, category, settings.blacklist) is not None
        for tag, category in zip(found.tags, found.categories, strict=True)
    ]
    return np.array(names, dtype=bool)[found.tag] if names else np.zeros(0, dtype=bool)


def _overlapped(
    found: Entries,
    above: NDArray[np.bool_],
    said_by: NDArray[np.bool_],
    settings: Prune,
    verdicts: Verdicts,
    more: str = "",
) -> None:
    number = {tag_key(tag): i for i, tag in enumerate(found.tags)}
    keep = {number[tag_key(tag)] for tag in settings.keep if tag_key(tag) in number}
    generals = [
        frozenset(number[key] for key in implied(tag) if key in number) - keep - {i}
        for i, tag in enumerate(found.tags)
    ]
    specific = np.array([bool(g) for g in generals], dtype=bool)
    general = np.zeros(len(found.tags), dtype=bool)
    general[[i for g in generals for i in g]] = True
    place: dict[tuple[int, int], int] = {}
    if not (said_by & specific[found.tag] if len(specific) else specific).any():
        return
    candidates = np.flatnonzero(above & general[found.tag])
    place = dict(
        zip(
            zip(found.row[candidates].tolist(), found.tag[candidates].tolist(), strict=True),
            candidates.tolist(),
            strict=True,
        )
    )
    rules: dict[tuple[int, int], int] = {}
    picked = np.flatnonzero(said_by & specific[found.tag])
    for row, tag in zip(found.row[picked].tolist(), found.tag[picked].tolist(), strict=True):
        for other in generals[tag]:
            entry = place.get((row, other))
            if entry is None:
                continue
            if (other, tag) not in rules:
                rules[other, tag] = verdicts.say(f"overlap: {found.tags[tag]!r} says it already{more}")
            verdicts.fate[entry], verdicts.rule[entry] = _PRUNED, rules[other, tag]


def _unwanted(found: Entries, settings: Prune, verdicts: Verdicts) -> None:
    keep = {tag_key(tag) for tag in settings.keep}
    for i, (tag, category) in enumerate(zip(found.tags, found.categories, strict=True)):
        reason = None if tag_key(tag) in keep else why_unwanted(tag, category, settings.blacklist)
        if settings.trigger and says(tag, settings.trigger):
            reason = "trigger: the caption has it already, once, at its beginning"
        elif settings.class_word and tag_key(tag) == tag_key(settings.class_word):
            reason = "class word: the caption has it already, at its beginning"
        if reason is not None:
            mask = found.tag == i
            verdicts.fate[mask], verdicts.rule[mask] = _PRUNED, verdicts.say(reason)


def _below(
    found: Entries, above: NDArray[np.bool_], settings: Prune, thresholds: Thresholds, verdicts: Verdicts
) -> None:
    limits = thresholds.of(found.tags, found.categories)
    said = {float(limit): verdicts.say(f"threshold: under {limit:.2g}") for limit in np.unique(limits)}
    numbers = np.array([said[float(limit)] for limit in limits], dtype=np.int64)
    tagger = ~above & ~found.clip
    verdicts.fate[~above] = _PRUNED
    if len(numbers):
        verdicts.rule[tagger] = numbers[found.tag][tagger]
    clip = verdicts.say(f"threshold: under {settings.clip_threshold:.2g}, by CLIP")
    verdicts.rule[~above & found.clip] = clip


def _caption_order(found: Entries, verdicts: Verdicts) -> NDArray[np.int64]:
    """Entries in caption order: by row, kept ones first, people and names before the rest, then by score."""
    groups = np.array(
        [group(tag, kind_of(tag, c)) for tag, c in zip(found.tags, found.categories, strict=True)],
        dtype=np.int64,
    )
    place = groups[found.tag] if len(groups) else groups
    # One whole number to sort by, and already nearly sorted: many times faster than sorting by four columns.
    score = 65535 - np.round(found.score * 65535).astype(np.int64)
    return np.argsort(
        ((found.row * len(_FATES) + verdicts.fate) * GROUPS + place) * 65536 + score, kind="stable"
    )


def _coded(found: Entries, verdicts: Verdicts, order: NDArray[np.int64]) -> TagColumns:
    tag = found.tag[order]
    return TagColumns(
        row=found.row[order],
        numbers={
            "score": found.score[order],
            "frequency": verdicts.frequency[tag],
            "bound": verdicts.bound[tag],
        },
        codes={
            "tag": tag,
            "source": found.clip[order].astype(np.int64),
            "category": tag,
            "fate": verdicts.fate[order],
            "rule": verdicts.rule[order],
        },
        words={
            "tag": found.tags,
            "source": ["tagger", "clip"],
            "category": found.categories,
            "fate": list(_FATES),
            "rule": verdicts.rules,
        },
    )


def _captions(
    found: Entries, verdicts: Verdicts, order: NDArray[np.int64], rows: Rows, settings: Prune
) -> list[str]:
    tags: list[list[str]] = [[] for _ in range(found.rows)]
    kept = order[verdicts.fate[order] == _KEPT]
    for row, tag in zip(found.row[kept].tolist(), found.tag[kept].tolist(), strict=True):
        tags[row].append(found.tags[tag])
    train, reg = lead(settings.trigger, settings.class_word), lead(None, settings.class_word)
    bare = _is_bare(settings)
    return [
        caption_text(reg, () if bare else row_tags) if is_reg else caption_text(train, row_tags)
        for row_tags, is_reg in zip(tags, rows.reg.tolist(), strict=True)
    ]


def _is_bare(settings: Prune) -> bool:
    """Whether class images' captions are the class word alone."""
    return settings.reg_captions == "class" and settings.class_word is not None


def _opinions(
    found: Entries,
    verdicts: Verdicts,
    order: NDArray[np.int64],
    opinion: NDArray[np.float32],
    active: NDArray[np.bool_],
) -> tuple[pa.Array, pa.Array]:
    """The tags in the captions that CLIP agrees with, and those it doesn't see, as lists per row."""
    names = pa.array(found.tags, pa.string())

    def lists(mask: NDArray[np.bool_]) -> pa.Array:
        picked = order[(mask & (verdicts.fate != _PRUNED))[order]]
        return row_lists(names.take(pa.array(found.tag[picked])), found.row[picked], active)

    return lists(opinion >= AGREES_FROM), lists(opinion < DISAGREES_BELOW)
