"""What a change in the prepared folder means."""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dataprep.curate.decisions import Hand, append, decision, fold, read_journal
from dataprep.curate.edits import Found, Lead, contents, find_edits, plan
from dataprep.curate.merge import difference, with_removed
from dataprep.curate.taken import Taken, note_taken, read_taken
from dataprep.export.receipt import journal, read_receipt, to_table, write_receipt
from dataprep.export.sync import Wanted, sync

LEAD = Lead("sks", "girl")
FOLDER = "img/2_sks girl"


def write_folder(out: Path, captions: Mapping[str, str], folder: str = FOLDER, role: str = "train") -> None:
    """Pictures and captions as `export` writes them, receipt included; stems name the content."""
    wanted = []
    for stem, text in captions.items():
        row = {"id": stem, "sha256": f"sha-{stem}", "view": "", "role": role}
        picture, caption = f"{folder}/{stem}.png", f"{folder}/{stem}.txt"
        wanted.append(Wanted(picture, "image", stem, stem.encode, row))
        wanted.append(Wanted(caption, "caption", text, (text + "\n").encode, row, text))
    sync(out, wanted, lambda *_: True)


def look(out: Path, hands: Mapping[tuple[str, str], Hand] | None = None) -> list[Found]:
    journal = read_journal(out)
    return find_edits(out, LEAD, hands or journal.hands(), journal)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # nothing here survives a power cut


@pytest.fixture
def out(tmp_path: Path) -> Path:
    captions = {
        "a": "sks girl, 1girl, kaga (azur lane), blush",
        "b": "sks girl, 1girl, ^_^, smile",
        "c": "sks girl",
    }
    write_folder(tmp_path, captions)
    return tmp_path


def caption(out: Path, stem: str) -> Path:
    return out / FOLDER / f"{stem}.txt"


def test_an_untouched_folder_has_no_edits(out: Path) -> None:
    assert look(out) == []


def test_a_folder_that_was_never_written_has_no_edits(tmp_path: Path) -> None:
    assert look(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfsks girl, 1girl, kaga (azur lane), blush\r\n",  # Notepad
        b"sks girl,1girl,kaga_(azur_lane),blush,",
        rb"sks girl, 1girl, kaga \(azur lane\), blush",
        b"sks girl, 1girl, kaga, (azur lane), blush",  # BooruDatasetTagManager
        b"SKS GIRL, 1GIRL, KAGA (AZUR LANE), BLUSH",
        "sks girl, 1girl, kaga (azur lane), blush".encode("utf-16"),
        b"1girl, kaga (azur lane), blush",  # the trigger word was deleted
        b"1girl, sks girl, kaga (azur lane), blush, sks",
    ],
)
def test_another_spelling_is_no_edit_and_may_be_replaced(out: Path, data: bytes) -> None:
    caption(out, "a").write_bytes(data)
    (found,) = look(out)
    assert (found.kind, found.event) == ("spelling", None)
    note_taken(out, Taken(0, contents([found])))
    assert list(read_taken(out).files) == [found.file]


def test_an_edit_of_the_same_size_is_found_though_the_time_was_put_back(out: Path) -> None:
    file = caption(out, "a")
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"blush", b"smile"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    (found,) = look(out)
    assert found.event is not None
    assert (found.event["added"], found.event["removed"]) == (["smile"], ["blush"])


@pytest.mark.parametrize("name", ["a.TXT", "A.txt"])
def test_a_caption_file_in_other_letters_is_the_same_file(out: Path, name: str) -> None:
    file = caption(out, "a")
    file.write_bytes(file.read_bytes().replace(b", blush", b""))
    file.rename(file.with_name(name))
    (found,) = look(out)
    assert found.event is not None
    assert (found.event["removed"], found.at) == (["blush"], f"{FOLDER}/{name}")


@pytest.mark.parametrize("sign", [";", "|"])
def test_tags_parted_by_other_signs_are_told_of(out: Path, sign: str) -> None:
    caption(out, "a").write_text(f"sks girl{sign} 1girl{sign} hat", encoding="utf-8")
    (found,) = look(out)
    assert "write commas" in (found.note or "")


