"""Findings about tags over the whole set: fused with the trigger word, bleeding, missing in siblings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np

from dataprep.checks.finding import Finding, Prepared, Row, listed, name, names, plural
from dataprep.copies.neighbours import Hashes, hamming
from dataprep.curate.captions import tag_key
from dataprep.curate.decisions import ANY
from dataprep.tags.kinds import Kind, kind_of

CODES = frozenset(
    {"fused-tags", "nearly-fused-tags", "missing-tags", *(f"constant-{kind}" for kind in get_args(Kind))}
)
_BLEEDS = 0.6  # Wilson lower bound, where prune's settings are not known
_FOREIGN = re.compile(r"^kept: .* is (no part of|not known to belong to) ")
_FEWEST = 8  # pictures; below that a frequency says nothing
_FUSED, _NEARLY_FUSED = 0.95, 0.8  # share of the training captions
_NAMED = {
    **{kind: kind for kind in ("hair", "framing", "style")},
    **{"eyes": "an eye colour", "body": "a feature of the body", "clothes": "a piece of clothing"},
    **{"accessory": "an accessory", "other": "what", "thing": "a thing beside the subject"},
    "expression": "an expression",
}
_SIBLINGS = 10  # Hamming distance, bits of 64: pictures of one scene, too different to be duplicates
_CLOSE = 0.5  # of the threshold that the tag passed in the sibling
_COMPARED = 4000  # pictures; the time grows with the square


def fused(prepared: Prepared) -> Iterator[Finding]:
    """Tags that nearly every caption has: they share the trigger word's meaning."""
    total = len(prepared.train)
    if total < _FEWEST:
        return
    counts = Counter(tag for row in prepared.train for tag in prepared.tags(row))
    shares = {
        tag: count / total
        for tag, count in counts.items()
        if kind_of(tag) != "people" and tag not in _bleeding(prepared)
    }
    always = sorted(tag for tag, share in shares.items() if share >= _FUSED)
    often = sorted(tag for tag, share in shares.items() if _NEARLY_FUSED <= share < _FUSED)
    for tags, severity, band in (
        (always, "warning", f"in {_FUSED:.0%} of the captions or more"),
        (often, "note", f"in {_NEARLY_FUSED:.0%} to {_FUSED:.0%} of the captions"),
    ):
        if tags:
            lacking = [row for row in prepared.train if set(tags) - set(prepared.tags(row))]
            few = 0 < len(lacking) < total
            yield Finding(
                "fused-tags" if severity == "warning" else "nearly-fused-tags",
                severity,  # type: ignore[arg-type]
                f"{plural(len(tags), 'tag')} {band}: {listed(tags)}",
                names(lacking if few else prepared.train),
                "what is always captioned together is learned together: prompts will need these tags beside "
                f"{prepared.learned} (the images named {'lack' if few else 'have'} them)",
                "absorb what belongs to the subject (prune.absorb), or add pictures that lack it"
                if prepared.lead.trigger
                else "give the set a trigger word that can take them over, or add pictures that lack them",
            )


def _bleeding(prepared: Prepared) -> dict[str, str]:
    """Tag keys that prune found constant but foreign to the subject, or not known to be its -> its words."""
    share_from = prepared.setting("prune", "bleed_from") or _BLEEDS

    def constant(tag: dict[str, Any]) -> bool:
        foreign = _FOREIGN.search(tag["rule"] or "") is not None and len(prepared.train) >= _FEWEST
        return "may bleed" in (tag["rule"] or "") or (foreign and (tag.get("bound") or 0) >= share_from)

    return {
        tag_key(tag["tag"]): tag["rule"]
        for row in prepared.train
        for tag in row.get("tags") or ()
        if constant(tag)
    }


def bleeding(prepared: Prepared) -> Iterator[Finding]:
    """One background, pose or framing in most pictures."""
    found = _bleeding(prepared)
    for kind, tags in _by_kind(found).items():
        ours = "; --absorb takes what belongs to the subject" if kind in ("thing", "other") else ""
        rows = [row for row in prepared.train if set(tags) & set(prepared.tags(row))]
        if rows:
            share = len(rows) / len(prepared.train)
            yield Finding(
                f"constant-{kind}",
                "warning",
                f"{listed(sorted(tags))}: in {len(rows)} of {len(prepared.train)} pictures ({share:.0%})",
                names(rows),
                f"{_NAMED.get(kind, f'a {kind}')} that hardly changes is learned with {prepared.learned}, "
                "caption or not",
                f"add pictures that differ in it, or drop some of these{ours}",
            )


def _by_kind(tags: dict[str, str]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for tag in tags:
        kinds[kind_of(tag)].append(tag)
    return dict(sorted(kinds.items()))


def missing_in_siblings(prepared: Prepared) -> Iterator[Finding]:
    """Tags that one of two pictures of the same scene has, and that the tagger nearly saw in the other."""
    rows = [row for row in prepared.train if row.get("phash") and row.get("tag_scores")][:_COMPARED]
    hashes = np.array([int(row["phash"], 16) for row in rows], np.uint64)
    lacks: dict[str, list[Row]] = defaultdict(list)
    for i, j in _siblings(hashes):
        for one, other in ((rows[i], rows[j]), (rows[j], rows[i])):
            for tag in _nearly_seen(prepared, one, other):
                lacks[tag].append(one)
    if lacks:
        tags = sorted(lacks, key=lambda tag: (-len(lacks[tag]), tag))
        images = {name(row): row for found in lacks.values() for row in found}
        yield Finding(
            "missing-tags",
            "note",
            f"{plural(len(images), 'picture')} of the same scene as another may lack a tag: {listed(tags)}",
            names(images.values()),
            "a tag that is there in one picture and missing in its sibling teaches that it means nothing",
            "look at these pictures and add or remove the tag in both",
        )


def _siblings(hashes: Hashes) -> Iterator[tuple[int, int]]:
    for i in range(len(hashes)):
        near = hamming(hashes[i + 1 :], hashes[i : i + 1]) <= _SIBLINGS
        yield from ((i, i + 1 + int(j)) for j in np.flatnonzero(near))


def _nearly_seen(prepared: Prepared, row: Row, sibling: Row) -> Iterator[str]:
    own = {tag_key(score["tag"]): score["score"] for score in row["tag_scores"]}
    theirs = {tag_key(score["tag"]): score["score"] for score in sibling["tag_scores"]}
    by_hand = {tag_key(tag) for tag in row.get("hand_removed") or ()}
    fates = {tag_key(tag["tag"]): tag["fate"] for tag in row.get("tags") or ()}
    lacking = set() if ANY in by_hand else set(prepared.tags(sibling)) - set(prepared.tags(row)) - by_hand
    for tag in lacking:
        if tag in own and own[tag] >= _CLOSE * theirs.get(tag, 1) and fates.get(tag) in (None, "pruned"):
            yield tag
