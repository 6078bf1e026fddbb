"""What people changed in a prepared folder since it was last written. Owns what a change means.

A picture deleted from the folder is dropped; an emptied or deleted caption file has lost all its tags; a
folder that is gone as a whole is an accident, not a decision, and is written again.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dataprep.curate.captions import Lead as Lead
from dataprep.curate.captions import (
    Text,
    decode,
    is_prose,
    other_separator,
    same_prose,
    tag_key,
    tags_of,
)
from dataprep.curate.decisions import (
    ANY,
    Event,
    Hand,
    Image,
    Journal,
    decision,
    follows,
    histories,
    image_of,
    read_journal,
)
from dataprep.curate.encodings import as_warning
from dataprep.curate.found import Found as Found
from dataprep.curate.found import Plan as Plan
from dataprep.curate.inherited import copies_in, in_groups
from dataprep.curate.leads import known_leads
from dataprep.curate.merge import Edit, difference, either, with_removed
from dataprep.curate.places import caption_beside, place
from dataprep.curate.places import folder as _folder
from dataprep.curate.taken import is_unfinished, read_taken
from dataprep.digest import digest, file_sha256
from dataprep.export.receipt import read_pending, read_receipt
from dataprep.tags.assemble import says

Entry = dict[str, Any]  # a row of the receipt


def find_edits(
    out: Path,
    lead: Lead,
    hands: Mapping[Image, Hand],
    journal: Journal,
    rewritten: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> list[Found]:
    """Compare every caption and picture that the receipt lists with what is there now.

    Args:
        out: the prepared folder.
        lead: what the captions start with.
        hands: the decisions known so far, those on copies and those that came with raw pictures included.
        journal: of the folder; an edit that is in it already gives no second event.
        rewritten: sha256 of raw files when their pictures were prepared -> of the same files now.
        encoding: of captions that are not UTF-8, where the user says it.
    Raises:
        InputError: the receipt cannot be read.
    """
    return [*_Search(out, lead, hands, journal, rewritten or {}, encoding).found()]


def plan(
    out: Path,
    lead: Lead,
    start: Mapping[Image, Hand] | None = None,
    rewritten: Iterable[tuple[str, str, str, Event]] = (),
    encoding: str | None = None,
) -> Plan:
    """Find edits and add up all decisions. Writes nothing.

    Args:
        out: the prepared folder; may not exist yet.
        lead: what training captions start with.
        start: what came with the raw pictures.
        rewritten: path, old sha256 and new sha256 of raw files whose bytes changed, and box_scale where the
            picture has another size, None where it has another shape.
        encoding: of captions that are not UTF-8, where the user says it.
    Raises:
        InputError: the receipt or the journal cannot be read.
    """
    journal = read_journal(out)
    known = journal.effective()
    rewritten = list(rewritten)
    followed = [
        decision((new, ""), "file", follows=old, file=path, **scale)
        for path, old, new, scale in rewritten
        if not follows(known, new, old, scaled=bool(scale))
    ]
    now = {old: new for _, old, new, _ in reversed(rewritten)}
    known += followed
    copies = {_now(kept, now): [_now(one, now) for one in ones] for kept, ones in copies_in(out).items()}
    hands = in_groups(histories(known), start or {}, copies)
    found = find_edits(out, lead, hands, journal, now, encoding)
    edits = [item.event for item in found if item.event is not None]
    lines = len(journal.events) + len(followed) + len(edits)
    decided = (*known, *edits)
    return Plan(tuple(found), decided, lines, start or {}, journal.damaged, tuple(followed))


def _now(image: Image, rewritten: Mapping[str, str]) -> Image:
    return rewritten.get(image[0], image[0]), image[1]


def contents(found: Iterable[Found]) -> dict[str, str]:
    """File -> sha256 of the edited content, of files that are there."""
    return {item.file: item.sha256 for item in found if item.sha256 is not None}


class _Search:
    def __init__(
        self,
        out: Path,
        lead: Lead,
        hands: Mapping[Image, Hand],
        journal: Journal,
        rewritten: Mapping[str, str],
        encoding: str | None = None,
    ) -> None:
        self.out, self.hands, self.rewritten = out, hands, rewritten
        self.encoding, self.leads = encoding, known_leads(out, lead)
        self.last = self._last_in_file(journal.effective())
        self.last_ever = self._last_in_file(journal.events)  # with those that were undone
        self.unfinished = is_unfinished(out)
        self.taken = read_taken(out).files
        receipt = read_receipt(out).to_pylist()
        self.pictures = {e["file"]: e for e in receipt if e["kind"] == "image"}
        self.captions = {e["file"]: e for e in receipt if e["kind"] == "caption"}
        # Journalled by runs that were killed: such a file may have had its new text when it was edited.
        self.pending = read_pending(out)

    def found(self) -> Iterator[Found]:
        """All differences, pictures first."""
        pictures = list(self._missing(self.pictures, self._picture_gone))
        yield from pictures
        dropped = {caption_beside(found.file) for found in pictures if found.kind == "picture-deleted"}
        back = {caption_beside(found.file) for found in pictures if found.kind == "taken-back"} - self._there
        captions = {name: entry for name, entry in self.captions.items() if name not in dropped | back}
        yield from self._missing(captions, self._caption_gone)
        for name, entry in [*captions.items(), *self._without_entry(dropped)]:
            # Read, always: tools that keep a file's time, and its size, change what it says all the same.
            found = self._read(entry, self.out / name) if name in self._there else None
            if found is not None:
                yield found

    def _missing(self, entries: Mapping[str, Entry], judge: Callable[[Entry], Found]) -> Iterator[Found]:
        """Files that are gone: moved, lost with their whole folder, or taken away by hand."""
        gone = [name for name in entries if name not in self._there]
        here = {_folder(name) for name in entries.keys() - set(gone)}
        for name in gone:
            moved = self._elsewhere.get(place(name), [])
            if len(moved) == 1:
                yield self._moved(entries[name], moved[0])
            elif (stem := self._renamed.get(name.rpartition(".")[0])) is not None:
                yield self._found_renamed(entries[name], stem)
            elif (other := self._by_letters.get(name.casefold())) is not None:
                yield self._found_as(entries[name], other)
            elif self.unfinished:
                note = f"the last run was stopped; {len(gone)} files that are missing since are written again"
                yield Found(name, "lost", None, note=note)
            elif _folder(name) not in here:
                note = f"{_folder(name)}: everything in it is gone; it is written again"
                yield Found(name, "lost", None, note=note)
            else:
                yield judge(entries[name])

    @cached_property
    def _there(self) -> set[str]:
        """Files in the folders of the receipt."""
        there: set[str] = set()
        for folder in {_folder(name) for name in [*self.pictures, *self.captions]}:
            if (self.out / folder).is_dir():
                with os.scandir(self.out / folder) as entries:  # one call for all names: a stat each takes 4x
                    there.update(f"{folder}/{entry.name}" for entry in entries if entry.is_file())
        return there

    @cached_property
    def _by_letters(self) -> dict[str, str]:
        """Files that are there -> as they are spelled: `a.TXT` is `a.txt` to people and to some disks."""
        return {name.casefold(): name for name in sorted(self._there)}

    @cached_property
    def _elsewhere(self) -> dict[tuple[str, str], list[Path]]:
        """Files under img/ and reg/ that the receipt does not list, by `place`."""
        places: dict[tuple[str, str], list[Path]] = defaultdict(list)
        listed = self.pictures.keys() | self.captions.keys()
        for top in ("img", "reg"):
            for path in sorted((self.out / top).glob("*/*")):
                name = path.relative_to(self.out).as_posix()
                if name not in listed:
                    places[place(name)].append(path)
        return places

    def _moved(self, entry: Entry, path: Path) -> Found:
        there = path.parent.relative_to(self.out).as_posix()
        note = (
            f"{_folder(entry['file'])} was renamed to {there} by hand: captions are read there, and written "
            f"to the folder that the settings name (repeats, class word); delete {there} after this run"
        )
        found = self._read(entry, path) if entry["kind"] == "caption" else None
        if found is not None and found.kind == "unreadable":
            note = f"{found.note}; do not delete {there} before"
        return Found(entry["file"], "moved", None, found.event if found else None, note)

    @cached_property
    def _renamed(self) -> dict[str, str]:
        """Prepared pictures whose bytes have another name now: path without ending -> the same."""
        gone = {e["sha256"]: name for name, e in self.pictures.items() if name not in self._there}
        sizes = {self.pictures[name]["bytes"] for name in gone.values()}
        found: dict[str, str] = {}
        for path in (path for paths in self._elsewhere.values() for path in paths):
            if path.is_file() and path.stat().st_size in sizes:
                name = gone.get(file_sha256(path))
                now = path.relative_to(self.out).as_posix()
                if name is not None and now.split("/")[0] == name.split("/")[0]:
                    found.setdefault(name.rpartition(".")[0], now.rpartition(".")[0])
        return found

    def _found_renamed(self, entry: Entry, stem: str) -> Found:
        """A picture, or its caption, under a name that a person gave it."""
        name = entry["file"]
        now = f"{stem}.{name.rpartition('.')[2]}"
        there = (self.out / now).is_file()
        if entry["kind"] != "caption" or there:
            return self._found_as(entry, now)
        return self._caption_gone(entry)

    def _found_as(self, entry: Entry, now: str) -> Found:
        """A file that has another name now."""
        name = entry["file"]
        if entry["kind"] == "caption":
            return replace(self._read(entry, self.out / now) or Found(name, "renamed", None), at=now)
        note = f"{name} was renamed to {now} by hand: the picture stays in training, under its old name"
        return Found(name, "renamed", None, note=note, at=now)

    def _picture_gone(self, entry: Entry) -> Found:
        name = entry["file"]
        if self._hand(entry).state == "drop":
            return Found(name, "picture-deleted", None)
        if entry["retouched"] is not None:
            note = f"{name} was changed by hand and deleted: the change is taken back, it is written anew"
            return Found(name, "taken-back", None, note=f"{note} (delete it once more to leave it out)")
        event = decision(self._image(entry), "file", state="drop", file=name)
        note = f"{name} was deleted: the picture counts as dropped by hand (`dataprep undo` brings it back)"
        return Found(name, "picture-deleted", None, event, note)

    def _caption_gone(self, entry: Entry) -> Found:
        return self._judged(entry, Text("", "utf-8"), None, "deleted")

    def _without_entry(self, dropped: set[str]) -> Iterator[tuple[str, Entry]]:
        """Caption files that may have been put beside pictures that were written without one."""
        for name, picture in self.pictures.items():
            caption = caption_beside(name)
            if caption not in self.captions and caption not in dropped:
                yield caption, {**picture, "file": caption, "sha256": None, "bytes": None, "caption": ""}

    def _read(self, entry: Entry, path: Path) -> Found | None:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 == entry["sha256"]:
            return None
        bases = self._bases(entry, sha256)
        known = {tag_key(tag) for base in bases for tag in self.leads.now.tags(base, entry["role"])}
        text = decode(data, self.encoding, known)
        if text.doubtful:
            # No sha256: nobody has read it, so nobody may replace it.
            return Found(entry["file"], "unreadable", None, note=as_warning(entry["file"], data, text))
        found = self._judged(entry, text, sha256, "" if text.text else "emptied")
        if not text.guessed or found.event is None:
            return found
        # Should the guess be wrong, here is what was there.
        return replace(found, event={**found.event, "bytes": b64encode(data).decode()})

    def _image(self, entry: Entry) -> Image:
        """Which image view a file is of, by the sha256 that the raw file has now."""
        return _now((entry["image_sha256"], entry["view"] or ""), self.rewritten)

    def _last_in_file(self, events: Iterable[Event]) -> dict[tuple[Image, str], Event]:
        """The last edit that was found in each file."""
        edits = (event for event in events if "new" in event and "file" in event)
        return {(_now(image_of(event), self.rewritten), event["file"]): event for event in edits}

    def _hand(self, entry: Entry) -> Hand:
        """The decisions that a file was written with, those on copies of its picture included."""
        return self.hands.get(self._image(entry), Hand())

    def _judged(self, entry: Entry, text: Text, sha256: str | None, kind: str) -> Found:
        """What a changed caption means, held against the text that the edit started from."""
        name, bases = entry["file"], self._bases(entry, sha256)
        what, edit = self._change(bases, text.text, entry)
        prose = "caption" in what or self._hand(entry).caption is not None
        note = self._note(entry, text, kind, edit, prose=prose)
        if not what:
            return Found(name, kind or "spelling", sha256, note=note)
        kind = kind or ("prose" if "caption" in what else "tags")
        what |= {"file": name, "old": bases[-1], "new": text.text, "base": _writing(entry)}
        return Found(name, kind, sha256, decision(self._image(entry), "file", **what), note)

    @cached_property
    def _beside(self) -> set[str]:
        return {caption_beside(name) for name in self.pictures}

    def _is_leftover(self, caption: str) -> bool:
        """Whether the picture has moved on and this caption stayed, because somebody had edited it."""
        return caption not in self._beside

    def _bases(self, entry: Entry, sha256: str | None) -> list[str]:
        """The texts that an edit may have started from: one, but for a file that a run was killed at."""
        name, old = entry["file"], entry["caption"] or ""
        last = (self.last_ever if self._is_leftover(name) else self.last).get((self._image(entry), name))
        if last and last.get("base") == _writing(entry):
            old = last["new"]  # the file was not written since this edit was journalled: a run was killed
        if sha256 is not None and sha256 == self.taken.get(name):
            return [old]
        bases = [old]
        for written in self.pending.get(name, ()):
            new = written["caption"] or ""
            bases = [new] if written["mtime_ns"] else [*bases, new]  # it has a time once it was in its place
        return list(dict.fromkeys(bases))

    def _change(self, bases: list[str], text: str, entry: Entry) -> tuple[dict[str, Any], Edit]:
        """What the event says; empty: only the spelling differs."""
        hand, role, leads = self._hand(entry), entry["role"], self.leads
        lead = self._lead(entry, *bases)
        tags = [leads.tags(base, role, leads.of(base)) for base in bases]
        if hand.caption is None and not is_prose(text, [tag for each in tags for tag in each]):
            file = tuple(leads.own(tag, lead) for tag in leads.tags(text, role, lead))
            edit = either(*(difference(base, file) for base in tags))
            order = tuple(tag for tag in edit.order or () if tag != ANY)
            silent = with_removed(edit, tags, file)
            what = {"added": edit.added, "removed": edit.removed + silent, "order": order, "silent": silent}
            told: dict[str, Any] = {name: list(value) for name, value in what.items() if value}
            # The machine's tags, all of them, in the machine's order.
            return told | ({"order": None} if file == (ANY,) and hand.order is not None else {}), edit
        new = leads.prose(text, role, lead)
        same = any(same_prose(leads.prose(base, role, leads.of(base)), new) for base in bases)
        if self._is_leftover(entry["file"]):  # of before the caption became a sentence elsewhere
            file = leads.tags(text, role, lead)
            same = same or any(not difference(base, file) for base in tags)
        if same:
            return {}, Edit()
        if tags_of(new) == (ANY,):  # no caption of anybody's: the machine's again
            return {"caption": None, "added": [ANY]}, Edit()
        gone = self._left_out(tags, new, hand)
        return {"caption": new} | ({"removed": gone} if gone else {}), Edit()

    @staticmethod
    def _left_out(bases: list[tuple[str, ...]], text: str, hand: Hand) -> list[str]:
        """Tags added by hand that stood in a caption, and not in the whole one written in its place."""
        stood = {tag_key(tag) for base in bases for tag in base}
        return [tag for key, tag in hand.added.items() if key in stood and not says(text, tag)]

    def _lead(self, entry: Entry, *texts: str) -> Lead:
        """What a caption file was written with in front."""
        return self.leads.of(*texts, entry["caption"] or "")

    def _note(self, entry: Entry, text: Text, kind: str, edit: Edit, *, prose: bool) -> str | None:
        name, lead, leads = entry["file"], self._lead(entry), self.leads
        if kind:
            return (
                f"{name} was {kind}: its tags count as removed by hand, and no other machine's tag comes in "
                f"(`dataprep undo` brings them back, and so does a caption that is `{ANY}`)"
            )
        if text.guessed:
            return f"{name} is not UTF-8; it was read as {text.encoding}, look whether that is right"
        if (sign := other_separator(text.text)) is not None:
            return f"{name}: its tags are parted by {sign!r}, which no trainer parts them by; write commas"
        in_front = lead.in_front_of(text.text) or leads.now.in_front_of(text.text)
        if entry["role"] == "train" and not prose and not in_front:
            return f"{name}: the trigger word {leads.now.trigger!r} was not first; it is put back"
        tags = leads.tags(text.text, entry["role"], lead)
        if changed := [tag for tag in tags if leads.own(tag, lead) != tag]:
            told = ", ".join(f"{tag!r} is taken as {leads.own(tag, lead)!r}" for tag in changed)
            return f"{name}: {told}: the trigger word stands once, in front" if not prose else None
        if edit.repaired:
            return f"{name}: an editor broke {', '.join(edit.repaired)} on saving; mended"
        return None


def _writing(entry: Entry) -> str:
    """Names the one time that a file was written."""
    return digest(entry["sha256"], entry["mtime_ns"])