def taggui(data: bytes, tag: str) -> bytes:
    """Delete a tag as TagGUI 141801d does: it knows ", " only and keeps whatever else it finds."""
    tags = data.decode("utf-8", "replace").split(", ")
    return ", ".join(each for each in tags if each.strip() != tag).encode()


def dataset_tag_editor(data: bytes, tag: str) -> bytes:
    """Delete a tag as the web UI's dataset-tag-editor d6c7dce does: any comma, stripped, mark kept."""
    tags = [each.strip() for each in data.decode("utf-8").split(",")]
    return ", ".join(each for each in tags if each and each != tag).encode()


def bdtm(data: bytes, tag: str) -> bytes:
    """Delete a tag as BooruDatasetTagManager 2.6.3 does: lower case, brackets apart, repetition as weight."""
    text = re.sub(r" (\([^()]*\))", r", \1", data.decode("utf-8-sig", "replace")).lower()
    tags = [each.replace("_", " ").strip() for each in text.split(",")]
    weights = Counter(each for each in tags if each and each != tag)
    return ", ".join(f"({each})" if count > 1 else each for each, count in weights.items()).encode()


@pytest.mark.parametrize("editor", [taggui, dataset_tag_editor, bdtm])
@pytest.mark.parametrize("tag", ["blush", "smile", "solo"])
def test_deleting_one_tag_in_an_editor_changes_no_other(
    tmp_path: Path, editor: Callable[[bytes, str], bytes], tag: str
) -> None:
    text = "sks girl, solo, kaga (azur lane), MyChar, blush, >_<, ^_^, :d, rin (fate) (cosplay), v, smile"
    write_folder(tmp_path, {"a": text})
    file = caption(tmp_path, "a")
    file.write_bytes(editor(file.read_bytes().strip(), tag))
    (found,) = look(tmp_path)
    assert found.event is not None
    assert found.event["removed"] == [tag]
    assert "added" not in found.event
    assert "order" not in found.event


@pytest.mark.parametrize("editor", [taggui, dataset_tag_editor, bdtm])
def test_an_editor_that_saves_all_files_edits_none(out: Path, editor: Callable[[bytes, str], bytes]) -> None:
    for stem in "abc":
        caption(out, stem).write_bytes(editor(caption(out, stem).read_bytes(), "nothing"))
    assert [found.event for found in look(out) if found.event] == []


def test_an_edit_in_cp1252_is_read_and_the_guess_is_told(out: Path) -> None:
    caption(out, "c").write_bytes("sks girl, café".encode("cp1252"))
    (found,) = look(out)
    assert found.event is not None
    assert found.event["added"] == ["café"]
    assert "cp1252" in (found.note or "")


def test_tags_added_removed_and_moved_are_one_event_with_both_texts(out: Path) -> None:
    caption(out, "a").write_text("sks girl, blush, 1girl, hat", encoding="utf-8")
    (found,) = look(out)
    assert found.event is not None
    event = {name: found.event[name] for name in ("who", "image", "added", "removed", "order", "old", "new")}
    assert event == {
        "who": "file",
        "image": "sha-a",
        "added": ["hat"],
        "removed": ["kaga (azur lane)"],
        "order": ["blush", "1girl", "hat"],
        "old": "sks girl, 1girl, kaga (azur lane), blush",
        "new": "sks girl, blush, 1girl, hat",
    }


def test_an_edit_that_is_in_the_journal_gives_no_second_event(out: Path) -> None:
    caption(out, "a").write_text("sks girl, 1girl, hat", encoding="utf-8")
    (found,) = look(out)
    assert found.event is not None
    append(out, [found.event])
    (again,) = look(out)
    assert again.event is None


def test_an_edit_that_goes_on_after_a_run_was_killed_is_held_against_the_first_part(out: Path) -> None:
    caption(out, "b").write_text("sks girl, 1girl, ^_^, scarf", encoding="utf-8")
    append(out, [found.event for found in look(out) if found.event])  # and here the run was killed
    caption(out, "b").write_text("sks girl, 1girl, ^_^, smile", encoding="utf-8")
    (found,) = look(out)
    assert found.event is not None
    assert (found.event["added"], found.event["removed"]) == (["smile"], ["scarf"])


