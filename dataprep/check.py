"""The gate before training: everything in a prepared folder that would spoil it, with why and what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from dataprep.checks import captions, folder, hand_tags, pictures, tags
from dataprep.checks.finding import Finding, Prepared
from dataprep.errors import ConfigError, InputError
from dataprep.export.kohya_reader import describe
from dataprep.tags.trigger import held_against, trigger_facts

__all__ = ["CHECKS", "CODES", "Finding", "as_text", "check", "seen", "waived"]

CHECKS: Final[tuple[Callable[[Prepared], Iterator[Finding]], ...]] = (
    folder.up_to_date,
    folder.held_decisions,
    folder.as_the_trainer_sees_it,
    captions.trigger_word,
    captions.unwise_trigger,
    captions.empty,
    captions.too_long,
    captions.undecided,
    captions.odd,
    captions.alike,
    captions.similar_tags,
    hand_tags.several_in_one,
    hand_tags.other_names,
    hand_tags.over_the_lists,
    hand_tags.not_used,
    tags.fused,
    tags.bleeding,
    tags.missing_in_siblings,
    pictures.count,
    pictures.enlarged,
    pictures.cut,
    pictures.lone_buckets,
    pictures.class_images,
    pictures.unusable,
    folder.models,
    folder.licences,
)
CODES: Final = captions.CODES | folder.CODES | hand_tags.CODES | pictures.CODES | tags.CODES
_SEVERITIES = ("serious", "warning", "note")


def check(directory: Path, waive: frozenset[str] = frozenset()) -> list[Finding]:
    """All findings, serious ones first.

    Args:
        directory: a prepared folder.
        waive: codes of findings to leave out.
    Raises:
        InputError: not a prepared folder, or its manifest or receipt is damaged.
        ConfigError: `waive` has a code that no check gives.
    """
    unknown = sorted(waive - CODES)
    if unknown:
        raise ConfigError(
            f"waive: there is no finding {', '.join(unknown)}; there are {', '.join(sorted(CODES))}"
        )
    prepared = Prepared.read(directory)
    found = [finding for one in CHECKS for finding in one(prepared) if finding.code not in waive]
    return sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity))


def seen(directory: Path) -> str | None:
    """What sd-scripts will see in a prepared folder, and what the trigger word was held against.

    None where it sees no data set.

    Raises:
        InputError: not a prepared folder, or its manifest is damaged.
    """
    prepared = Prepared.read(directory)
    if isinstance(prepared.view, InputError):
        return None
    return "\n".join([describe(prepared.view), *_rarity(prepared.lead.trigger)])


def _rarity(trigger: str | None) -> list[str]:
    return [] if trigger is None else [trigger_facts(trigger), f"  held against {held_against()}"]


def as_text(findings: Sequence[Finding], told: str | None, left_out: Collection[str]) -> str:
    """For people: what sd-scripts will see, the findings, and the codes that were left out."""
    parts = [told or "", *(map(str, findings) if findings else ["no findings"])]
    parts += [f"left out by you: {', '.join(sorted(left_out))}"] if left_out else []
    return "\n\n".join(filter(None, parts))


def waived(directory: Path) -> frozenset[str]:
    """The findings that the data set's settings accept: as they stand now, or as the last run knew them.

    Args:
        directory: a prepared folder.
    Raises:
        ConfigError: the settings cannot be read.
        InputError: not a prepared folder.
    """
    from dataprep.pipeline import STAGES
    from dataprep.run import Job
    from dataprep.settings import load_settings

    try:
        job = Job.load(directory)
        return frozenset(load_settings(job.raw, job.config, job.flags, job.overrides, STAGES).project.waive)
    except InputError:
        return frozenset(Prepared.read(directory).setting("project", "waive") or ())
