"""Findings about single captions: trigger word, emptiness, length, oddities, captions that are alike."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from dataprep.checks.finding import Finding, Prepared, Row, listed, name, names, plural
from dataprep.checks.hand_tags import own_vocabulary
from dataprep.curate.captions import tag_key, tags_of
from dataprep.tags.tokens import caption_tokens, token_count
from dataprep.tags.trigger import held_against, trigger_report

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
CODES = frozenset(
    {
        "no-trigger",
        "trigger-missing",
        "trigger-not-first",
        "trigger-repeated",
        "trigger-in-class-images",
        "trigger-unwise",
        "empty-caption",
        "only-the-trigger",
        "too-many-tokens",
        "odd-caption",
        "unknown-encoding",
        "captions-alike",
        "similar-tags",
    }
)
_ODDITIES = (
    (re.compile("\ufffd"), "a character that was lost when somebody saved it in another encoding"),
    (_CONTROL, "a control character"),
    (re.compile(r"\\[()]"), "an escaped bracket, which costs a token and is trained as it stands"),
    (re.compile(r"<lora:", re.IGNORECASE), "a prompt's <lora:...>"),
    (re.compile(r"\|\|\|"), "the separator |||"),
    (re.compile(r"(?:^|, *)\([^(),]+\)(?=,|$)"), "a tag all in brackets, half of one that an editor split"),
    (re.compile(r", *,"), "an empty tag"),
)
_SAME = 0.9  # Jaccard similarity from which two captions count as the same
_COMPARED = 4000  # pictures; more would need n * n memory


def trigger_word(prepared: Prepared) -> Iterator[Finding]:
    """The trigger word stands once and first in training captions, and never in a class image's."""
    trigger = prepared.lead.trigger
    if trigger is None:
        if prepared.purpose != "style":
            yield Finding(
                "no-trigger",
                "warning",
                f"there is no trigger word, and the purpose is {prepared.purpose}",
                names(prepared.train),
                "without a word of its own the subject binds to ordinary words, which then always draw it",
                "run again with --trigger WORD",
            )
        return
    word = re.compile(rf"(?<!\w){re.escape(tag_key(trigger))}(?!\w)")
    readable = prepared.readable(prepared.train)
    uses = [(row, len(word.findall(tag_key(prepared.caption(row))))) for row in readable]
    missing = [row for row, count in uses if count == 0]
    if missing:
        yield Finding(
            "trigger-missing",
            "serious",
            f"{plural(len(missing), 'caption')} without the trigger word {trigger!r}",
            names(missing),
            "these pictures teach their subject to their other words, not to the trigger word",
            "run again: it puts the trigger word first in every caption",
        )
    late = [row for row, count in uses if count and not prepared.lead.in_front_of(prepared.caption(row))]
    if late:
        yield Finding(
            "trigger-not-first",
            "serious",
            f"{plural(len(late), 'caption')} with the trigger word {trigger!r} not at the beginning",
            names(late),
            "trainers keep the first tags in place when they shuffle or drop tags: the trigger word "
            "must be one of these",
            "run again: it puts the trigger word first",
        )
    repeated = [row for row, count in uses if count > 1]
    if repeated:
        yield Finding(
            "trigger-repeated",
            "warning",
            f"{plural(len(repeated), 'caption')} with the trigger word {trigger!r} more than once",
            names(repeated),
            "a word that is repeated is weighted differently in training than in your prompts",
            "take it out of these captions; the one in front is written by itself",
        )
    leaked = [row for row in prepared.reg if word.search(tag_key(prepared.caption(row)))]
    if leaked:
        yield Finding(
            "trigger-in-class-images",
            "serious",
            f"{plural(len(leaked), 'class image')} with the trigger word {trigger!r} in the caption",
            names(leaked),
            "the class images then teach the trigger word to mean any of the class",
            "take the word out of these captions",
        )


def unwise_trigger(prepared: Prepared) -> Iterator[Finding]:
    """A trigger word that models know already, that is many tokens, or that tags use."""
    if prepared.lead.trigger is None:
        return
    seen = {
        tag["tag"]
        for row in prepared.train
        for tag in [*(row.get("tags") or ()), *(row.get("tag_scores") or ())]
    }
    vocabulary = {*seen, *prepared.tagger_tags, *own_vocabulary()}
    found = trigger_report(prepared.lead.trigger, vocabulary=vocabulary)
    if found:
        yield Finding(
            "trigger-unwise",
            "warning",
            found[0],
            names(prepared.train),
            f"{'; '.join(found[1:-1]) or 'what models know by this word mixes with the subject'} "
            f"(held against {held_against()})",
            f"run again with another --trigger; {found[-1]}",
        )


def empty(prepared: Prepared) -> Iterator[Finding]:
    """Captions that say nothing, or nothing but the trigger word."""
    silent = [row for row in prepared.readable(prepared.train) if not prepared.caption(row)]
    if silent:
        yield Finding(
            "empty-caption",
            "serious",
            f"{plural(len(silent), 'caption')} with nothing in it",
            names(silent),
            "sd-scripts stops at an empty caption file",
            "run again, or write what the picture shows",
        )
    bare = [row for row in prepared.train if prepared.caption(row) and not prepared.tags(row)]
    if bare and prepared.purpose != "style":
        most = 2 * len(bare) > len(prepared.train)
        yield Finding(
            "only-the-trigger",
            "warning" if most else "note",
            f"{plural(len(bare), 'caption')} with nothing but "
            + ("the trigger word" if prepared.lead.trigger else "the class word"),
            names(bare),
            "all that these pictures show, backgrounds and clothes too, is learned as part of the subject",
            "lower tag's or prune's thresholds, or write what varies into these captions",
        )


