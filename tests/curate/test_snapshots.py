"""Snapshots of what runs left, and undo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from dataprep.curate import snapshots as module
from dataprep.curate.decisions import append, decision, read_journal
from dataprep.curate.edits import Lead, contents, plan
from dataprep.curate.snapshots import KEPT, edited_files, edits_text, finish_undo, record, snapshots, undo
from dataprep.curate.taken import Taken, note_taken
from dataprep.errors import InputError
from dataprep.export.sync import Wanted, sync
from dataprep.store import write_table

FOLDER = "img/2_sks girl"
LEAD = Lead("sks", "girl")


def run(out: Path, machine: Mapping[str, str]) -> None:
    """What a run does to the folder, with `machine`'s tags: curate, merge, export, manifest."""
    finish_undo(out)
    record(out)
    planned = plan(out, LEAD)
    append(out, planned.events)
    note_taken(out, Taken(planned.lines, contents(planned.found), running=True))
    wanted = []
    for stem, tags in machine.items():
        hand = planned.hands.get((stem, ""))
        text = f"sks girl, {tags}" if hand is None else ", ".join(["sks girl", tags, *hand.added.values()])
        row = {"id": stem, "sha256": stem, "view": "", "role": "train"}
        wanted.append(Wanted(f"{FOLDER}/{stem}.png", "image", stem, stem.encode, row))
        wanted.append(Wanted(f"{FOLDER}/{stem}.txt", "caption", text, (text + "\n").encode, row, text))
    sync(out, wanted, lambda *_: True)
    about = json.dumps({"trigger": "sks", "class_word": "girl"}).encode()
    write_table(
        out / "manifest.parquet", pa.table({"id": ["x"]}).replace_schema_metadata({b"dataprep": about})
    )


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # nothing here survives a power cut


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / ".dataprep").mkdir()
    run(tmp_path, {"a": "1girl, smile", "b": "1girl, hat"})
    return tmp_path


def text(out: Path, stem: str = "a") -> str:
    return (out / FOLDER / f"{stem}.txt").read_text(encoding="utf-8").strip()


def edit(out: Path, caption: str, stem: str = "a") -> None:
    (out / FOLDER / f"{stem}.txt").write_text(caption, encoding="utf-8")


def test_status_names_the_edited_files_and_not_those_saved_again(out: Path) -> None:
    edit(out, "sks girl, 1girl, smile, scarf")
    edit(out, "sks girl,1girl,hat\r\n", "b")
    assert [(found.file, found.kind) for found in edited_files(out)] == [(f"{FOLDER}/a.txt", "tags")]


def test_what_was_edited_is_told_tag_by_tag(out: Path, tmp_path: Path) -> None:
    assert edits_text(out) == []
    edit(out, "sks girl, hat, scarf")
    (line,) = edits_text(out)
    assert line.endswith("/a.txt: tags: +hat, +scarf, -1girl, -smile")
    assert edits_text(tmp_path / "nowhere") == []


def test_a_long_list_of_changes_is_cut_and_prose_is_told_to_stay(out: Path) -> None:
    edit(out, text(out) + "".join(f", new {i}" for i in range(20)))
    edit(out, "She waves at us, smiling.", "b")
    told = dict(line.rsplit("/", 1)[1].split(".txt: ") for line in edits_text(out))
    assert told["a"].endswith("+new 11 and 8 more")
    assert told["b"] == "prose: the whole caption stays as it is from now on"


def test_an_unchanged_folder_gets_no_new_snapshot(out: Path) -> None:
    for _ in range(3):
        run(out, {"a": "1girl, smile", "b": "1girl, hat"})
    assert [snapshot.run for snapshot in snapshots(out)] == ["0001"]


def test_undo_takes_hand_edits_back_and_keeps_them_in_the_journal(out: Path) -> None:
    edit(out, "sks girl, scarf")
    append(out, [decision(("b", ""), "page", state="drop")])
    told = undo(out)
    assert "run 0001" in told
    assert "What was edited since the last run is taken back too, and kept as 0002. " in told
    assert text(out) == "sks girl, 1girl, smile"
    journal = read_journal(out)
    assert journal.effective() == []
    assert [event.get("new") for event in journal.events] == [None, "sks girl, scarf", None]
    assert edited_files(out) == []


def test_undo_without_edits_goes_to_the_run_before(out: Path) -> None:
    run(out, {"a": "1girl, frown", "b": "1girl, hat"})
    assert "since the last run" not in undo(out)
    assert text(out) == "sks girl, 1girl, smile"
    assert edited_files(out) == []


def test_undo_can_be_undone(out: Path) -> None:
    edit(out, "sks girl, 1girl, smile, scarf")
    run(out, {"a": "1girl, smile", "b": "1girl, hat"})
    undo(out)
    assert (text(out), read_journal(out).effective()) == ("sks girl, 1girl, smile", [])
    undo(out, "2")
    assert text(out) == "sks girl, 1girl, smile, scarf"
    assert [event["added"] for event in read_journal(out).effective()] == [["scarf"]]


def test_edits_that_no_run_has_seen_come_back_when_undo_is_undone(out: Path) -> None:
    edit(out, "sks girl, 1girl, smile, scarf")
    (out / FOLDER / "b.txt").unlink()
    assert undo(out).endswith("`dataprep undo --to 0002` takes this back")
    assert (text(out), text(out, "b")) == ("sks girl, 1girl, smile", "sks girl, 1girl, hat")
    undo(out, "0002")
    assert (text(out), text(out, "b")) == ("sks girl, 1girl, smile, scarf", "")
    events = read_journal(out).effective()
    assert {event["file"][-5:]: event.get("removed") for event in events} == {
        "a.txt": None, "b.txt": ["1girl", "hat", "*"]
    }  # fmt: skip
    assert edited_files(out) == []
    undo(out, "0001")
    assert (text(out), read_journal(out).effective()) == ("sks girl, 1girl, smile", [])


