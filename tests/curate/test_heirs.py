"""What was decided by hand on a picture outlives its file, through the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataprep.check import check
from dataprep.curate.decisions import Hand, append, decision, histories, passed_on, read_journal
from dataprep.curate.heirs import Before, by_copy, by_look, by_name, gone_pictures, lost_edits
from dataprep.curate.snapshots import edits_text, undo
from dataprep.run import read_manifest


@pytest.fixture
def edited(hand_work: Any) -> Any:
    """000.png has lost its last tag and got two by hand, 001.png has a sentence."""
    tags = hand_work.text("000.png").split(", ")
    hand_work.caption("000.png").write_text(", ".join(["sks girl", "my hat", *tags[1:-1], "on a hill"]))
    hand_work.caption("001.png").write_text("She waves at us from the top of a hill.")
    hand_work.gone = tags[-1]
    return hand_work


def saved_again(raw: Path, old: str, new: str) -> None:
    with Image.open(raw / old) as image:
        image.save(raw / new, lossless=True)
    (raw / old).unlink()


@pytest.mark.parametrize("edited_before", [True, False])
def test_a_picture_converted_to_another_format_keeps_its_edits(edited: Any, edited_before: bool) -> None:
    if edited_before:
        edited.run()
    for stem in ("000", "001"):
        saved_again(edited.raw, f"{stem}.png", f"{stem}.webp")
    told = edited.run()
    for _ in range(2):
        tags = edited.text("000.webp").split(", ")
        assert tags[:2] == ["sks girl", "my hat"]
        assert tags[-1] == "on a hill"
        assert edited.gone not in tags
        assert edited.text("001.webp") == "sks girl, She waves at us from the top of a hill."
        edited.run()
    assert any("000.webp: the file has the place of 000.png, which is gone; what" in line for line in told)


def test_a_picture_saved_again_under_another_name_is_known_by_its_look(edited: Any) -> None:
    edited.run()
    saved_again(edited.raw, "000.png", ["best", "first of all.webp"][1])
    told = edited.run()
    assert "my hat" in edited.text("first of all.webp")
    assert edited.gone not in edited.text("first of all.webp").split(", ")
    assert not any("held by no picture" in line for line in told)


def test_what_no_picture_holds_is_told_by_name_and_counts_when_the_picture_is_back(edited: Any) -> None:
    edited.run()
    (edited.raw / "000.png").rename(edited.raw.parent / "aside.png")
    told = edited.run()
    assert any("edits of 000.png are held by no picture any more" in line for line in told)
    assert any("held by no picture" in line and "000.png" in line for line in edits_text(edited.out))
    (finding,) = [found for found in check(edited.out) if found.code == "lost-edits"]
    assert finding.images == ("000.png",)
    with Image.open(edited.raw.parent / "aside.png") as image:
        image.save(edited.raw / "again.webp", lossless=True)
    edited.run()
    assert "my hat" in edited.text("again.webp")
    assert gone_pictures(edited.out) == []
    assert not [found for found in check(edited.out) if found.code == "lost-edits"]


def test_the_copy_of_a_picture_that_is_gone_inherits(edited: Any) -> None:
    with Image.open(edited.raw / "000.png") as image:
        image.save(edited.raw / "zzz.webp", quality=90)
    edited.run()
    assert edited.row("zzz.webp")["state"] == "dropped"
    (edited.raw / "000.png").unlink()
    edited.run()
    assert "my hat" in edited.text("zzz.webp")
    assert edited.gone not in edited.text("zzz.webp").split(", ")
    assert read_journal(edited.out).events[-1]["heir_of"]


def leave_out(work: Any, path: str) -> None:
    (work.out / str(work.row(path)["image_file"])).unlink()
    work.caption(path).unlink()
    work.run()


def test_the_copy_of_a_picture_that_was_left_out_stays_out_when_that_ones_file_goes(edited: Any) -> None:
    edited.enlarge("000.png", "big.png", 2)
    edited.run()
    leave_out(edited, "big.png")
    assert edited.row("000.png")["duplicate_of"] == edited.row("big.png")["id"]
    assert not [found for found in check(edited.out) if found.code == "lost-edits"]
    (edited.raw / "big.png").unlink()
    told = edited.run()
    assert "000.png: its copy big.png is gone; it was left out by hand, and stays out" in str(told)
    for _ in range(2):
        row = edited.row("000.png")
        assert (row["state"], row["reason"]) == ("dropped", "curate:by-hand: left out by hand")
        assert "000.png" not in str(edited.run())
    append(edited.out, [decision((row["sha256"], ""), "command", state="keep")])
    edited.run()
    assert "my hat" in edited.text("000.png")  # with the edits all the same


def test_the_copy_that_is_kept_has_the_edits_of_the_one_that_was_left_out(edited: Any) -> None:
    edited.enlarge("000.png", "big.png", 2)
    edited.run()
    edited.caption("big.png").write_text(edited.text("big.png") + ", my dog")
    edited.run()
    leave_out(edited, "big.png")
    append(edited.out, [decision((edited.row("000.png")["sha256"], ""), "command", state="keep")])
    edited.enlarge("000.png", "huge.png", 4)  # a copy of both: of the kept one first
    for _ in range(2):
        edited.run()
        assert {"my hat", "my dog"} <= set(edited.text("000.png").split(", "))
        assert (
            "its copy 000.png is kept by hand; that one has its tags by hand"
            in edited.row("big.png")["reason"]
        )
        assert "duplicate: of 000.png" in edited.row("huge.png")["reason"]
    assert not [found for found in check(edited.out) if found.code == "lost-edits"]
    for name in ("big.png", "000.png"):
        (edited.raw / name).unlink()
        edited.run()
    assert {"my hat", "my dog"} <= set(edited.text("huge.png").split(", "))  # the newer word: it stays


@pytest.mark.parametrize("between", [False, True])
def test_a_picture_left_out_is_known_by_its_look_when_it_comes_as_another_file(
    edited: Any, between: bool
) -> None:
    edited.run()
    leave_out(edited, "000.png")
    (edited.raw / "000.png").rename(edited.raw.parent / "000.png")
    if between:
        assert "000.png" not in str(edited.run())  # for nothing is lost
        assert not gone_pictures(edited.out)
        assert not [found for found in check(edited.out) if found.code == "lost-edits"]
    (edited.raw.parent / "000.png").rename(edited.raw / "000.png")
    saved_again(edited.raw, "000.png", "other.webp")
    told = edited.run()
    assert "other.webp: the file has the place of 000.png, which is gone; it was left out by hand" in str(
        told
    )
    assert edited.row("other.webp")["state"] == "dropped"
    edited.run()
    assert edited.row("other.webp")["state"] == "dropped"


@pytest.mark.parametrize("new", ["001.png", "001.webp", "elsewhere.png"])
@pytest.mark.parametrize("factor", [2, 0.5])
def test_a_crop_by_hand_goes_over_to_the_same_picture_in_another_size(
    hand_work: Any, new: str, factor: float
) -> None:
    box = {"left": 100, "top": 60, "right": 300, "bottom": 260}
    hand_work.run()
    append(hand_work.out, [decision((hand_work.row("001.png")["sha256"], ""), "command", box=box)])
    hand_work.run()
    hand_work.enlarge("001.png", "bigger.png", factor)
    (hand_work.raw / "001.png").unlink()
    (hand_work.raw / "bigger.png").rename(hand_work.raw / new)
    if new.endswith("webp"):
        saved_again(hand_work.raw, new, "bigger.webp")
        (hand_work.raw / "bigger.webp").rename(hand_work.raw / new)
    hand_work.caption("001.png").write_text(hand_work.text("001.png") + ", my dog")
    undo(hand_work.out)  # it journals that the file has new bytes, and knows no size
    for _ in range(2):
        hand_work.run()
        assert hand_work.row(new)["hand_box"] == {side: round(px * factor) for side, px in box.items()}


def test_a_crop_by_hand_does_not_go_over_to_another_shape(hand_work: Any) -> None:
    box = {"left": 100, "top": 60, "right": 300, "bottom": 260}
    hand_work.run()
    append(hand_work.out, [decision((hand_work.row("001.png")["sha256"], ""), "command", box=box)])
    hand_work.run()
    with Image.open(hand_work.raw / "001.png") as image:
        image.crop((0, 0, image.width, image.height * 9 // 10)).save(hand_work.raw / "001.png")
    told = hand_work.run()
    assert any("001.png" in line and "but for a crop by hand: it has another shape" in line for line in told)
    assert hand_work.row("001.png")["hand_box"] is None


def test_a_crop_by_hand_comes_back_with_the_picture(hand_work: Any) -> None:
    box = {"left": 100, "top": 60, "right": 300, "bottom": 260}
    hand_work.run()
    append(hand_work.out, [decision((hand_work.row("001.png")["sha256"], ""), "command", box=box)])
    hand_work.run()
    data = (hand_work.raw / "001.png").read_bytes()
    with Image.open(hand_work.raw / "001.png") as image:
        image.crop((0, 0, image.width, image.height * 9 // 10)).save(hand_work.raw / "001.png")
    hand_work.run()
    (hand_work.raw / "001.png").write_bytes(data)
    for _ in range(2):
        hand_work.run()
        assert hand_work.row("001.png")["hand_box"] == box


def test_edits_outlive_a_round_trip_between_two_files(edited: Any) -> None:
    raw, shelf = edited.raw, edited.raw.parent
    edited.enlarge("000.png", "b.png", 2)
    with Image.open(raw / "000.png") as image:
        image.save(raw / "j.webp", lossless=False, quality=95)
    for name in ("b.png", "j.webp"):
        (raw / name).rename(shelf / name)
    edited.run()
    for old, new in (("000.png", "j.webp"), ("j.webp", "000.png"), ("000.png", "b.png")):
        (raw / old).rename(shelf / old)
        (shelf / new).rename(raw / new)
        edited.run()
        assert "my hat" in edited.text(new)
    assert not [found for found in check(edited.out) if found.code == "lost-edits"]


def test_a_tag_from_beside_a_copy_that_is_gone_is_nobodys_edit(hand_work: Any) -> None:
    beside = hand_work.raw / "big.txt"
    hand_work.enlarge("000.png", "big.png", 2)
    beside.write_text("teacup, hat")
    hand_work.run()
    (hand_work.raw / "big.png").unlink()
    beside.unlink()
    hand_work.run()
    assert {"teacup", "hat"} <= set(hand_work.text("000.png").split(", "))
    hand_work.overrides = ('prune.absorb=["hat"]',)
    told = hand_work.run()
    assert "hat" not in hand_work.text("000.png").split(", ")
    assert "teacup" in hand_work.text("000.png").split(", ")
    assert not any("by hand" in line for line in told)


@pytest.mark.parametrize("tag", ["", ", my dog"])
def test_a_sentence_beside_a_larger_copy_stays_with_the_smaller_one(hand_work: Any, tag: str) -> None:
    hand_work.caption("000.png").write_text(hand_work.text("000.png") + tag)
    hand_work.run()
    hand_work.enlarge("000.png", "big.png", 2)
    beside = hand_work.raw / "big.txt"
    beside.write_text("She sits on a bench in the park.")
    hand_work.run()
    whole = "sks girl, She sits on a bench in the park" + (tag or ".")
    assert hand_work.text("big.png") == whole
    (hand_work.raw / "big.png").unlink()
    beside.unlink()
    for _ in range(2):
        hand_work.run()
        assert hand_work.text("000.png") == whole


VIEWS = ('split.views=["head", "upper-body"]', "split.min_side=32")


def view_caption(work: Any, path: str, view: str) -> Path:
    rows = read_manifest(work.out)[0].to_pylist()
    return work.out / next(r["caption_file"] for r in rows if (r["path"], r["view"]) == (path, view))


@pytest.fixture
def head_edited(hand_work: Any) -> Any:
    """001.png has a copy of its size, and the caption of its head was edited."""
    hand_work.overrides = VIEWS
    with Image.open(hand_work.raw / "001.png") as image:
        image.save(hand_work.raw / "001b.jpg", quality=95)
    hand_work.run()
    head = view_caption(hand_work, "001.png", "head")
    head.write_text(head.read_text().strip() + ", my tag")
    hand_work.run()
    return hand_work


def test_edits_of_a_view_go_over_to_the_same_view_of_a_copy(head_edited: Any) -> None:
    (head_edited.raw / "001.png").unlink()
    told = head_edited.run()
    assert "my tag" in view_caption(head_edited, "001b.jpg", "head").read_text()
    goes = (
        "001b.jpg: its copy 001.png is gone; what was decided by hand on views of it goes to the same views"
    )
    assert any(goes in line for line in told)
    with Image.open(head_edited.raw / "001b.jpg") as image:
        image.resize((image.width * 2, image.height * 2)).save(head_edited.raw / "big.png")
    for _ in range(2):
        assert not any("held by no picture" in line for line in head_edited.run())
        assert "my tag" in view_caption(head_edited, "big.png", "head").read_text()
    head = view_caption(head_edited, "big.png", "head")
    head.write_text(head.read_text().replace(", my tag", ""))
    head_edited.run()
    assert "my tag" not in view_caption(head_edited, "big.png", "head").read_text()


def test_edits_of_a_view_that_the_copy_does_not_have_are_told_of(head_edited: Any) -> None:
    (head_edited.raw / "001.png").unlink()
    head_edited.overrides = ('split.views=["upper-body"]', "split.min_side=32")
    told = head_edited.run()
    assert not any("stays with it" in line for line in told)
    assert any("edits of 001b.jpg (head) are held by no picture" in line for line in told)
    assert any("001b.jpg (head) are held by no picture" in line for line in edits_text(head_edited.out))
    assert [f.images for f in check(head_edited.out) if f.code == "lost-edits"] == [("001b.jpg (head)",)]
    head_edited.overrides = VIEWS
    head_edited.run()
    assert "my tag" in view_caption(head_edited, "001b.jpg", "head").read_text()
    assert not [found for found in check(head_edited.out) if found.code == "lost-edits"]


def test_edits_of_a_frame_go_over_to_its_copy(hand_work: Any) -> None:
    hand_work.overrides = ("scan.frames=1",)
    frames = [Image.open(hand_work.raw / name).convert("RGB") for name in ("003.png", "001.png")]
    frames = [frame.resize((640, 640)) for frame in frames]  # larger than its copies: the frames are kept
    frames[0].save(hand_work.raw / "anim.gif", save_all=True, append_images=frames[1:], duration=100)
    hand_work.run()
    frame = view_caption(hand_work, "anim.gif", "frame1")
    frame.write_text(frame.read_text().strip() + ", my tag")
    hand_work.run()
    (hand_work.raw / "anim.gif").unlink()
    told = hand_work.run()
    assert "my tag" in hand_work.text("001.png")
    assert any("001.png: its copy anim.gif is gone; what was decided by hand stays" in line for line in told)


def row(name: str, sha256: str, **cells: Any) -> dict[str, Any]:
    return {"path": name, "role": "train", "sha256": sha256, "width": 10, "height": 10} | cells


LOOKS = {"x": "0" * 16, "y": "0" * 15 + "1", "z": "0" * 15 + "3", "far": "f" * 16}


def look(row: dict[str, Any]) -> tuple[str, str]:
    return LOOKS[row["sha256"]], ""


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ({"a": "x"}, ["y"], {"a": "y"}),
        ({"a": "x"}, ["far"], {}),
        ({"a": "x", "b": "x"}, ["y"], {}),  # which of two it is, nobody knows
        ({"a": "y"}, ["x", "z"], {}),  # nor which of two has it
        ({"a": "x", "b": "z"}, ["x", "z"], {"a": "x", "b": "z"}),
    ],
)
def test_only_an_unmistakable_look_inherits(
    old: dict[str, str], new: list[str], wanted: dict[str, str]
) -> None:
    known = Before([row(name, name, phash=LOOKS[what], thumb=None) for name, what in old.items()])
    pairs = by_look(old, known, [row(f"{name}.png", name) for name in new], look)
    assert {before["sha256"]: now["sha256"] for before, now in pairs} == wanted


def test_another_shape_is_another_picture() -> None:
    known = Before([row("a", "a", phash=LOOKS["x"])])
    assert by_look(["a"], known, [row("b", "x", width=20)], look) == []


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (["a/0.webp"], ["a/0.webp"]),
        (["b/0.webp"], []),  # another folder
        (["a/0.webp", "a/0.png"], ["a/0.png"]),  # the name is there still
        (["a/0.1.webp"], []),
    ],
)
def test_the_same_stem_in_the_same_folder_is_the_same_place(now: list[str], wanted: list[str]) -> None:
    pairs = by_name(Before([row("a/0.png", "old")]), [row(path, f"new {path}") for path in now])
    assert [new["path"] for _, new in pairs] == wanted


def test_a_caption_that_lost_its_picture_has_not_its_place() -> None:
    alone = row("a/0.txt", "text") | {"width": None}
    assert by_name(Before([row("a/0.png", "old")]), [alone]) == []


SHAPE = {"role": "train", "width": 100, "height": 100}
KEPT = {"id": "k", "sha256": "kept", "path": "k.png", "duplicate_of": None} | SHAPE
SMALL = {"id": "s", "sha256": "small", "path": "s.png", "duplicate_of": "k", "distance": 0} | SHAPE
SMALLEST = SMALL | {"id": "t", "sha256": "smallest", "path": "t.png", "width": 50, "height": 50}


def nothing(row: dict[str, Any]) -> Hand:
    return Hand()


def test_the_largest_copy_that_is_left_is_the_heir_also_under_new_bytes() -> None:
    known = Before([KEPT, SMALL, SMALLEST])
    lost = [("kept", "")]
    ((old, heir, event),) = by_copy(lost, known, [SMALLEST, SMALL], {}, nothing, {})
    assert (old, heir, event["heir_of"], event["box_scale"]) == (KEPT, SMALL, "kept", [1, 1])
    saved = SMALL | {"id": "other", "sha256": "again"}
    ((_, heir, _),) = by_copy(lost, known, [SMALLEST, saved], {"small": "again"}, nothing, {})
    assert heir["sha256"] == "again"
    assert by_copy([], known, [SMALLEST, SMALL], {}, nothing, {}) == []


def test_what_stood_beside_a_raw_picture_that_is_gone_goes_to_its_copy_once() -> None:
    known = Before([KEPT | {"hand_added": ["sea", "hat"]}, SMALL])
    beside = Hand(added={tag: tag for tag in ("sea", "hat", "tree")})  # tree was taken out of the caption
    own = {("kept", ""): Hand(added={"hat": "hat"})}
    ((*_, event),) = by_copy([], known, [KEPT], {}, lambda row: beside, own)
    assert event["added"] == ["sea"]
    own["kept", ""].apply(event)
    assert by_copy([], known, [KEPT], {}, lambda row: beside, own) == []


def test_decisions_are_lost_until_all_of_them_are_held_by_what_is_there() -> None:
    events = [decision(("a", ""), "file", added=["hat"])]
    assert lost_edits(histories(events), {}, ["b"]) == [("a", "")]
    events.append(decision(("b", ""), "file", heir_of="a"))
    assert lost_edits(histories(events), passed_on(events), ["b"]) == []
    assert lost_edits(histories(events), passed_on(events), []) == [("b", "")]
    events.append(decision(("a", ""), "file", removed=["hat"]))  # a came back, was edited, and is gone
    assert lost_edits(histories(events), passed_on(events), ["b"]) == [("a", "")]
    events.append(decision(("c", ""), "file", heir_of="a"))
    assert lost_edits(histories(events), passed_on(events), ["c"]) == []
    events.append(decision(("a", ""), "file", state="drop"))  # that it is left out is to be held as well
    assert lost_edits(histories(events), passed_on(events), ["c"]) == [("a", "")]
