"""Decisions as columns, and the promise behind them: no hand edit is ever lost."""

from __future__ import annotations

import copy
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from PIL import Image

from dataprep.copies.hashing import phash
from dataprep.curate import decisions
from dataprep.curate.captions import decode, tag_key, tags_of
from dataprep.curate.edits import Found, Lead, plan
from dataprep.curate.raw_captions import with_edits
from dataprep.curate.taken import read_taken
from dataprep.digest import digest
from dataprep.export import sync as sync_module
from dataprep.export.receipt import read_pending, read_receipt
from dataprep.export.sync import Wanted, sync
from dataprep.manifest import BASE
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.stages import curate as curate_module
from dataprep.stages.curate import HAND, Curate
from dataprep.stages.prune import Prune
from dataprep.store import Blobs
from dataprep.tags.assemble import hand_caption, one_line
from dataprep.tags.implications import implied

SETTINGS = {"trigger": "sks", "class_word": "girl"}


def base_table(rows: list[dict[str, Any]]) -> pa.Table:
    blank = dict.fromkeys(BASE.names) | {"view": "", "role": "train", "state": "active"}
    return pa.Table.from_pylist([blank | row for row in rows], schema=BASE)


def curate(context: Context, rows: list[dict[str, Any]], **other: Any) -> list[dict[str, Any]]:
    table = Curate(**(SETTINGS | other)).open(context)(base_table(rows))
    assert table.schema.names == [*HAND.names, "state", "reason"]
    result: list[dict[str, Any]] = table.to_pylist()
    return result


def test_pictures_nobody_touched_have_no_decisions(context: Context) -> None:
    (row,) = curate(context, [{"sha256": "a"}])
    assert row == {
        "hand_state": None, "hand_box": None, "hand_added": None, "hand_removed": None,
        "hand_order": None, "hand_caption": None, "hand_history": None,
        "state": "active", "reason": None,
    }  # fmt: skip
    assert not (context.out / "decisions.jsonl").exists()


@pytest.mark.parametrize(
    ("captions", "added", "whole"),
    [
        ("merge", ["red_hair", "Kaga_(azur_lane)"], None),
        ("keep", None, "red_hair, Kaga_(azur_lane)"),
        ("ignore", None, None),
    ],
)
def test_captions_of_raw_pictures_are_merged_kept_or_ignored(
    context: Context, captions: str, added: list[str] | None, whole: str | None
) -> None:
    rows = [{"sha256": "a", "raw_caption": "sks girl, red_hair, Kaga_(azur_lane)"}]
    (row,) = curate(context, rows, captions=captions)
    assert (row["hand_added"], row["hand_caption"]) == (added, whole)