def test_an_edit_made_after_an_undo_is_kept_by_the_next(out: Path) -> None:
    edit(out, "sks girl, scarf")
    undo(out)
    edit(out, "sks girl, 1girl, smile, cat")
    told = undo(out, "0002")
    assert text(out) == "sks girl, scarf"
    undo(out, told.rsplit("--to ")[1][:4])
    assert text(out) == "sks girl, 1girl, smile, cat"
    assert [event["added"] for event in read_journal(out).effective()] == [["cat"]]


def test_the_oldest_snapshot_is_not_dropped_while_undo_goes_there(out: Path) -> None:
    record(out)
    first = out / ".dataprep/snapshots/0001.parquet"
    for number in range(2, KEPT + 1):
        first.with_name(f"{number:04d}.parquet").write_bytes(first.read_bytes())
    edit(out, "sks girl, scarf")
    undo(out, "1")
    assert text(out) == "sks girl, 1girl, smile"


def test_a_run_after_undo_does_not_bring_the_undone_edit_back(out: Path) -> None:
    edit(out, "sks girl, 1girl, smile, scarf")
    run(out, {"a": "1girl, smile", "b": "1girl, hat"})
    undo(out)
    run(out, {"a": "1girl, smile", "b": "1girl, hat"})
    assert text(out) == "sks girl, 1girl, smile"


def test_the_same_edit_after_undo_counts_again(out: Path) -> None:
    for _ in range(2):
        edit(out, "sks girl, 1girl, smile, scarf")
        run(out, {"a": "1girl, smile", "b": "1girl, hat"})
        assert text(out) == "sks girl, 1girl, smile, scarf"
        undo(out, "1")


def test_a_deleted_caption_comes_back(out: Path) -> None:
    (out / FOLDER / "a.txt").unlink()
    undo(out)
    assert text(out) == "sks girl, 1girl, smile"


def test_a_deleted_picture_comes_back_with_the_next_run(out: Path) -> None:
    for suffix in (".png", ".txt"):
        (out / FOLDER / f"a{suffix}").unlink()
    told = undo(out)
    assert edited_files(out) == []  # it is not deleted anew
    run(out, {"a": "1girl, smile", "b": "1girl, hat"})
    assert (out / FOLDER / "a.png").is_file()
    assert read_journal(out).effective() == []
    undo(out, told.rsplit("--to ")[1][:4])
    assert [event["state"] for event in read_journal(out).effective()] == ["drop"]


def test_a_run_that_was_never_there_is_named_with_those_that_were(out: Path) -> None:
    with pytest.raises(InputError, match=r"no snapshot of this run; there are: 0001 \("):
        undo(out, "7")
    with pytest.raises(InputError, match="no earlier run"):
        undo(out)
    assert read_journal(out).events == ()


def test_a_folder_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest.parquet"):
        undo(tmp_path)


class KilledError(BaseException):
    """The process died here."""


@pytest.mark.parametrize(
    "function", ["append", "write_table", "write_bytes", "journal", "write_receipt", "note_taken"]
)
@pytest.mark.parametrize("calls_before", [0, 1, 2])
def test_an_undo_that_is_killed_is_finished_later(out: Path, function: str, calls_before: int) -> None:
    edit(out, "sks girl, scarf")
    edit(out, "sks girl, cat", "b")
    real, left = getattr(module, function), calls_before

    def deadly(*args: Any, **named: Any) -> Any:
        nonlocal left
        if left == 0:
            raise KilledError
        left -= 1
        return real(*args, **named)

    try:
        with mock.patch.object(module, function, deadly):
            undo(out)
    except KilledError:
        begun = (out / ".dataprep/undo.json").exists()
        if not begun:
            assert {text(out), text(out, "b")} == {"sks girl, scarf", "sks girl, cat"}
            undo(out)
        finish_undo(out)
    assert (text(out), text(out, "b")) == ("sks girl, 1girl, smile", "sks girl, 1girl, hat")
    assert read_journal(out).effective() == []
    assert edited_files(out) == []
    kept = [snapshot.run for snapshot in snapshots(out) if "sks girl, scarf" in snapshot.captions.values()]
    undo(out, kept[-1])  # neither side is lost
    assert (text(out), text(out, "b")) == ("sks girl, scarf", "sks girl, cat")
    assert len(read_journal(out).effective()) == 2


def test_an_edit_made_after_an_undo_was_killed_is_not_overwritten(out: Path) -> None:
    edit(out, "sks girl, scarf")
    with mock.patch.object(module, "journal", side_effect=KilledError), pytest.raises(KilledError):
        undo(out)
    edit(out, "sks girl, 1girl, smile, cat")
    finish_undo(out)
    assert text(out) == "sks girl, 1girl, smile, cat"
    assert [found.event["added"] for found in edited_files(out) if found.event] == [["cat"]]


def test_old_snapshots_go_when_there_are_many(out: Path) -> None:
    record(out)
    first = out / ".dataprep/snapshots/0001.parquet"
    for number in range(2, KEPT + 1):
        first.with_name(f"{number:04d}.parquet").write_bytes(first.read_bytes())
    run(out, {"a": "1girl, frown", "b": "1girl, hat"})
    record(out)
    assert [len(snapshots(out)), snapshots(out)[-1].run] == [KEPT, f"{KEPT + 1:04d}"]
