"""The newest edit stands on whichever copy of a picture is kept."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image

from dataprep.copies.likeness import thumb
from dataprep.curate.captions import Lead, tags_of
from dataprep.curate.inherited import copies_in
from dataprep.curate.taken import read_taken
from dataprep.export.sync import Wanted, sync
from dataprep.manifest import BASE
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.stages.curate import HAND, Curate
from dataprep.stages.dedup import Dedup
from dataprep.stages.prune import Prune
from dataprep.store import Blobs

SENTENCES = ["She waves at us, smiling.", "A photo of the sea at night."]


@pytest.fixture
def larger(hand_work: Any) -> Any:
    """A rewritten list, a sentence and an emptied caption, each inherited by a picture twice as large."""
    tags = hand_work.text("000.png").split(", ")
    hand_work.caption("000.png").write_text(", ".join([*tags[:-1], "teacup"]))
    hand_work.caption("001.png").write_text("She waves at us from the top of a hill.")
    hand_work.machines = hand_work.text("002.png")
    hand_work.caption("002.png").write_text("")
    hand_work.run()
    for i in range(3):
        hand_work.enlarge(f"00{i}.png", f"big{i}.png", 2)
    hand_work.run()
    assert hand_work.text("big1.png") == "sks girl, She waves at us from the top of a hill."
    return hand_work


EDITS = {"0.png": "sks girl, smile, teacup", "1.png": "sks girl, sea, my tag", "2.png": "*"}


def left(work: Any, name: str) -> bool:
    """Whether the copies of this name stand as they were left."""
    texts = [work.text(f"{name}{path}") for path in EDITS]
    # The machine may see the same tags in another order where a picture is larger.
    return texts[:2] == [*EDITS.values()][:2] and set(texts[2].split(", ")) == set(work.machines.split(", "))


def test_what_is_written_on_the_larger_copy_outranks_what_it_inherited(larger: Any) -> None:
    for path, text in EDITS.items():
        larger.caption(f"big{path}").write_text(text)
    for _ in range(2):
        larger.run()
        assert left(larger, "big")
        assert larger.row("000.png")["reason"].endswith("; that one stands as it was edited by hand since")
    for path in EDITS:
        (larger.raw / f"big{path}").unlink()
    for _ in range(2):  # nor are the old decisions back with the old copy
        larger.run()
        assert left(larger, "00")


def test_a_third_copy_has_the_newest_edit(larger: Any) -> None:
    for path, text in EDITS.items():
        larger.caption(f"big{path}").write_text(text)
    larger.run()
    for i in range(3):
        larger.enlarge(f"big{i}.png", f"huge{i}.png", 2)
    larger.run()
    assert left(larger, "huge")


def test_nothing_is_a_copy_before_the_first_run(tmp_path: Path) -> None:
    assert copies_in(tmp_path) == {}


class World:
    """One picture in up to three sizes, and the real curate, dedup, prune and export."""

    sizes = {"small": 100, "large": 240, "huge": 700}
    machine = ("1girl", "blush", "v")

    def __init__(self, folder: Path) -> None:
        for name in ("raw", "out"):
            (folder / name).mkdir()
        cache = PixelCache(PixelPolicy(), 2**20)
        self.context = Context(folder / "raw", folder / "out", cache, Blobs(folder / "blobs"))
        colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        self.look = thumb(Image.fromarray(colours))
        self.there = {"small"}
        self.raws: dict[str, str] = {}  # captions beside raw pictures
        self.rows: list[dict[str, Any]] = []

    def measured(self, name: str) -> dict[str, Any]:
        hashes = dict.fromkeys(("phash", "trim_phash"), "9f0b33c45a6de871")
        hashes |= dict.fromkeys(("mirror_phash", "mirror_trim_phash"), "9f0b33c4a5922871")
        side = self.sizes[name]
        return hashes | {
            "id": f"id-{name}", "path": f"{name}.png", "sha256": f"sha-{name}", "width": side, "height": side,
            "bytes": 1000, "format": "png", "thumb": self.look, "trim_thumb": self.look, "trim_share": 1.0,
            "role": "train", "state": "active", "view": "", "raw_caption": self.raws.get(name) or None,
        }  # fmt: skip

    def run(self, *, killed: str | None = None) -> None:
        """Curate, dedup, prune, export, manifest.

        Args:
            killed: curate: dies after it.
        """
        rows = [self.measured(name) for name in sorted(self.there)]
        base = pa.Table.from_pylist([dict.fromkeys(BASE.names) | row for row in rows], schema=BASE)
        with mock.patch("dataprep.stages.curate._look", return_value=None):  # there are no files to look at
            hands = Curate(trigger="sks", class_word="girl").open(self.context)(base).to_pylist()
        if killed == "curate":
            return
        rows = [row | hand for row, hand in zip(rows, hands, strict=True)]
        schema = pa.schema([("state", pa.string()), ("reason", pa.string()), *Dedup.needs])
        found = Dedup().open(self.context)(pa.Table.from_pylist(rows, schema=schema)).to_pylist()
        self.rows = [row | new for row, new in zip(rows, found, strict=True)]
        self._export()

    def _export(self) -> None:
        taken, out = read_taken(self.context.out).files, self.context.out
        scores = [
            {"tag": tag, "score": 0.9 - i / 10, "category": "general"} for i, tag in enumerate(self.machine)
        ]
        blank = dict.fromkeys(Prune.needs.names)
        rows = [
            blank | {k: v for k, v in row.items() if k in blank} | {"tag_scores": scores} for row in self.rows
        ]
        pruned = Prune(trigger="sks", class_word="girl").open(self.context)(
            pa.Table.from_pylist(rows, schema=Prune.needs)
        )
        wanted: list[Wanted] = []
        for row, text in zip(self.rows, pruned["caption"].to_pylist(), strict=True):
            if row["state"] == "active":
                stem, sha256 = f"img/2_sks girl/{Path(row['path']).stem}", row["sha256"]
                wanted.append(Wanted(f"{stem}.png", "image", sha256, sha256.encode, row))
                wanted.append(Wanted(f"{stem}.txt", "caption", text, (text + "\n").encode, row, text))
        sync(out, wanted, lambda *_: False, taken=taken)
        base = ("id", "path", "role", "sha256", "width", "height", "view", "raw_caption", "state")
        text = [(name, pa.string()) for name in ("phash", "thumb", "duplicate_of")]
        text += [("distance", pa.int32()), ("trim_share", pa.float32())]
        schema = pa.schema([*HAND, *(BASE.field(name) for name in base), *text])
        cells = [{name: row.get(name) for name in schema.names} for row in self.rows]
        table = pa.Table.from_pylist(cells, schema=schema)
        about = json.dumps({"trigger": "sks", "class_word": "girl"}).encode()
        pq.write_table(table.replace_schema_metadata({b"dataprep": about}), out / "manifest.parquet")

    @property
    def kept(self) -> Path:
        """The caption of the copy that is kept."""
        (row,) = [row for row in self.rows if row["state"] == "active"]
        return self.context.out / "img" / "2_sks girl" / f"{Path(row['path']).stem}.txt"

    def text(self) -> str:
        return self.kept.read_text(encoding="utf-8").removesuffix("\n")


class InAWorld(RuleBasedStateMachine):
    """A world of its own for every example."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.patch = mock.patch("os.fsync")  # nothing here depends on what a power cut leaves
        self.patch.start()
        logging.getLogger("dataprep").setLevel(logging.ERROR)
        self.world = World(self.folder)

    def teardown(self) -> None:
        self.patch.stop()
        logging.getLogger("dataprep").setLevel(logging.NOTSET)
        shutil.rmtree(self.folder)