def test_the_same_edit_made_again_later_is_a_new_decision(out: Path) -> None:
    for text in ("sks girl, 1girl, hat", "sks girl, 1girl"):
        write_folder(out, {"a": "sks girl, 1girl", "b": "sks girl, x"})
        caption(out, "a").write_text(text, encoding="utf-8")
        append(out, [found.event for found in look(out) if found.event])
        write_folder(out, {"a": text, "b": "sks girl, x"})
    write_folder(out, {"a": "sks girl, 1girl, hat", "b": "sks girl, x"})
    caption(out, "a").write_text("sks girl, 1girl", encoding="utf-8")
    append(out, [found.event for found in look(out) if found.event])
    write_folder(out, {"a": "sks girl, 1girl", "b": "sks girl, x"})
    caption(out, "a").write_text("sks girl, 1girl, hat", encoding="utf-8")
    (found,) = look(out)
    assert found.event is not None
    assert found.event["added"] == ["hat"]


def test_an_emptied_and_a_deleted_caption_have_lost_all_their_tags(out: Path) -> None:
    caption(out, "a").write_bytes(b"")
    caption(out, "b").unlink()
    first, second = sorted(look(out), key=lambda found: found.file)
    assert (first.kind, second.kind) == ("emptied", "deleted")
    assert first.event is not None
    assert second.event is not None
    assert first.event["removed"] == ["1girl", "kaga (azur lane)", "blush", "*"]
    assert second.event["removed"] == ["1girl", "^_^", "smile", "*"]
    assert first.event["silent"] == second.event["silent"] == ["*"]
    assert "undo" in (first.note or "")


def test_what_a_removed_tag_had_hidden_is_removed_with_it_but_not_what_stands_in_the_caption() -> None:
    base, file = ("very long hair", "red dress", "hat"), ("hat", "long hair")
    assert with_removed(difference(base, file), [base], file) == ("hair", "dress")
    assert with_removed(difference(base, ()), [base], ()) == ("*",)


def test_a_tag_that_holds_the_trigger_word_is_taken_without_it_and_that_is_said(out: Path) -> None:
    caption(out, "a").write_text("sks girl, 1girl, sks dress, kaga (azur lane), blush", encoding="utf-8")
    (found,) = look(out)
    assert found.event is not None
    assert found.event["added"] == ["dress"]
    assert "'sks dress' is taken as 'dress': the trigger word stands once" in (found.note or "")


def test_a_file_whose_encoding_is_in_doubt_is_neither_read_nor_given_up_for_replacement(out: Path) -> None:
    data = "sks girl, 1girl, 眼鏡".encode("euc_jp")
    caption(out, "a").write_bytes(data)
    (found,) = look(out)
    assert (found.kind, found.event, contents([found])) == ("unreadable", None, {})
    assert "caption_encoding" in (found.note or "")
    (found,) = find_edits(out, LEAD, {}, read_journal(out), encoding="euc_jp")
    assert found.event is not None
    assert found.event["added"] == ["眼鏡"]
    assert contents([found]) != {}


def test_a_guessed_text_is_journalled_with_its_bytes(out: Path) -> None:
    data = "sks girl, 1girl, шляпа".encode("cp1251")
    caption(out, "a").write_bytes(data)
    (found,) = look(out)
    assert found.event is not None
    assert found.event["added"] == ["шляпа"]
    assert base64.b64decode(found.event["bytes"]) == data


def test_a_star_in_a_caption_brings_the_machines_tags_back() -> None:
    image = ("a", "")
    events = [
        decision(image, "file", removed=["hat", "*"]),
        decision(image, "file", added=["*", "scarf"]),
    ]
    (hand,) = fold(events).values()
    assert (hand.removed, hand.added) == ({}, {"scarf": "scarf"})


def test_a_star_alone_brings_the_machines_order_back_too(out: Path) -> None:
    caption(out, "a").write_text("sks girl, *,\n")
    (found,) = look(out, {("sha-a", ""): Hand(order=("solo", "1girl"))})
    assert found.event is not None
    assert (found.event["added"], found.event["order"]) == (["*"], None)
    (found,) = look(out, {("sha-a", ""): Hand(caption="She waves at us.")})
    assert found.event is not None
    assert (found.event["added"], found.event["caption"]) == (["*"], None)  # with an editor's comma, too


