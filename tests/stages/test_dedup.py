from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from benchmarks.corpus import word_page
from benchmarks.dedup import measured
from dataprep.copies.crops import features
from dataprep.copies.fine import fine
from dataprep.copies.hashing import texture
from dataprep.copies.likeness import alike, edges, thumb
from dataprep.errors import ConfigError
from dataprep.stage import Context
from dataprep.stages.dedup import Dedup
from models.miniature.drawing import signature_drawing
from models.miniature.world import render

SCHEMA = pa.schema([("state", pa.string()), ("reason", pa.string()), *Dedup.needs])
HASH = 0x9F0B_33C4_5A6D_E871
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
THUMB, MIRRORED = thumb(Image.fromarray(COLOURS)), thumb(Image.fromarray(COLOURS[:, ::-1].copy()))


def row_of(name: str, flips: int = 0, **cells: object) -> dict[str, Any]:
    """A picture whose hash differs from HASH in the lowest `flips` bits."""
    phash = f"{HASH ^ ((1 << flips) - 1):016x}"
    return {
        "state": "active",
        "id": f"id-{name}",
        "path": f"{name}.png",
        "role": "train",
        "width": 100,
        "height": 100,
        "bytes": 1000,
        "format": "png",
        "phash": phash,
        "trim_phash": cells.get("phash", phash),
        "mirror_phash": f"{HASH ^ 0xFFFF_FFFF:016x}",
        "mirror_trim_phash": cells.get("mirror_phash", f"{HASH ^ 0xFFFF_FFFF:016x}"),
        "thumb": THUMB,
        "trim_thumb": THUMB,
        "trim_share": 1.0,
    } | cells


def history(raw: dict[str, Any] | None = None, *decided: tuple[int, dict[str, Any]]) -> dict[str, str]:
    """The decisions of a row: what its caption beside RAW says, and those of the journal."""
    return {"hand_history": json.dumps([(-1, raw), *decided] if raw else decided)}


def deduped(context: Context, *rows: dict[str, Any], **settings: Any) -> dict[str, dict[str, Any]]:
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    result = Dedup(**settings).open(context)(table).to_pylist()
    return {row["id"].removeprefix("id-"): found for row, found in zip(rows, result, strict=True)}


def kept(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, row in found.items() if row["state"] == "active"}


def test_a_copy_is_dropped_with_the_reason(context: Context) -> None:
    found = deduped(context, row_of("a", width=200), row_of("b", 3))
    assert found["a"]["duplicate_of"] is None
    assert found["b"]["duplicate_of"] == "id-a"
    assert found["b"]["distance"] == 3
    assert found["b"]["state"] == "dropped"
    assert found["b"]["reason"] == "dedup:duplicate: of a.png, distance 3; that one is larger"


def test_the_threshold_is_inclusive(context: Context) -> None:
    rows = row_of("a", width=200), row_of("b", 5)
    assert kept(deduped(context, *rows, max_distance=4)) == {"a", "b"}
    assert kept(deduped(context, *rows, max_distance=5)) == {"a"}


def test_a_chain_of_small_steps_does_not_merge_its_ends(context: Context) -> None:
    found = deduped(
        context, row_of("a", 0, width=300), row_of("b", 6, width=200), row_of("c", 12), max_distance=8
    )
    assert kept(found) == {"a", "c"}


def test_roles_are_compared_apart(context: Context) -> None:
    assert kept(deduped(context, row_of("a"), row_of("b", role="reg"))) == {"a", "b"}
    assert len(kept(deduped(context, row_of("a", role="reg"), row_of("b", role="reg")))) == 1


def test_what_was_kept_by_hand_is_kept(context: Context) -> None:
    found = deduped(context, row_of("large", width=900), row_of("hand", hand_state="keep"))
    assert kept(found) == {"hand"}
    both = deduped(context, row_of("a", hand_state="keep"), row_of("b", hand_state="keep"))
    assert kept(both) == {"a", "b"}


def test_the_larger_picture_then_the_larger_file_then_the_captioned_one_is_kept(context: Context) -> None:
    assert kept(deduped(context, row_of("a", bytes=9000), row_of("b", width=150))) == {"b"}
    assert kept(deduped(context, row_of("a", raw_caption="x"), row_of("b", bytes=1200))) == {"b"}
    assert kept(deduped(context, row_of("a"), row_of("b", raw_caption="x"))) == {"b"}


def test_a_bordered_copy_is_found_by_the_trimmed_hash(context: Context) -> None:
    bordered = row_of("b", phash=f"{HASH ^ (2**40 - 1):016x}", trim_phash=f"{HASH ^ 1:016x}")
    assert kept(deduped(context, row_of("a", width=200), bordered)) == {"a"}