class TheNewestEditStands(InAWorld):
    """Any sequence of edits, copies that come and go, and kills."""

    def __init__(self) -> None:
        super().__init__()
        self.world.run()
        self.wanted: str | None = None  # as a person left it; None: the machine's
        self.clean = True  # the last run ended, and nothing was changed since

    @rule(tags=st.lists(st.sampled_from(["1girl", "blush", "v", "hat", "sea"]), max_size=4, unique=True))
    def rewrite(self, tags: list[str]) -> None:
        self.wanted = ", ".join(["sks girl", *tags])
        self.world.kept.write_text(self.wanted, encoding="utf-8")
        self.clean = False

    @rule(text=st.sampled_from(SENTENCES))
    def write_a_sentence(self, text: str) -> None:
        self.wanted = f"sks girl, {text}"
        self.world.kept.write_text(self.wanted, encoding="utf-8")
        self.clean = False

    @rule()
    def ask_for_the_machines_tags(self) -> None:
        self.wanted = None
        self.world.kept.write_text("*", encoding="utf-8")
        self.clean = False

    @rule(name=st.sampled_from(sorted(World.sizes)), first=st.booleans())
    def copies_come_and_go(self, name: str, first: bool) -> None:
        """Another copy, or one less; with the edits before it in the same run or in one of their own."""
        if first:
            self.run()
        there = self.world.there ^ {name}
        if there:
            self.world.there = there
            self.run()

    @rule()
    def run(self) -> None:
        self.world.run()
        self.clean = True

    @rule()
    def killed_run(self) -> None:
        self.world.run(killed="curate")

    @precondition(lambda self: self.clean)
    @invariant()
    def the_newest_edit_stands(self) -> None:
        text = self.world.text()
        if self.wanted is None:
            # And what was added before a sentence came that says it: nobody took that out.
            assert (
                {"sks girl", *World.machine}
                <= set(tags_of(text))
                <= {"sks girl", *World.machine, "hat", "sea"}
            )
        else:
            assert text == self.wanted

    @precondition(lambda self: self.clean)
    @invariant()
    def a_second_run_finds_nothing(self) -> None:
        from dataprep.curate.edits import plan

        assert plan(self.world.context.out, Lead("sks", "girl")).events == []