def test_a_deleted_picture_is_dropped_and_its_caption_is_no_edit(out: Path) -> None:
    (out / FOLDER / "a.png").unlink()
    caption(out, "a").unlink()
    (found,) = look(out)
    assert found.event is not None
    assert (found.event["image"], found.event["state"]) == ("sha-a", "drop")
    append(out, [found.event])
    assert [item.event for item in look(out)] == [None]


def test_a_picture_that_a_run_knew_as_changed_and_that_is_deleted_is_no_drop(out: Path) -> None:
    picture = out / FOLDER / "a.png"
    picture.write_bytes(b"retouched")
    write_folder(out, {name: "sks girl" for name in ("a", "b", "c")})
    picture.unlink()
    caption(out, "a").unlink()  # with it: nobody wants a picture without words
    (found,) = look(out)
    assert (found.kind, found.event) == ("taken-back", None)
    assert "written anew" in (found.note or "")
    write_folder(out, {name: "sks girl" for name in ("a", "b", "c")})
    assert (picture.read_bytes(), look(out)) == (b"a", [])
    picture.unlink()
    assert [item.kind for item in look(out)] == ["picture-deleted"]


def test_files_missing_after_a_run_was_killed_are_nobodys_decision(out: Path) -> None:
    note_taken(out, Taken(running=True))
    (out / FOLDER / "a.png").unlink()
    caption(out, "b").unlink()
    assert [(found.kind, found.event) for found in look(out)] == [("lost", None), ("lost", None)]
    (out / "manifest.parquet").touch()  # the run's last act
    assert [found.kind for found in look(out)] == ["picture-deleted", "deleted"]


def test_a_folder_that_vanished_as_a_whole_is_no_decision(out: Path) -> None:
    for path in (out / FOLDER).iterdir():
        path.unlink()
    assert {found.kind for found in look(out)} == {"lost"}
    assert [found.event for found in look(out) if found.event] == []


def test_captions_of_a_folder_renamed_by_hand_are_read_there(out: Path) -> None:
    caption(out, "a").write_text("sks girl, 1girl, kaga (azur lane), blush, hat", encoding="utf-8")
    (out / FOLDER).rename(out / "img/20_sks girl")
    found = look(out)
    assert {item.kind for item in found} == {"moved"}
    assert [item.event["added"] for item in found if item.event] == [["hat"]]


def test_a_sentence_is_the_whole_caption_by_hand(out: Path) -> None:
    caption(out, "a").write_text("sks girl, A girl blushes.\nShe wears a hat.", encoding="utf-8")
    (found,) = look(out)
    assert found.event is not None
    assert (found.kind, found.event["caption"]) == ("prose", "A girl blushes.\nShe wears a hat.")


def test_a_caption_that_is_whole_by_hand_stays_so(out: Path) -> None:
    hands = {("sha-a", ""): Hand(caption="1girl, kaga (azur lane), blush")}
    caption(out, "a").write_text("sks girl, 1girl, hat", encoding="utf-8")
    (found,) = look(out, hands)
    assert found.event is not None
    assert found.event["caption"] == "1girl, hat"


def test_a_caption_put_beside_a_picture_without_one_is_added_by_hand(tmp_path: Path) -> None:
    row = {"id": "a", "sha256": "sha-a", "view": "", "role": "train"}
    sync(tmp_path, [Wanted(f"{FOLDER}/a.png", "image", "a", lambda: b"a", row)], lambda *_: True)
    caption(tmp_path, "a").write_text("hat, smile", encoding="utf-8")
    (found,) = look(tmp_path)
    assert found.event is not None
    assert found.event["added"] == ["hat", "smile"]


def test_an_edit_of_a_file_that_a_killed_run_had_written_is_held_against_that_text(out: Path) -> None:
    name = f"{FOLDER}/a.txt"
    new = "sks girl, 1girl, kaga (azur lane), blush, outdoors, tree, sky"
    entry = {
        "file": name, "sha256": "of the new text", "kind": "caption", "id": "a", "image_sha256": "sha-a",
        "view": "", "role": "train", "caption": new, "key": new, "bytes": len(new) + 1, "mtime_ns": 0,
    }  # fmt: skip
    journal(out, entry)  # as export does right before it renames the file into place; then the run is killed
    caption(out, "a").write_text(new.replace("tree", "hat"), encoding="utf-8")
    (found,) = look(out)
    assert found.event is not None
    assert set(found.event["added"]) == {"hat", "outdoors", "sky"}  # too much rather than too little
    assert found.event["removed"] == ["tree"]
    journal(out, entry | {"mtime_ns": 1})  # as export does once the file is in its place
    (found,) = look(out)
    assert found.event is not None
    assert (found.event["added"], found.event["removed"]) == (["hat"], ["tree"])