def test_rows_that_are_not_active_neither_count_nor_change(context: Context) -> None:
    gone = row_of("a", width=900, state="quarantined", reason="scan:empty: x", phash=None, trim_phash=None)
    found = deduped(context, gone, row_of("b"))
    assert found["a"]["reason"] == "scan:empty: x"
    assert found["b"]["state"] == "active"


def test_the_order_of_the_rows_changes_nothing(context: Context) -> None:
    rows = [row_of(name, flips) for name, flips in (("a", 0), ("b", 2), ("c", 5), ("d", 30), ("e", 32))]
    assert deduped(context, *rows) == {
        name: row for name, row in sorted(deduped(context, *reversed(rows)).items())
    }


def test_a_lossless_copy_is_kept_rather_than_a_compressed_one_of_its_size(context: Context) -> None:
    found = deduped(context, row_of("a", format="jpeg", width=102), row_of("b", format="png"))
    assert kept(found) == {"b"}
    assert found["a"]["reason"].endswith("; that one is less compressed")


def test_a_copy_with_borders_is_not_kept_for_being_larger(context: Context) -> None:
    bordered = row_of("a", width=120, trim_share=0.8)
    assert kept(deduped(context, bordered, row_of("b"))) == {"b"}


def test_a_caption_that_is_lost_with_its_copy_is_reported(context: Context) -> None:
    found = deduped(context, row_of("a", width=900), row_of("b", raw_caption="x"))
    assert found["b"]["reason"].endswith("; its caption was not used")


def test_near_hashes_of_other_colours_are_not_copies(context: Context) -> None:
    other = thumb(Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)))
    rows = row_of("a"), row_of("b", thumb=other, trim_thumb=other)
    assert kept(deduped(context, *rows)) == {"a", "b"}


def test_what_is_nearly_near_enough_is_reported_and_kept(context: Context) -> None:
    found = deduped(context, row_of("a", width=300), row_of("b", 10), max_distance=8, review_distance=10)
    assert kept(found) == {"a", "b"}
    assert (found["b"]["similar_to"], found["b"]["similar_distance"]) == ("id-a", 10)
    assert found["a"]["similar_to"] is None


def test_mirror_images_are_copies_only_when_asked(context: Context) -> None:
    flipped = row_of("b", phash=f"{HASH ^ 0xFFFF_FFFF:016x}", mirror_phash=f"{HASH:016x}", thumb=MIRRORED)
    rows = row_of("a", width=200), flipped
    assert kept(deduped(context, *rows)) == {"a", "b"}
    assert kept(deduped(context, *rows, mirrored=True)) == {"a"}


def test_the_next_page_of_a_book_is_reported_and_kept_and_a_copy_is_dropped(context: Context) -> None:
    rng = np.random.default_rng(4)
    pages = [word_page(rng).reduce(2) for _ in range(20)]
    pages += [page.resize((230, 325), Image.Resampling.BICUBIC) for page in pages[:3]]
    rows = []
    for i, page in enumerate(pages):
        row = measured(page, i)
        rows.append(row | {"id": f"id-{i}", "path": f"{i:02d}.png", "state": "active", "role": "train"})
    found = deduped(context, *rows)
    assert kept(found) == {str(i) for i in range(20)}
    assert all(found[str(20 + i)]["duplicate_of"] == f"id-{i}" for i in range(3))
    assert any(found[str(i)]["similar_distance"] is not None for i in range(20))


def test_flat_pictures_of_one_hash_and_other_colours_are_soon_told_apart(context: Context) -> None:
    rng = np.random.default_rng(0)
    rows = [
        row_of(str(i), thumb=colour, trim_thumb=colour)
        for i in range(3000)
        for colour in [thumb(Image.new("RGB", (8, 8), tuple(rng.integers(0, 256, 3).tolist())))]
    ]
    started = time.process_time()
    found = deduped(context, *rows)
    assert time.process_time() - started < 15  # 1.5 s; comparing all with all took 150
    colours = {row["path"].removesuffix(".png"): row["thumb"] for row in rows}
    for name, row in found.items():
        if row["duplicate_of"] is not None:
            assert alike(colours[name], colours[row["duplicate_of"].removeprefix("id-")])


def test_a_group_is_named_after_the_kept_one(context: Context) -> None:
    found = deduped(
        context, row_of("a", width=200), row_of("b", 2), row_of("c", phash=f"{HASH ^ 2**64 - 1:016x}")
    )
    assert [found[name]["duplicate_group"] for name in "abc"] == ["id-a", "id-a", None]