def test_a_tag_list_that_ends_in_a_title_stays_a_tag_list_and_prose_is_told_of(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    titled = "1girl, solo, akebono hat, love live! sunshine!!"
    spoken = "1girl, is the order a rabbit?"  # known tags beside it decide
    rows = [
        {"sha256": "a", "path": "a.png", "raw_caption": titled},
        {"sha256": "b", "path": "b.png", "raw_caption": spoken},
        {"sha256": "c", "path": "c.png", "raw_caption": "She waves at us!"},
    ]
    with caplog.at_level("INFO", logger="dataprep.curate"):
        result = curate(context, rows)
    assert [row["hand_caption"] for row in result] == [None, None, "She waves at us!"]
    assert result[0]["hand_added"] == titled.split(", ")
    told = [message for message in caplog.messages if "read as sentences" in message]
    assert len(told) == 1
    assert told[0].startswith("1 of the captions beside raw pictures")
    assert told[0].endswith("c.png")


def test_a_sentence_beside_a_raw_picture_is_the_whole_caption(context: Context) -> None:
    (row,) = curate(
        context, [{"sha256": "a", "raw_caption": "\ufeffA girl stands in a field.\r\nIt is night.\r\n"}]
    )
    assert row["hand_caption"] == "A girl stands in a field.\nIt is night."


def test_a_tag_of_the_raw_caption_that_was_removed_by_hand_stays_removed(context: Context) -> None:
    decisions.append(context.out, [decisions.decision(("a", ""), "page", removed=["Red_Hair"])])
    (row,) = curate(context, [{"sha256": "a", "raw_caption": "red hair, hat"}])
    assert (row["hand_added"], row["hand_removed"]) == (["hat"], ["Red_Hair"])


def test_decisions_follow_the_content_not_the_name_and_the_view(context: Context) -> None:
    decisions.append(
        context.out,
        [
            decisions.decision(
                ("a", ""), "page", state="drop", box={"left": 1, "top": 2, "right": 9, "bottom": 8}
            ),
            decisions.decision(("a", "face"), "page", added=["close-up"]),
        ],
    )
    rows = [
        {"sha256": "b", "path": "old.png"},
        {"sha256": "a", "path": "new.png"},
        {"sha256": "a", "view": "face"},
    ]
    other, whole, face = curate(context, rows)
    assert other["hand_state"] is None
    assert (whole["hand_state"], whole["hand_box"]) == (
        "drop",
        {"left": 1, "top": 2, "right": 9, "bottom": 8},
    )
    assert (face["hand_state"], face["hand_added"]) == (None, ["close-up"])


def test_a_picture_left_out_by_hand_is_dropped_and_a_quarantined_one_stays_so(context: Context) -> None:
    decisions.append(
        context.out, [decisions.decision((sha256, ""), "page", state="drop") for sha256 in ("a", "b")]
    )
    broken = {"sha256": "b", "state": "quarantined", "reason": "scan:decode: truncated"}
    left_out, quarantined, active = curate(context, [{"sha256": "a"}, broken, {"sha256": "c"}])
    assert (left_out["state"], left_out["reason"]) == ("dropped", "curate:by-hand: left out by hand")
    assert (quarantined["state"], quarantined["reason"]) == ("quarantined", "scan:decode: truncated")
    assert (active["state"], active["reason"]) == ("active", None)


def test_the_trigger_word_is_nobodys_tag_also_when_it_was_chosen_later(context: Context) -> None:
    decisions.append(
        context.out, [decisions.decision(("a", ""), "file", added=["ohwx", "hat"], order=["ohwx", "hat"])]
    )
    (before,) = curate(context, [{"sha256": "a"}])
    (after,) = curate(context, [{"sha256": "a"}], trigger="ohwx")
    assert before["hand_added"] == ["ohwx", "hat"]
    assert (after["hand_added"], after["hand_order"]) == (["hat"], ["hat"])


def test_a_dry_run_sees_edits_and_writes_nothing(context: Context) -> None:
    world = World(context)
    world.run()
    world.file("a").write_text("sks girl, 1girl, hat", encoding="utf-8")
    before = snapshot(context.out)
    dry = Context(context.raw, context.out, context.pixels, context.blobs, dry_run=True)
    assert curate(dry, [world.row("a")])[0]["hand_added"] == ["hat"]
    assert snapshot(context.out) == before


def test_what_people_should_know_is_logged(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    (context.out / "decisions.jsonl").write_text('{"image": "a", "added"', encoding="utf-8")
    curate(context, [{"sha256": "a"}])
    assert "line 1 is damaged and skipped" in caplog.text


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- The promise -------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """The process died here."""


@dataclass
class Truth:
    """What the person did to one picture's caption, by the person's own account."""

    added: dict[str, None] = field(default_factory=dict)
    removed: dict[str, None] = field(default_factory=dict)
    order: list[str] | None = None
    caption: str | None = None  # the whole caption written as a sentence
    dropped: bool = False
    emptied: bool = False  # a caption was left without a tag: the machine's stay out
    fresh: dict[str, None] = field(default_factory=dict)  # added elsewhere, and in no caption file yet
    since: dict[str, None] = field(default_factory=dict)  # added without a look at the sentence
    maybe: dict[str, None] = field(default_factory=dict)  # of these, what a killed run may have shown

    def edit(self, old: list[str], new: list[str]) -> None:
        for tag in old:
            if tag not in new:
                self.added.pop(tag, None)
                self.removed[tag] = None
                # What it says besides itself was not to be seen, and shall not take its place.
                self.removed |= dict.fromkeys(implied(tag) - {*old, *new})
        self.emptied |= bool(old and not new)
        for tag in new:
            if tag not in old:
                self.removed.pop(tag, None)
                self.added[tag] = None
        kept = [tag for tag in old if tag in new] + [tag for tag in new if tag not in old]
        if self.order is not None or new != kept:
            self.order = new

    def rewrite(self, old: list[str], new: list[str], text: str, lead: Lead) -> None:
        """The caption is now `text`, a list of tags: once it was a sentence, its text stays as it is."""
        if self.caption is None:
            self.edit(old, new)
        else:
            self.write(lead.prose(decode(text.encode()).text, "train"))

    def write(self, caption: str | None) -> None:
        """The caption is a sentence now, written in view of what the file said."""
        self.caption, self.since = caption, dict(self.fresh)

    def decide(self, tag: str, *, add: bool) -> None:
        """A tag was added or removed, and not in the caption file."""
        gains, loses = (self.added, self.removed) if add else (self.removed, self.added)
        gains[tag], _ = None, loses.pop(tag, None)
        for tags in (self.fresh, self.since, self.maybe):
            tags.pop(tag, None)
            tags |= dict.fromkeys([tag] if add and tags is not self.maybe else [])

    def allows(self, tags: list[str], text: str, lead: Lead) -> bool:
        if self.caption is not None:
            whole = hand_caption(one_line(self.caption), lead.trigger, lead.class_word)
            for since in (self.since, self.since.keys() - self.maybe.keys()):
                also = hand_caption(with_edits(one_line(self.caption), since), lead.trigger, lead.class_word)
                if text == also or (whole != also and sorted(tags_of(text)) == sorted(tags_of(also))):
                    return True
            return False
        order = [tag for tag in self.order or [] if tag in tags]
        return (
            self.added.keys() <= set(tags)
            and not self.removed.keys() & set(tags)
            and (not self.emptied or set(tags) <= self.added.keys())
            and [tag for tag in tags if tag in order] == order
        )


@dataclass
class World:
    """Three pictures, a machine that tags them, and the real curate, prune and export."""

    context: Context
    machine: dict[str, list[str]] = field(
        default_factory=lambda: {name: ["1girl", "blush", "kaga (azur lane)"] for name in "abc"}
    )
    names: dict[str, str] = field(default_factory=lambda: {name: name for name in "abc"})
    folder: str = "img/2_sks girl"
    settings: dict[str, Any] = field(default_factory=dict)  # of prune
    lead: Lead = field(default_factory=lambda: Lead("sks", "girl"))

    @property
    def words(self) -> dict[str, str | None]:
        return {"trigger": self.lead.trigger, "class_word": self.lead.class_word}

    def lead_in(self, image: str) -> Lead:
        """What the caption starts with that is there now, of whichever run."""
        tags = tags_of(decode(self.file(image).read_bytes()).text)
        words = tag_key(tags[0]).split() if tags else []
        return Lead(*(words if words[:1] == ["sks"] and len(words) <= 2 else ("sks", "girl")))

    def row(self, image: str) -> dict[str, Any]:
        return {"id": digest(self.names[image]), "path": f"{self.names[image]}.png", "sha256": image}

    def file(self, image: str, suffix: str = ".txt") -> Path:
        """Where the file is that was written last, whatever its picture is called now."""
        out = self.context.out
        entries = [entry for entry in read_receipt(out).to_pylist() if entry["image_sha256"] == image]
        pictures = [out / entry["file"] for entry in entries if entry["kind"] == "image"]
        here = [path for path in pictures if path.is_file()]
        place = out / self.folder / f"{self.names[image]}.png"
        return next(iter(here), place).with_suffix(suffix)

    def written(self, image: str) -> list[str]:
        tags = tags_of(decode(self.file(image).read_bytes()).text)
        return [tag_key(tag) for tag in self.lead_in(image).tags(", ".join(tags), "train")]

    def captions(self, hands: dict[str, dict[str, Any]]) -> dict[str, str]:
        """What prune writes for these pictures with these decisions."""
        rows = []
        for image, hand in hands.items():
            scores = [
                {"tag": tag, "score": 0.9 - place / 10, "category": "general"}
                for place, tag in enumerate(self.machine[image])
            ]
            blank = dict.fromkeys(Prune.needs.names)
            own = {name: hand[name] for name in HAND.names if name in blank and name in hand}
            rows.append(
                blank | self.row(image) | {"role": "train", "state": "active", "tag_scores": scores} | own
            )
        table = pa.Table.from_pylist(rows, schema=Prune.needs)
        stage = Prune.model_validate({**self.words, **self.settings})
        return dict(zip(hands, stage.open(self.context)(table)["caption"].to_pylist(), strict=True))

    def run(self) -> None:
        """Curate, merge, export."""
        rows = [self.row(image) for image in self.names]
        hands = curate(self.context, rows, **self.words)
        taken = read_taken(self.context.out).files
        wanted: list[Wanted] = []
        captions = self.captions(dict(zip(self.names, hands, strict=True)))
        for row, hand in zip(rows, hands, strict=True):
            if hand["hand_state"] == "drop":
                continue
            full = row | {"view": "", "role": "train"}
            stem = f"{self.folder}/{Path(row['path']).stem}"
            text = captions[row["sha256"]]
            wanted.append(Wanted(f"{stem}.png", "image", row["sha256"], row["sha256"].encode, full))
            wanted.append(Wanted(f"{stem}.txt", "caption", text, (text + "\n").encode, full, text))
        out = self.context.out
        sync(out, wanted, lambda *_: False, taken=taken)
        (out / "manifest.parquet").touch()


class OneAfterAnother:
    """An executor without threads: which files a killed run has come to does not hang on the clock."""

    def __init__(self, _workers: int) -> None: ...

    def __enter__(self) -> OneAfterAnother:
        return self

    def __exit__(self, *_: object) -> None: ...

    map = staticmethod(map)


@contextmanager
def killed_at(write: int, *, after: bool) -> Iterator[None]:
    """Die before or after the n-th write of a run; a journal line may be cut in two."""
    count = 0

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == write and not after:
                raise KilledError
            result = function(*args, **named)
            if count == write:
                raise KilledError
            return result

        return call

    def torn(out: Path, events: list[dict[str, Any]]) -> None:
        nonlocal count
        count += 1
        before = decisions.journal_file(out).read_bytes() if decisions.journal_file(out).exists() else b""
        decisions.append(out, events)
        if count == write and events:
            data = decisions.journal_file(out).read_bytes()
            if not after:
                decisions.journal_file(out).write_bytes(data[: (len(before) + len(data)) // 2])
            raise KilledError

    with (
        mock.patch.object(sync_module, "ThreadPoolExecutor", OneAfterAnother),
        mock.patch.object(curate_module, "append", torn),
        mock.patch.object(curate_module, "note_taken", deadly(curate_module.note_taken)),
        mock.patch.object(sync_module, "journal", deadly(sync_module.journal)),
        mock.patch.object(sync_module, "write_whole", deadly(sync_module.write_whole)),
        mock.patch.object(sync_module, "write_receipt", deadly(sync_module.write_receipt)),
        mock.patch.object(Path, "unlink", deadly(Path.unlink)),
    ):
        yield


IMAGES = st.sampled_from("abc")
TAGS = [
    "1girl",
    "solo",
    "blush",
    "kaga (azur lane)",
    "very long hair",
    "long hair",
    "^ ^",
    "v",
    "crème",
    "眼鏡",
]
SENTENCES = ["She waves at us, smiling.", "A photo of a girl by the sea.", "彼女は海辺に立っている。"]
# What editors make of the same tags.
STYLES: dict[str, Callable[[list[str]], bytes]] = {
    "plain": lambda tags: ", ".join(tags).encode(),
    "Notepad": lambda tags: (", ".join(tags) + "\r\n").encode("utf-8-sig"),
    "UTF-16": lambda tags: ", ".join(tags).encode("utf-16"),
    "no space": lambda tags: ",".join(tags).encode(),
    "one a line": lambda tags: "\n".join(tags).encode(),
    "escaped": lambda tags: ", ".join(tags).replace("(", r"\(").replace(")", r"\)").encode(),
    "Japanese commas": lambda tags: "、".join(tags).encode(),
}


class HandEditsSurvive(RuleBasedStateMachine):
    """Any sequence of edits, re-tags, renames and kills."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = root = Path(
            tempfile.mkdtemp()
        )  # a temporary directory object would warn when left over
        for name in ("raw", "out"):
            (root / name).mkdir()
        context = Context(root / "raw", root / "out", PixelCache(PixelPolicy(), 2**20), Blobs(root / "blobs"))
        self.world = World(context)
        self.patch = mock.patch("os.fsync")  # nothing here depends on what a power cut leaves; 5 ms a file
        self.patch.start()
        logging.getLogger("dataprep").setLevel(logging.ERROR)
        self.world.run()
        self.truth = {image: Truth() for image in "abc"}
        self.clean = True  # the last run ended well, and nothing was changed since
        self.unseen: dict[str, tuple[list[str], Truth]] = {}  # what was edited, before the first edit
        self.left: dict[str, list[str]] = {}  # tags as a person left them
        self.disturbed = False  # something but captions was changed since the last run

    def teardown(self) -> None:
        self.patch.stop()
        logging.getLogger("dataprep").setLevel(logging.NOTSET)
        shutil.rmtree(self.folder)

    def before(self, image: str) -> list[str]:
        """What was written before the first edit; what is told of the person goes back to there."""
        # Of several edits between two looks the net one counts: nobody sees what was there in between.
        old, before = self.unseen.setdefault(
            image, (self.world.written(image), copy.deepcopy(self.truth[image]))
        )
        self.truth[image] = copy.deepcopy(before)
        self.clean = False
        return old

    @rule(
        image=IMAGES,
        tags=st.lists(st.sampled_from(TAGS), max_size=6, unique=True),
        style=st.sampled_from(sorted(STYLES)),
    )
    def rewrite(self, image: str, tags: list[str], style: str) -> None:
        """A person writes the caption anew, in any order, with any editor."""
        file = self.world.file(image)
        if file.is_file():
            lead = self.world.lead_in(image)
            first = " ".join(filter(None, (lead.trigger, lead.class_word)))
            data, old = STYLES[style]([first, *tags]), self.before(image)
            self.truth[image].rewrite(old, [tag_key(tag) for tag in tags], decode(data).text, lead)
            file.write_bytes(data)
            if self.truth[image].caption is None and not self.disturbed:
                self.left[image] = [tag_key(tag) for tag in tags]

    @rule(image=IMAGES)
    def ask_for_the_machines_tags(self, image: str) -> None:
        """A person who wants all of the machine's tags back writes a star."""
        file = self.world.file(image)
        if file.is_file():
            old = self.before(image)
            self.left.pop(image, None)
            truth = self.truth[image]
            if truth.caption is None:
                for tag in old:
                    truth.added.pop(tag, None)
            truth.emptied, truth.order = False, None
            truth.write(None)
            truth.removed.clear()
            file.write_text("sks girl, *\n", encoding="utf-8")

    @rule(image=IMAGES, text=st.sampled_from(SENTENCES))
    def write_a_sentence(self, image: str, text: str) -> None:
        """A person writes prose instead of tags."""
        file = self.world.file(image)
        if file.is_file():
            self.before(image)
            self.left.pop(image, None)
            self.truth[image].write(text)
            file.write_text(text, encoding="utf-8")

    @rule(image=IMAGES, bom=st.booleans())
    def save_unchanged(self, image: str, bom: bool) -> None:
        """An editor saves the caption its own way."""
        file = self.world.file(image)
        # Where a run was killed about to write it, what was saved may be the old text, or an edit of the new.
        doubt = file.relative_to(self.world.context.out).as_posix() in read_pending(self.world.context.out)
        if file.is_file() and self.truth[image].caption is None and not doubt:
            tags = [tag.replace(" ", "_").upper() for tag in self.world.written(image)]
            lead = self.world.lead_in(image)
            words = " ".join(filter(None, (lead.trigger, lead.class_word)))
            text = f"{words.upper()},{','.join(tags)},\r\n"
            file.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
            self.clean = False

    @precondition(lambda self: self.clean)
    @rule(image=st.sampled_from("ab"))
    def delete_caption(self, image: str) -> None:
        file = self.world.file(image)
        if file.is_file():
            self.truth[image].rewrite(self.world.written(image), [], "", self.world.lead)
            file.unlink()
            self.world.run()

    @precondition(lambda self: self.clean and not self.truth["a"].dropped)
    @rule()
    def delete_picture(self) -> None:
        self.world.file("a", ".png").unlink()
        self.world.file("a", ".txt").unlink()
        self.truth["a"].dropped = True
        self.clean = False

    @precondition(lambda self: self.clean)
    @rule(image=IMAGES, tag=st.sampled_from(TAGS), add=st.booleans())
    def decide_on_the_page(self, image: str, tag: str, add: bool) -> None:
        """A line in decisions.jsonl, as the web page writes it."""
        what = {"added" if add else "removed": [tag]}
        decisions.append(self.world.context.out, [decisions.decision((image, ""), "page", **what)])
        self.truth[image].decide(tag, add=add)
        self.clean = False
        self.disturbed = True
        self.left.clear()

    @rule(image=IMAGES, tags=st.lists(st.sampled_from(TAGS), max_size=6, unique=True))
    def retag(self, image: str, tags: list[str]) -> None:
        """A new tagger, threshold or pruning."""
        self.world.machine[image] = tags
        self.clean = False
        self.disturbed = True
        self.left.clear()

    @rule(threshold=st.sampled_from([0.35, 0.65, 0.95]), absorb=st.sets(st.sampled_from(TAGS), max_size=2))
    def change_settings(self, threshold: float, absorb: set[str]) -> None:
        """Another threshold, and other tags that the trigger takes over."""
        self.world.settings = {"general_threshold": threshold, "absorb": sorted(absorb)}
        self.clean = False
        self.disturbed = True
        self.left.clear()

    @rule(image=IMAGES, number=st.integers(0, 3))
    def rename(self, image: str, number: int) -> None:
        self.world.names[image] = f"{image}{number}"
        self.clean = False

    @rule(word=st.sampled_from(["girl", "woman", None]))
    def change_class_word(self, word: str | None) -> None:
        """Another class word, or none: no edit of anybody's."""
        self.world.lead = Lead("sks", word)
        self.clean = False

    @rule(repeats=st.integers(1, 3))
    def change_repeats(self, repeats: int) -> None:
        self.world.folder = f"img/{repeats}_sks girl"
        self.clean = False

    @rule()
    def run(self) -> None:
        self.world.run()
        self.settle()

    def settle(self) -> None:
        """A run ended well; where only captions were edited, they are as the person left them."""
        for image, tags in self.left.items():
            if not self.truth[image].dropped:
                assert self.world.written(image) == tags, (image, self.truth[image])
        self.left.clear()
        self.unseen.clear()
        for truth in self.truth.values():
            truth.fresh.clear()
        self.clean, self.disturbed = True, False

    @rule(write=st.integers(1, 12), after=st.booleans())
    def killed_run(self, write: int, after: bool) -> None:
        self.clean = False
        try:
            with killed_at(write, after=after):
                self.world.run()
        except KilledError:
            self.left.clear()
            self.disturbed = True
            for truth in self.truth.values():
                truth.maybe |= truth.fresh
            new = plan(self.world.context.out, self.world.lead).events
            missed = {event["image"] for event in new}
            self.unseen = {image: old for image, old in self.unseen.items() if image in missed}
            return
        self.settle()

    @precondition(lambda self: self.clean)
    @invariant()
    def nothing_by_hand_is_lost(self) -> None:
        for image, truth in self.truth.items():
            if truth.dropped:
                assert not self.world.file(image, ".png").exists()
            else:
                text = self.world.file(image).read_text("utf-8").removesuffix("\n")
                assert truth.allows(self.world.written(image), text, self.world.lead), (image, truth, text)

    @precondition(lambda self: self.clean)
    @invariant()
    def an_untouched_caption_is_the_machines(self) -> None:
        for image, truth in self.truth.items():
            if truth == Truth():
                machines = self.world.captions({image: {}})[image]
                assert self.world.file(image).read_text("utf-8") == machines + "\n"

    @precondition(lambda self: self.clean)
    @invariant()
    def a_second_run_finds_nothing(self) -> None:
        assert plan(self.world.context.out, self.world.lead).events == []


TestHandEditsSurvive = HandEditsSurvive.TestCase
TestHandEditsSurvive.settings = settings(
    max_examples=10, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_what_a_killed_run_wrote_is_nobodys_edit_after_a_second_killed_run_either() -> None:
    state = HandEditsSurvive()
    state.change_settings(absorb={"1girl"}, threshold=0.35)
    with mock.patch.object(sync_module, "write_receipt", side_effect=KilledError), suppress(KilledError):
        state.world.run()  # killed when the captions were written
    assert "1girl" not in state.world.written("b")
    state.change_settings(absorb=set(), threshold=0.35)
    with mock.patch.object(sync_module, "write_whole", side_effect=KilledError), suppress(KilledError):
        state.world.run()  # killed, with other settings, when it had noted what it would write
    assert "1girl" not in state.world.written("b")
    state.run()
    state.an_untouched_caption_is_the_machines()
    assert "1girl" in state.world.written("b")
    state.teardown()


def _last_manifest(context: Context, rows: list[dict[str, Any]]) -> None:
    context.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), context.out / "manifest.parquet")


def test_decisions_follow_a_raw_file_whose_bytes_changed(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    _last_manifest(context, [{"path": "6.jpg", "role": "train", "sha256": "old"}])
    decisions.append(context.out, [{"image": "old", "added": ["hat"], "removed": ["smile"]}])
    for _ in range(2):  # a second run finds the same and writes nothing more
        (row,) = curate(context, [{"path": "6.jpg", "sha256": "new"}])
        assert (row["hand_added"], row["hand_removed"]) == (["hat"], ["smile"])
    assert len(decisions.read_journal(context.out).events) == 2
    assert caplog.messages == [
        "6.jpg: the file has new bytes since the last run; what was decided by hand stays with it"
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [{"path": "6.jpg", "sha256": "new"}, {"path": "best.jpg", "sha256": "old"}],  # renamed
        [{"path": "6.jpg", "sha256": "other"}],  # another file took its name
    ],
)
def test_decisions_do_not_follow_content_that_was_renamed(
    context: Context, rows: list[dict[str, Any]]
) -> None:
    before = [("6.jpg", "old"), ("7.jpg", "other")]
    _last_manifest(context, [{"path": p, "role": "train", "sha256": s} for p, s in before])
    decisions.append(context.out, [{"image": "old", "added": ["hat"]}])
    assert curate(context, rows)[0]["hand_added"] is None


def test_a_file_that_now_shows_another_picture_is_named_plainly(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    old, new = (Image.fromarray(pixels) for pixels in noise)
    context.raw.mkdir(parents=True, exist_ok=True)
    new.save(context.raw / "6.png")
    _last_manifest(context, [{"path": "6.png", "role": "train", "sha256": "old", "phash": phash(old)}])
    curate(context, [{"path": "6.png", "sha256": "new", "pixels_key": "new"}])
    assert "another picture" in caplog.text


def test_prepared_files_that_were_renamed_get_their_names_back(tmp_path: Path) -> None:
    (tmp_path / "best.txt").write_bytes(b"sks")
    curate_module.restore_names(tmp_path, [Found("a.txt", "renamed", None, at="best.txt")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_another_spelling_left_in_an_old_folder_is_no_sentence() -> None:
    state = HandEditsSurvive()
    state.change_repeats(repeats=1)
    state.save_unchanged(bom=False, image="c")
    state.run()
    state.write_a_sentence(image="c", text="She waves at us, smiling.")
    state.run()
    assert plan(state.world.context.out, Lead("sks", "girl")).events == []
    state.teardown()


def test_a_box_outside_its_picture_is_named(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    box = {"left": 500, "top": 0, "right": 600, "bottom": 90}
    decisions.append(context.out, [decisions.decision(("a", ""), "page", box=box)])
    curate(context, [{"sha256": "a", "path": "a.png", "width": 100, "height": 100}])
    assert (
        "a.png: the box set by hand, [500, 0, 600, 90], lies outside the picture of 100x100 px" in caplog.text
    )
    caplog.clear()
    curate(context, [{"sha256": "a", "path": "a.png", "width": 550, "height": 100}])
    assert "outside" not in caplog.text