TestTheNewestEditStands = TheNewestEditStands.TestCase
TestTheNewestEditStands.settings = settings(
    max_examples=12, stateful_step_count=10, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class TheNewestWordOnEachTag(InAWorld):
    """Any sequence of edits of single tags, on whichever copy is kept, held against a dictionary of tags.

    Copies come and go, with captions beside them in RAW that change, and runs are killed.
    """

    tags = ("blush", "v", "hat", "sea", "cat")

    def __init__(self) -> None:
        super().__init__()
        self.decided: dict[str, bool] = {}  # tag -> whether it is wanted, by the newest word on it
        self.last: dict[str, set[str]] = {}  # copies of the last run that ended, and their captions in RAW
        self.written: set[str] = set()
        self.finish()

    def beside(self) -> dict[str, set[str]]:
        return {name: {*tags_of(self.world.raws.get(name, ""))} for name in self.world.there}

    def take_over(self) -> None:
        """What a run learns: the words on tags since, and what stood beside copies that are gone."""
        text = {*tags_of(self.world.text())}
        self.decided |= {tag: tag in text for tag in text ^ self.written}
        heir = max(self.world.there & self.last.keys(), key=World.sizes.__getitem__, default=None)
        for name in self.last.keys() - self.world.there if heir else ():
            new = self.last[name] - self.decided.keys() - self.beside()[heir or ""]
            self.decided |= dict.fromkeys(new, True)
        self.written = text

    def finish(self) -> None:
        self.world.run()
        self.last, self.written = self.beside(), {*tags_of(self.world.text())}

    def wanted(self) -> set[str]:
        seen = {*World.machine}.union(*self.beside().values())
        return {"sks girl"} | {
            tag for tag in seen | self.decided.keys() if self.decided.get(tag, tag in seen)
        }

    @rule(tag=st.sampled_from(tags))
    def add_or_remove(self, tag: str) -> None:
        tags = tags_of(self.world.text())
        edited = [t for t in tags if t != tag] if tag in tags else [*tags, tag]
        self.world.kept.write_text(", ".join(edited), encoding="utf-8")

    @rule(name=st.sampled_from(sorted(World.sizes)))
    def come_or_go(self, name: str) -> None:
        self.world.there = (self.world.there ^ {name}) or self.world.there

    @rule(
        name=st.sampled_from(sorted(World.sizes)),
        tags=st.lists(st.sampled_from(tags), max_size=2, unique=True),
    )
    def caption_beside(self, name: str, tags: list[str]) -> None:
        self.world.raws[name] = ", ".join(tags)

    def is_known(self) -> bool:
        """Whether any copy was there before: else it is another picture, to the program."""
        return bool(self.world.there & self.last.keys())

    @precondition(lambda self: self.is_known())
    @rule()
    def killed_run(self) -> None:
        self.take_over()
        self.world.run(killed="curate")

    @rule()
    def run(self) -> None:
        if not self.is_known():
            return
        self.take_over()
        self.finish()
        assert {*tags_of(self.world.text())} == self.wanted()

    @rule(tag=st.sampled_from(tags), name=st.sampled_from(sorted(World.sizes)))
    def edit_run_swap_run(self, tag: str, name: str) -> None:
        self.add_or_remove(tag)
        self.run()
        self.come_or_go(name)
        self.run()


TestTheNewestWordOnEachTag = TheNewestWordOnEachTag.TestCase
TestTheNewestWordOnEachTag.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_what_stood_beside_a_copy_and_was_removed_by_hand_stays_removed_when_the_copy_goes() -> None:
    state = TheNewestWordOnEachTag()
    state.caption_beside(name="huge", tags=["blush"])
    state.come_or_go(name="huge")
    state.run()
    state.come_or_go(name="huge")  # its file is gone in the run that learns of the edit
    state.add_or_remove(tag="blush")
    state.run()
    assert "blush" not in state.world.text()
    state.teardown()


@pytest.mark.slow
def test_the_newest_word_on_each_tag_stands_after_many_more_edits() -> None:
    long = settings(TestTheNewestWordOnEachTag.settings, max_examples=40, stateful_step_count=25)
    run_state_machine_as_test(TheNewestWordOnEachTag, settings=long)