def test_tags_of_a_dropped_copy_go_to_the_kept_one(context: Context) -> None:
    rows = (
        row_of(
            "a",
            width=200,
            hand_added=["smile"],
            **history(None, (0, {"added": ["smile"], "removed": ["hat"]})),
        ),
        row_of("b", 2, raw_caption="smile, hat, star", **history({"added": ["smile", "hat", "star"]})),
    )
    found = deduped(context, *rows)
    assert set(found["a"]["hand_added"]) == {"smile", "star"}
    assert "its tags went to that one: star" in found["b"]["reason"]
    reported = deduped(context, *rows, captions="report")
    assert reported["a"]["hand_added"] == ["smile"]
    assert "its tags were not used: star" in reported["b"]["reason"]


def both(text: str) -> dict[str, str]:
    """A sentence beside a raw picture, which curate makes the whole caption."""
    return {"raw_caption": text, "hand_caption": text} | history({"caption": text})


def test_a_sentence_goes_to_a_kept_copy_without_one_and_is_reported_where_it_is_lost(
    context: Context,
) -> None:
    small = row_of("b", 2, **both("a girl on a bridge"))
    found = deduped(context, row_of("a", width=200), small)
    assert found["a"]["hand_caption"] == "a girl on a bridge"
    assert found["b"]["reason"].endswith("; its caption went to that one")
    for large, settings in ((both("a girl on a hill"), {}), ({}, {"captions": "report"})):
        found = deduped(context, row_of("a", width=200, **large), small, **settings)
        assert found["a"]["hand_caption"] == large.get("hand_caption")
        assert found["b"]["reason"].endswith("; its caption was not used")


def test_of_two_equal_copies_the_one_without_a_watermark_is_kept(context: Context) -> None:
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (12, 12, 3), np.uint8))
    image = image.resize((300, 300), Image.Resampling.BICUBIC)
    marked = image.copy()
    for x in range(20, 110, 6):
        marked.paste((255, 255, 255), (x, 250, x + 3, 270))
    rows = [
        row_of(name, flips, edges=edges(texture(picture.convert("L"))))
        for name, flips, picture in (("aa", 0, marked), ("bbbb", 1, image))
    ]
    found = deduped(context, *rows)
    assert kept(found) == {"bbbb"}
    assert "without a mark" in found["aa"]["reason"]


def test_cut_outs_are_dropped_only_when_asked(context: Context) -> None:
    rng = np.random.default_rng(6)
    whole = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize(
        (400, 300), Image.Resampling.NEAREST
    )
    part = whole.crop((50, 0, 350, 200))
    rows = [
        row_of("a", features=features(whole)),
        row_of("b", phash=f"{HASH ^ 2**64 - 1:016x}", features=features(part)),
    ]
    assert kept(deduped(context, *rows)) == {"a", "b"}
    found = deduped(context, *rows, crops=True)
    assert found["b"]["reason"].startswith("dedup:crop: of a.png, shows 50% of it")
    rows[1]["hand_state"] = "keep"
    assert kept(deduped(context, *rows, crops=True)) == {"a", "b"}
    rows[1]["features"] = None
    with pytest.raises(ConfigError, match="crops = true"):
        deduped(context, *rows, crops=True)


def test_tags_that_contradict_the_kept_ones_are_reported_and_not_merged(context: Context) -> None:
    found = deduped(
        context,
        row_of("a", width=200, **history({"added": ["smile"]})),
        row_of("b", 1, raw_caption="frown, star", **history({"added": ["frown", "star"]})),
        row_of("c", 2, raw_caption="closed eyes", **history({"added": ["closed eyes"]})),
        row_of("d", 3, raw_caption="one eye closed", **history({"added": ["one eye closed"]})),
    )
    assert kept(found) == {"a"}
    added = found["a"]["hand_added"]
    assert added[:2] == ["smile", "star"]
    assert len({"closed eyes", "one eye closed"} & set(added)) == 1
    assert "contradict those of that one and were not used: frown" in found["b"]["reason"]


def test_another_expression_is_reported_and_kept_and_its_copy_is_dropped(context: Context) -> None:
    drawing = replace(signature_drawing(np.random.default_rng(3)), background="city", night=False)
    sheet = [render(replace(drawing, mouth=mouth), 320, 440) for mouth in ("smile", "frown", "open mouth")]
    sheet.append(sheet[1].resize((200, 275), Image.Resampling.BICUBIC))
    rows = [
        measured(image, i) | {"id": f"id-{i}", "path": f"{i}.png", "state": "active", "role": "train"}
        for i, image in enumerate(sheet)
    ]
    found = deduped(context, *rows)
    assert kept(found) == {"0", "1", "2"}
    assert found["3"]["duplicate_of"] == "id-1"
    assert sum(found[str(i)]["similar_to"] is not None for i in range(3)) >= 1


