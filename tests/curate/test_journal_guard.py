"""No run goes on without decisions that were known, and undo brings them back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataprep.check import check
from dataprep.curate.decisions import append, decision, journal_file, read_journal
from dataprep.curate.journal_guard import check_whole, keep, loss, restore
from dataprep.curate.snapshots import undo
from dataprep.curate.taken import Taken, note_taken
from dataprep.errors import InputError


@pytest.fixture
def decided(hand_work: Any) -> Any:
    """Two captions with a tag added by hand, which two runs know."""
    for path in ("000.png", "001.png"):
        with hand_work.caption(path).open("a") as file:
            file.write(", my hat")
        hand_work.run()
    hand_work.texts = [hand_work.text(f"00{i}.png") for i in range(4)]
    return hand_work


def objects(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize(
    "saved",
    [
        lambda data: json.dumps(objects(data)).encode(),
        lambda data: json.dumps(objects(data), indent=2).encode(),
        lambda data: b"\n".join(json.dumps(value, indent=2).encode() for value in objects(data)),
        lambda data: data.decode().encode("utf-16"),
        lambda data: data.decode().encode("utf-16-be"),
        lambda data: data.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
    ],
    ids=["list", "indented list", "indented", "UTF-16", "UTF-16-BE without mark", "CRLF", "mark"],
)
def test_a_journal_saved_by_an_editor_says_the_same(decided: Any, saved: Callable[[bytes], bytes]) -> None:
    file = journal_file(decided.out)
    file.write_bytes(saved(file.read_bytes()))
    with decided.caption("002.png").open("a") as caption:
        caption.write(", my scarf")
    decided.run()
    assert [decided.text(path) for path in ("000.png", "001.png")] == decided.texts[:2]
    assert [event["added"] for event in read_journal(decided.out).events] == [["my hat"]] * 2 + [["my scarf"]]
    assert read_journal(decided.out).damaged == ()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda file: file.unlink(), "is gone; the last run knew 2 decisions"),
        (lambda file: file.write_bytes(b""), "holds 0 decisions; the last run knew 2"),
        (lambda file: file.write_bytes(b"x" + file.read_bytes()), "line 1 cannot be read"),
        (lambda file: file.write_bytes(file.read_bytes().split(b"\n")[1] + b"\n"), "holds 1 decisions"),
    ],
)
def test_a_run_stops_at_a_damaged_journal_and_undo_restores_it(
    decided: Any, harm: Callable[[Path], None], told: str
) -> None:
    file = journal_file(decided.out)
    before = read_journal(decided.out).effective()
    harm(file)
    with decided.caption("002.png").open("a") as caption:  # made since; not lost with the others
        caption.write(", my scarf")
    with pytest.raises(InputError, match=told):
        decided.run()
    (finding,) = [found for found in check(decided.out) if found.code == "damaged-decisions"]
    assert (finding.severity, told in finding.title) == ("serious", True)
    undo(decided.out)
    assert read_journal(decided.out).effective()[:2] == before
    decided.run()
    assert [decided.text(f"00{i}.png") for i in range(4)] == decided.texts


def test_who_says_so_goes_on_without_what_is_lost(decided: Any) -> None:
    journal_file(decided.out).unlink()
    decided.overrides = ("curate.lost_decisions=skip",)
    assert any("went on without what is lost" in line for line in decided.run())
    assert "my hat" not in decided.text("000.png")
    decided.overrides = ()
    decided.run()


def test_a_line_that_a_kill_cut_stops_nothing_now_or_later(tmp_path: Path) -> None:
    append(tmp_path, [decision(("a", ""), "file", added=["hat"])])
    with journal_file(tmp_path).open("ab") as file:
        file.write(b'{"image": "b", "add')
    check_whole(tmp_path)
    append(tmp_path, [decision(("c", ""), "file", added=["hat"])])
    check_whole(tmp_path)
    assert read_journal(tmp_path).damaged == (2,)
    with journal_file(tmp_path).open("ab") as file:
        file.write(b'{"image": "d"\n{"image": "e", "added": []}\n')
    assert loss(tmp_path) == f"{journal_file(tmp_path)}: line 5 cannot be read"


def test_what_came_after_the_copy_is_kept_when_it_is_restored(tmp_path: Path) -> None:
    first, second = (decision((name, ""), "page", state="drop") for name in "ab")
    append(tmp_path, [first])
    note_taken(tmp_path, Taken(1))
    keep(tmp_path)
    journal_file(tmp_path).write_text(f"damaged\n{json.dumps(second)}\n")
    assert restore(tmp_path)
    assert read_journal(tmp_path).events == (first, second)
    assert journal_file(tmp_path).with_name("decisions.damaged.jsonl").read_text().startswith("damaged")
    assert not restore(tmp_path)


def test_without_a_copy_nothing_is_written_over_the_file(tmp_path: Path) -> None:
    note_taken(tmp_path, Taken(3))
    with pytest.raises(InputError, match="no copy that has more"):
        restore(tmp_path)
    assert not journal_file(tmp_path).exists()