def test_a_caption_that_was_taken_over_and_not_yet_replaced_is_no_second_edit(out: Path) -> None:
    name, new = f"{FOLDER}/a.txt", "sks girl, outdoors"
    caption(out, "a").write_text("SKS GIRL,1girl,kaga (azur lane),blush", encoding="utf-8")
    note_taken(out, Taken(0, contents(look(out)), running=True))
    entry = {
        "file": name, "sha256": "of the new text", "kind": "caption", "id": "a", "image_sha256": "sha-a",
        "view": "", "role": "train", "caption": new, "key": new, "bytes": len(new) + 1, "mtime_ns": 0,
    }  # fmt: skip
    journal(out, entry)  # the run is killed before it renames the new text into place
    assert [found.event for found in look(out)] == [None]


def test_an_undone_edit_in_a_caption_that_was_left_behind_stays_undone(out: Path) -> None:
    caption(out, "a").write_text("sks girl, 1girl, kaga (azur lane), blush, hat", encoding="utf-8")
    append(out, [found.event for found in look(out) if found.event])
    # The picture has another name now; the caption stayed, because somebody had edited it.
    write_receipt(out, to_table(e for e in read_receipt(out).to_pylist() if e["file"] != f"{FOLDER}/a.png"))
    append(out, [{"time": "t", "who": "command", "undo": 0}])
    assert [found.event for found in look(out)] == [None]


def test_captions_of_class_images_are_edited_like_others(tmp_path: Path) -> None:
    write_folder(tmp_path, {"r": "girl, smile"}, "reg/1_girl", "reg")
    (tmp_path / "reg/1_girl/r.txt").write_text("girl, hat", encoding="utf-8")
    (found,) = look(tmp_path)
    assert found.event is not None
    assert (found.event["added"], found.event["removed"]) == (["hat"], ["smile"])


def test_a_receipt_without_files_is_read(tmp_path: Path) -> None:
    write_receipt(tmp_path, to_table([]))
    assert look(tmp_path) == []


def test_a_prepared_pair_renamed_by_hand_is_no_deletion(out: Path) -> None:
    for ending in ("png", "txt"):
        (out / FOLDER / f"a.{ending}").rename(out / FOLDER / f"best.{ending}")
    found = look(out)
    assert [(each.kind, each.event, each.at) for each in found] == [
        ("renamed", None, f"{FOLDER}/best.png"),
        ("renamed", None, f"{FOLDER}/best.txt"),
    ]
    assert "stays in training" in (found[0].note or "")


def test_an_edit_in_a_renamed_pair_is_found(out: Path) -> None:
    for ending in ("png", "txt"):
        (out / FOLDER / f"a.{ending}").rename(out / FOLDER / f"best.{ending}")
    caption(out, "best").write_text("sks girl, 1girl, kaga (azur lane), blush, hat", encoding="utf-8")
    _, text = look(out)
    assert text.event is not None
    assert (text.event["image"], text.event["added"], text.at) == ("sha-a", ["hat"], f"{FOLDER}/best.txt")


def test_an_edit_of_a_picture_with_new_bytes_belongs_to_its_new_content(out: Path) -> None:
    append(out, [{"image": "sha-a", "added": ["old"]}])
    caption(out, "a").write_text("sks girl, 1girl, kaga (azur lane), hat", encoding="utf-8")
    planned = plan(out, LEAD, rewritten=[("a.png", "sha-a", "sha-new", {})])
    hand = planned.hands["sha-new", ""]
    assert (list(hand.added), list(hand.removed)) == (["old", "hat"], ["blush"])
    append(out, planned.events)
    again = plan(out, LEAD, rewritten=[("a.png", "sha-a", "sha-new", {})])  # the run was killed
    assert (again.events, again.hands) == ([], planned.hands)