def test_what_changed_otherwise_is_not_called_a_mark(context: Context) -> None:
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (12, 12, 3), np.uint8))
    image = image.resize((300, 300), Image.Resampling.BICUBIC)
    marked, changed = image.copy(), image.copy()
    for x in range(20, 110, 6):
        marked.paste((255, 255, 255), (x, 256, x + 2, 268))
        changed.paste((255, 255, 255) if x % 12 else (0, 0, 0), (x, 140, x + 4, 160))
    light = {name: one.convert("L") for name, one in (("m", marked), ("c", changed), ("i", image))}
    seen = {name: {"edges": edges(texture(one)), "fine": fine(one, one)} for name, one in light.items()}
    with_mark = deduped(context, row_of("aa", 0, **seen["m"]), row_of("bbbb", 1, **seen["i"]))
    assert "without a mark" in with_mark["aa"]["reason"]
    otherwise = deduped(context, row_of("aa", 0, **seen["c"]), row_of("bbbb", 1, **seen["i"]))
    assert not any("without a mark" in (row["reason"] or "") for row in otherwise.values())


def test_copies_of_a_dropped_cut_out_lead_to_the_picture_it_was_cut_from(context: Context) -> None:
    rng = np.random.default_rng(6)
    whole = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).resize(
        (400, 300), Image.Resampling.NEAREST
    )
    part = features(whole.crop((50, 0, 350, 200)))
    far = {name: f"{HASH ^ 2**64 - 1:016x}" for name in ("phash", "trim_phash")}
    rows = [
        row_of("a", features=features(whole)),
        row_of("b", width=90, features=part, **far),
        row_of("b2", width=50, features=part, **far),
    ]
    found = deduped(context, *rows, crops=True)
    assert kept(found) == {"a"}
    assert {row["duplicate_group"] for row in found.values()} == {"id-a"}
    assert found["b"]["duplicate_of"] == found["b2"]["duplicate_of"] == "id-a"
    assert found["b2"]["reason"].endswith("; that one was dropped as a cut-out of a.png")
    assert found["b2"]["distance"] is None


def test_a_newer_decision_on_a_dropped_copy_stands(context: Context) -> None:
    old = history({"added": ["hat"]}, (0, {"added": ["cat"]}), (2, {"added": ["sea"], "removed": ["tree"]}))
    new = history(None, (1, {"removed": ["cat"], "added": ["tree"]}))
    found = deduped(
        context,
        row_of("a", raw_caption="hat, cat", **old),
        row_of("b", sha256="b", width=300, height=300, **new),
    )
    assert kept(found) == {"b"}
    assert set(found["b"]["hand_added"]) == {"sea", "hat"}
    assert set(found["b"]["hand_removed"]) == {"cat", "tree"}


def test_a_caption_beside_another_file_of_the_same_bytes_is_no_edit_by_hand(context: Context) -> None:
    tags = {"hand_added": ["fine hat"], "sha256": "lo", "hand_history": '[[-1, {"added": ["fine hat"]}]]'}
    found = deduped(
        context,
        row_of("hi", width=125, height=125, sha256="hi"),
        row_of("lo", raw_caption="fine hat", **tags),
        row_of("lo_copy", **tags),
    )
    assert kept(found) == {"hi"}
    assert found["hi"]["hand_added"] == ["fine hat"]
    assert not any("by hand" in (row["reason"] or "") for row in found.values())


@pytest.mark.parametrize("kind", ["added", "caption"])
def test_of_equal_files_the_captioned_one_is_kept_and_its_caption_is_not_called_unused(
    context: Context, kind: str
) -> None:
    raw = {"added": ["fine hat"]} if kind == "added" else {"caption": "A fine hat lies here."}
    cells = {"sha256": "x", "hand_history": json.dumps([[-1, raw]])} | {f"hand_{kind}": raw[kind]}
    rows = [row_of("a", raw_caption="fine hat", **cells), row_of("b", **cells)]
    found = deduped(context, *rows)
    assert kept(found) == {"a"}
    assert "not used" not in found["b"]["reason"]
    rows[1]["width"] = 200
    assert "not used" not in deduped(context, *rows)["a"]["reason"]
