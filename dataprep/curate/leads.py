"""What captions started with, now and in earlier runs. Owns which trigger and class word a text is read with.

A caption that was written with `sks girl` in front is compared as such when the class word is another by now:
else what an editor merely saved again would count as a change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.curate.captions import Lead, prose_without_lead, tag_key, tags_of, without_lead
from dataprep.curate.taken import read_taken
from dataprep.tags.assemble import lead as words_of
from dataprep.tags.assemble import says, without_trigger


@dataclass(frozen=True)
class Leads:
    """The lead of this run and those of the runs before."""

    now: Lead
    before: tuple[Lead, ...] = ()

    @property
    def all(self) -> tuple[Lead, ...]:
        """This run's first."""
        return tuple(dict.fromkeys([self.now, *self.before]))

    def of(self, *texts: str) -> Lead:
        """What the first text starts with that starts with any known lead; this run's lead if none does."""
        for text in texts:
            first = tag_key((tags_of(text) or ("",))[0])
            whole = [lead for lead in self.all if _key(lead) == first]
            # Prose that says the class word has the trigger word alone in front.
            alone = [lead for lead in self.all if lead.trigger and tag_key(lead.trigger) == first]
            if found := [*whole, *alone]:
                return found[0]
        return self.now

    def tags(self, text: str, role: str, lead: Lead) -> tuple[str, ...]:
        """A caption's tags, without the lead that it was written with, its own, and this run's."""
        tags = tags_of(text)
        for each in dict.fromkeys((lead, self.of(text), self.now)) if role == "train" else ():
            tags = without_lead(tags, each.trigger, each.class_word)
        return tags

    def prose(self, text: str, role: str, lead: Lead) -> str:
        """The same of a prose caption."""
        for each in dict.fromkeys((lead, self.of(text), self.now)) if role == "train" else ():
            text = prose_without_lead(text, each.trigger, each.class_word)
        return text

    def own(self, tag: str, lead: Lead) -> str:
        """A tag without the trigger word, which stands once, in front."""
        for trigger in dict.fromkeys(each.trigger for each in (lead, self.now) if each.trigger):
            tag = without_trigger(tag, trigger, None)
        return tag

    def left_in(self, text: str) -> str | None:
        """An earlier trigger word that a text says, None if it says none that is not a word of now."""
        own = " ".join(word for word in (self.now.trigger, self.now.class_word) if word)
        old = [lead.trigger for lead in self.before if lead.trigger and not says(own, lead.trigger)]
        return next((trigger for trigger in old if says(text, trigger)), None)


def _key(lead: Lead) -> str | None:
    return tag_key(words_of(lead.trigger, lead.class_word)) if lead.trigger else None


def known_leads(out: Path, now: Lead) -> Leads:
    """What captions of a prepared folder may start with.

    Args:
        out: the prepared folder; may not exist yet.
        now: of this run.
    """
    noted = [Lead(trigger, class_word) for trigger, class_word in read_taken(out).leads]
    return Leads(now, tuple(dict.fromkeys([*_of_manifest(out), *noted])))


def pairs(leads: Iterable[Lead]) -> tuple[tuple[str | None, str | None], ...]:
    """For a note: trigger and class word of each."""
    return tuple((lead.trigger, lead.class_word) for lead in leads)


def _of_manifest(out: Path) -> list[Lead]:
    try:
        about = json.loads((pq.read_schema(out / "manifest.parquet").metadata or {}).get(b"dataprep", b"{}"))
    except (pa.ArrowInvalid, OSError, ValueError):
        return []  # none yet; a damaged one is reported by those who need it
    return [Lead(about.get("trigger"), about.get("class_word"))] if "trigger" in about else []