def too_long(prepared: Prepared) -> Iterator[Finding]:
    """Captions over the token budget, and which of their tags the text encoder never sees."""
    budget = prepared.setting("prune", "max_tokens") or 75
    trained = prepared.trained_tokens or budget
    limit = min(budget, trained)
    counts = [(row, _tokens(prepared, row)) for row in prepared.train + prepared.reg]
    over = [row for row, count in counts if count > limit]
    if not over:
        return
    longest = max(count for _, count in counts)
    cut = Counter(tag for row in over for tag in _cut_off(prepared.caption(row), trained))
    lost = f" and is not trained: {listed(tag for tag, _ in cut.most_common())}" if cut else ""
    yield Finding(
        "too-many-tokens",
        "warning",
        f"{plural(len(over), 'caption')} over {limit} tokens, the longest has {longest}",
        names(over),
        f"what stands after token {trained} is cut off{lost}"
        if cut
        else f"the trainer reads {trained} tokens (max_token_length), more than prune.max_tokens allows",
        "remove tags, or let both read more: prune.max_tokens and the trainer's max_token_length, 150 or 225",
    )


def _cut_off(caption: str, limit: int) -> Iterator[str]:
    """Tags that end after so many tokens."""
    tags = caption.split(", ")
    before = 0
    for i, tag in enumerate(tags):
        last = i == len(tags) - 1
        if before + token_count(tag) > limit:
            yield tag
        before += token_count(tag if last else f"{tag},")


def _tokens(prepared: Prepared, row: Row) -> int:
    known = row.get("caption_tokens")
    text = prepared.caption(row)
    return int(known) if known is not None and text == row.get("caption") else caption_tokens(text)


def undecided(prepared: Prepared) -> Iterator[Finding]:
    """Caption files that are not UTF-8 and whose bytes do not say what they are."""
    rows = [row for row in prepared.train + prepared.reg if row.get("caption_file") in prepared.unreadable]
    if rows:
        yield Finding(
            "unknown-encoding",
            "serious",
            f"{plural(len(rows), 'caption')} in an encoding that cannot be told: "
            f"{prepared.unreadable[rows[0]['caption_file']]}",
            names(rows),
            "a wrong guess would train nonsense and lose what you wrote; so nothing is read or replaced",
            "save these files as UTF-8, or name their encoding in dataprep.toml (caption_encoding)",
        )


def odd(prepared: Prepared) -> Iterator[Finding]:
    """Captions with something in them that nobody means to train."""
    for pattern, what in _ODDITIES:
        rows = [row for row in prepared.train + prepared.reg if pattern.search(prepared.caption(row))]
        if rows:
            yield Finding(
                "odd-caption",
                "warning",
                f"{plural(len(rows), 'caption')} with {what}",
                names(rows),
                "it is trained like any other text",
                "mend these captions",
            )


def alike(prepared: Prepared) -> Iterator[Finding]:
    """Captions that are the same or nearly so: the trainer cannot tell their pictures apart."""
    rows = [row for row in prepared.train if prepared.tags(row)][:_COMPARED]
    groups = _alike(rows, [frozenset(prepared.tags(row)) for row in rows])
    several = [group for group in groups if len(group) > 1]
    members = [row for group in several for row in group]
    same = any(len({frozenset(prepared.tags(row)) for row in group}) < len(group) for group in several)
    if len(members) < (2 if same else 3):  # two that are nearly the same may well be
        return
    share = len(members) / len(prepared.train)
    largest = max(several, key=len)
    yield Finding(
        "captions-alike",
        "warning" if share > 0.3 else "note",
        f"{len(members)} pictures ({share:.0%}) share their caption with another; {len(largest)} have that "
        f"of {name(largest[0])}",
        names(members),
        "what differs between them cannot be asked for later, and is learned as noise of the subject",
        "caption what differs (clothes, pose, background), or take some of these pictures out",
    )


def _alike(rows: list[Row], tags: list[frozenset[str]]) -> list[list[Row]]:
    """Groups of captions that are nearly the same as the group's first."""
    number = {tag: i for i, tag in enumerate(sorted({tag for each in tags for tag in each}))}
    has = np.zeros((len(rows), len(number)), np.float32)
    for i, each in enumerate(tags):
        has[i, [number[tag] for tag in each]] = 1
    common = has @ has.T
    size = has.sum(axis=1)
    similar = common / np.maximum(size[:, None] + size[None, :] - common, 1) >= _SAME
    groups: dict[int, list[Row]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[int(np.argmax(similar[i]))].append(row)
    return list(groups.values())


def similar_tags(prepared: Prepared) -> Iterator[Finding]:
    """Two spellings for one thing, such as singular and plural."""
    counts: dict[str, list[Row]] = defaultdict(list)
    for row in prepared.train:
        for tag in tags_of(prepared.caption(row)):
            counts[tag_key(tag)].append(row)
    pairs = [(tag, f"{tag}s") for tag in sorted(counts) if f"{tag}s" in counts and len(tag) > 2]
    if pairs:
        rarer = [min(reversed(pair), key=lambda tag: len(counts[tag])) for pair in pairs]
        yield Finding(
            "similar-tags",
            "note",
            f"two spellings of one thing: {listed(' / '.join(pair) for pair in pairs)}",
            names({name(row): row for tag in rarer for row in counts[tag]}.values()),
            "each spelling learns half",
            "rename one of them in the captions",
        )
