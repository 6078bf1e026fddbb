from __future__ import annotations

import logging
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dataprep.curate.taken import Taken, note_taken
from dataprep.digest import file_sha256
from dataprep.errors import InputError
from dataprep.export.kohya_reader import describe, differences, read_folder
from dataprep.export.kohya_rules import latent_arrays
from dataprep.export.receipt import SCHEMA, read_receipt, retouched
from dataprep.manifest import merge
from dataprep.stage import Context
from dataprep.stages.export import Export
from dataprep.stages.latents import SUFFIX
from dataprep.store import LostBlob

Make = Callable[..., dict[str, Any]]
Tabulate = Callable[[list[dict[str, Any]]], pa.Table]


def with_latents(row: dict[str, Any], context: Context, key: str) -> dict[str, Any]:
    size = (row["bucket_width"], row["bucket_height"])
    arrays = latent_arrays(np.zeros((4, size[1] // 8, size[0] // 8), np.float32), size, size, key, "sd1")

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    context.blobs.put(key, ".npz", write)
    return row | {"latents_key": key}


def export(context: Context, table: pa.Table, **settings: object) -> pa.Table:
    values = {"trigger": "sks", "class_word": "girl", "resolution": 128} | settings
    result = Export.model_validate(values).open(context)(table)
    table = merge(table, result, "export")
    return table


def files(out: Path) -> set[str]:
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".dataprep/")}


def test_the_folder_is_what_kohya_reads(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    rows = [with_latents(placed_row("a.png"), context, "aa11"), placed_row("c.png", role="reg")]
    rows[1] = with_latents(rows[1], context, "cc11")
    table = export(context, as_table(rows))
    assert files(context.out) == {
        "img/2_sks girl/a.png", "img/2_sks girl/a.txt", "img/2_sks girl/a_0128x0064_sd.npz",
        "reg/1_girl/c.png", "reg/1_girl/c.txt", "reg/1_girl/c_0128x0064_sd.npz", "dataset.toml", "train.toml",
    }  # fmt: skip
    assert (context.out / "img/2_sks girl/a.txt").read_bytes() == b"sks girl, smile\n"
    assert differences(read_folder(context.out), table) == []
    assert table["latents_file"].to_pylist()[0] == "img/2_sks girl/a_0128x0064_sd.npz"


def test_the_picture_file_holds_the_views_pixels(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    box = {"left": 64, "top": 0, "right": 128, "bottom": 64}
    table = export(context, as_table([placed_row("a.png", box=box, bucket_width=64)]))
    with Image.open(context.out / table["image_file"][0].as_py()) as image:
        assert image.mode == "RGB"
        with Image.open(context.raw / "a.png") as raw:
            assert np.array_equal(np.asarray(image), np.asarray(raw)[:, 64:])


def test_a_second_export_writes_nothing(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    table = as_table([with_latents(placed_row("a.png"), context, "aa11")])
    export(context, table)
    before = {path: path.stat().st_mtime_ns for path in context.out.rglob("*")}
    export(context, table)
    assert {path: path.stat().st_mtime_ns for path in context.out.rglob("*")} == before


def test_a_changed_caption_rewrites_only_its_file(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("bb.png")]
    export(context, as_table(rows))
    folder = context.out / "img/2_sks girl"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    rows[0]["caption"] = "sks girl, frown"
    export(context, as_table(rows))
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"a.txt"}


def test_files_of_a_dropped_row_go_and_empty_folders_with_them(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("c.png", role="reg")]
    export(context, as_table(rows))
    rows[1]["state"] = "dropped"
    export(context, as_table(rows))
    assert not (context.out / "reg").exists()
    assert (context.out / "img/2_sks girl/a.png").is_file()


def test_without_latents_the_ones_written_before_are_removed(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    row = with_latents(placed_row("a.png"), context, "aa11")
    export(context, as_table([row]))
    export(context, as_table([row | {"latents_key": None}]))
    assert not list(context.out.rglob("img/**/*.npz"))


def test_new_latents_replace_the_old_also_when_a_trainer_changed_the_file(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    row = placed_row("a.png")
    export(context, as_table([with_latents(row, context, "aa11")]))
    path = context.out / "img/2_sks girl/a_0128x0064_sd.npz"
    path.write_bytes(b"a trainer wrote here")
    export(context, as_table([with_latents(row, context, "bb22")]))
    with np.load(path) as arrays:
        assert str(arrays["fingerprint"]) == "bb22"
    assert context.blobs.path("aa11", ".npz").stat().st_size > 100  # the store's copy is not the same file


def test_a_chain_that_stopped_before_bucketing_writes_no_pictures(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([placed_row("a.png")]).drop_columns(["box", "bucket_width", "bucket_height", "caption"])
    result = export(context, table)
    assert files(context.out) == set()
    assert result["image_file"].to_pylist() == [None]


@pytest.mark.parametrize("caption", [None, "", "  \n ", "\ufeff"])
def test_no_caption_is_empty(
    context: Context, placed_row: Make, as_table: Tabulate, caption: str | None
) -> None:
    rows = [placed_row("a.png", caption=caption), placed_row("c.png", role="reg", caption=caption)]
    table = export(context, as_table(rows))
    assert (context.out / "img/2_sks girl/a.txt").read_text() == "sks, girl\n"
    assert (context.out / "reg/1_girl/c.txt").read_text() == "girl\n"
    assert table["caption"].to_pylist() == ["sks, girl", "girl"]  # as the files have them
    assert differences(read_folder(context.out), table) == []
    emptied = table.set_column(table.schema.get_field_index("caption"), "caption", pa.array(["", ""]))
    assert "caption 'girl', planned ''" in str(differences(read_folder(context.out), emptied))


def test_a_caption_edited_by_hand_is_kept_and_told(
    context: Context, placed_row: Make, as_table: Tabulate, caplog: pytest.LogCaptureFixture
) -> None:
    row = placed_row("a.png")
    export(context, as_table([row]))
    path = context.out / "img/2_sks girl/a.txt"
    path.write_text("sks girl, smile, blue scarf\n")
    row["caption"] = "sks girl, outdoors"
    with caplog.at_level(logging.WARNING):
        export(context, as_table([row]))
    assert path.read_text() == "sks girl, smile, blue scarf\n"
    assert "a.txt" in caplog.text
    entry = next(e for e in read_receipt(context.out).to_pylist() if e["kind"] == "caption")
    assert (
        entry["caption"] == "sks girl, smile"
    )  # what was written last, so that the edit can still be merged


def test_a_caption_edited_by_hand_is_replaced_once_the_edit_is_merged(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    row = placed_row("a.png", caption="sks girl, smile, hat")
    export(context, as_table([row]))
    path = context.out / "img/2_sks girl/a.txt"
    path.write_text("sks girl, hat, Blue_Scarf")
    row["caption"] = "sks girl, outdoors, blue scarf"  # smile removed, scarf added, hat pruned by the machine
    export(context, as_table([row]))
    assert path.read_text() == "sks girl, outdoors, blue scarf\n"


def test_an_edited_picture_that_is_no_longer_wanted_stays(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    row = placed_row("a.png")
    export(context, as_table([row]))
    (context.out / "img/2_sks girl/a.png").write_bytes(b"painted over")
    export(context, as_table([row | {"state": "dropped"}]))
    assert files(context.out) == {"img/2_sks girl/a.png"}


def test_a_strangers_file_is_left_alone(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    (context.out / "img/2_sks girl").mkdir(parents=True)
    (context.out / "img/2_sks girl/a.txt").write_text("mine")
    (context.out / "img/2_sks girl/other.png").write_bytes(b"mine")
    row = placed_row("a.png")
    export(context, as_table([row]))
    export(context, as_table([row | {"state": "dropped"}]))
    assert files(context.out) == {"img/2_sks girl/a.txt", "img/2_sks girl/other.png"}


def test_nothing_is_written_through_a_link_that_leads_out(
    context: Context, placed_row: Make, as_table: Tabulate, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (context.out / "img").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="out of the prepared folder"):
        export(context, as_table([placed_row("a.png")]))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_equal_stems_get_two_names(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    table = export(context, as_table([placed_row("a.png"), placed_row("A.bmp"), placed_row("sub/a.png")]))
    names = table["image_file"].to_pylist()
    assert len({name.casefold() for name in names}) == 3
    assert differences(read_folder(context.out), table) == []


def test_a_renamed_picture_renames_its_files(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    row = placed_row("a.png")
    export(context, as_table([row]))
    (context.raw / "a.png").rename(context.raw / "b.png")
    export(context, as_table([row | {"path": "b.png", "id": "0b"}]))
    assert {Path(name).name for name in files(context.out) if name.startswith("img/")} == {"b.png", "b.txt"}


def test_files_of_a_killed_run_are_known_as_ours(
    context: Context, placed_row: Make, as_table: Tabulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = placed_row("a.png")

    def killed(out: Path, table: pa.Table) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dataprep.export.sync.write_receipt", killed)
        with pytest.raises(KeyboardInterrupt):
            export(context, as_table([row]))
    assert read_receipt(context.out).schema == SCHEMA
    export(context, as_table([row | {"caption": "sks girl, other"}]))
    assert (context.out / "img/2_sks girl/a.txt").read_text() == "sks girl, other\n"
    assert not (context.out / ".dataprep/receipt.journal").exists()


def test_the_configuration_files_say_what_was_written(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    export(
        context,
        as_table([placed_row("a.png"), placed_row("bb.png", (64, 128)), placed_row("c.png", role="reg")]),
    )
    dataset = tomllib.loads((context.out / "dataset.toml").read_text())["datasets"][0]
    assert dataset["resolution"] == [128, 128]
    assert dataset["bucket_reso_steps"] == 64
    assert [
        (Path(s["image_dir"]).name, s["num_repeats"], s.get("is_reg", False)) for s in dataset["subsets"]
    ] == [
        ("2_sks girl", 2, False),
        ("1_girl", 1, True),
    ]
    train = tomllib.loads((context.out / "train.toml").read_text())
    assert train["how_long"]["max_train_epochs"] == 100


def test_lost_latents_are_named(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    with pytest.raises(LostBlob, match="gone"):
        export(context, as_table([placed_row("a.png", latents_key="dead")]))


def test_damaged_latents_are_never_shipped(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    row = with_latents(placed_row("a.png"), context, "aa11")
    blob = context.blobs.path("aa11", SUFFIX)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1  # one bit; the size stays
    blob.write_bytes(data)
    with pytest.raises(LostBlob, match="damaged"):
        export(context, as_table([row]))
    assert not list(context.out.rglob("*_sd.npz"))


def test_an_edited_configuration_is_kept(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    row = placed_row("a.png")
    export(context, as_table([row]))
    path = context.out / "train.toml"
    path.write_text("network_dim = 4\n")
    os.utime(path, ns=(1, 1))
    export(context, as_table([row | {"repeats": 3}]))
    assert path.read_text() == "network_dim = 4\n"


def test_a_picture_that_vanished_quarantines_only_its_row(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([placed_row("a.png"), placed_row("bb.png")])
    (context.raw / "a.png").unlink()
    result = Export(trigger="sks", resolution=128).open(context)(table)
    assert result["state"].to_pylist() == ["quarantined", "active"]
    assert result["reason"][0].as_py().startswith("export:io:")
    assert {Path(name).name for name in files(context.out) if name.startswith("img/")} == {"bb.png", "bb.txt"}


def test_caches_that_a_trainer_made_of_older_files_are_removed(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("a_b.png")]
    export(context, as_table(rows))
    folder = context.out / "img/2_sks girl"
    latents = {"a.npz", "a_0128x0064_sdxl.npz"}
    made = [*latents, "a_te_outputs.npz", "a_sd3_te.npz", "a_b.npz"]
    for name in made:
        (folder / name).write_bytes(b"made by a trainer")
    rows[0]["caption"] = "sks girl, frown"
    export(context, as_table(rows))
    assert {name for name in made if (folder / name).exists()} == latents | {"a_b.npz"}
    rows[0]["pixels_key"] = "other"
    with Image.open(context.raw / "a.png") as image:
        image.rotate(180).save(context.raw / "a.png")
    export(context, as_table(rows))
    assert {name for name in made if (folder / name).exists()} == {"a_b.npz"}


def test_a_text_cache_older_than_a_hand_edit_that_is_taken_over_is_removed(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("bb.png")]
    export(context, as_table(rows))
    folder = context.out / "img/2_sks girl"
    for name in ("a_te_outputs.npz", "bb_te_outputs.npz"):
        np.savez(folder / name, pool2=np.zeros(4))
        os.utime(folder / name, ns=(10**18, 10**18))
    os.utime(folder / "bb.txt", ns=(10**17, 10**17))
    (folder / "a.txt").write_text("sks girl, frown\n", "utf-8")
    rows[0]["caption"] = "sks girl, frown"
    export(context, as_table(rows))
    assert not (folder / "a_te_outputs.npz").exists()
    assert (folder / "bb_te_outputs.npz").exists()


def test_a_text_cache_that_a_trainer_wrote_half_is_removed(
    context: Context, placed_row: Make, as_table: Tabulate, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [placed_row("a.png"), placed_row("bb.png")]
    export(context, as_table(rows))
    folder = context.out / "img/2_sks girl"
    for name in ("a_flux_te.npz", "bb_flux_te.npz"):
        np.savez(folder / name, t5_out=np.zeros(40))
    (folder / "a_flux_te.npz").write_bytes((folder / "a_flux_te.npz").read_bytes()[:-30])
    export(context, as_table(rows))
    assert sorted(path.name for path in folder.glob("*.npz")) == ["bb_flux_te.npz"]
    assert "a_flux_te.npz" in caplog.text


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("a.npz", False),  # an older sd-scripts' name, which wins over all others
        ("a_0512x0512_sd.npz", False),  # makes sd-scripts believe another size
        ("a_0128x0064_sdxl.npz", True),  # of another family: never looked at
        ("ab.npz", True),  # of another picture
        ("a_te_outputs.npz", True),
    ],
)
def test_latents_that_sd_scripts_would_take_instead_of_ours_are_removed(
    context: Context, placed_row: Make, as_table: Tabulate, name: str, stays: bool, caplog: Any
) -> None:
    table = as_table([with_latents(placed_row("a.png"), context, "aa11")])
    export(context, table)
    path = context.out / "img/2_sks girl" / name
    np.savez(path, pool2=np.zeros(4))
    with caplog.at_level(logging.WARNING):
        result = export(context, table)
    assert path.exists() == stays
    assert ("instead of those here" in caplog.text) != stays
    assert stays or differences(read_folder(context.out), result) == []


def test_sdxl_files_have_its_names(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    table = as_table([with_latents(placed_row("a.png"), context, "aa11")])
    result = export(context, table, family="sdxl")
    assert result["latents_file"][0].as_py() == "img/2_sks girl/a_0128x0064_sdxl.npz"
    assert differences(read_folder(context.out, "sdxl"), result) == []


def test_options_are_on_that_the_latents_were_made_for(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    row = placed_row("a.png")
    latents = np.zeros((4, 8, 16), np.float32)
    arrays = latent_arrays(
        latents, (128, 64), (128, 64), "aa11", "sd1", latents, np.ones((64, 128), np.float32)
    )

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    context.blobs.put("aa11", ".npz", write)
    table = export(context, as_table([row | {"latents_key": "aa11"}]))
    subset = tomllib.loads((context.out / "dataset.toml").read_text())["datasets"][0]["subsets"][0]
    assert subset["flip_aug"] is True
    assert subset["alpha_mask"] is True
    assert differences(read_folder(context.out), table) == []


def test_the_manifest_alone_tells_the_whole_folder(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [with_latents(placed_row("a.png"), context, "aa11"), placed_row("c.png", role="reg")]
    rows[1] = with_latents(rows[1], context, "cc11")
    told: dict[str, bytes | None] = {}
    for row in export(context, as_table(rows)).to_pylist():
        folder = {"train": "img", "reg": "reg"}[row["role"]] + "/" + row["folder"]
        stem = f"{folder}/{Path(row['path']).stem}"
        told[f"{stem}.png"] = None
        told[f"{stem}.txt"] = f"{row['caption']}\n".encode()
        told[f"{stem}_{row['bucket_width']:04d}x{row['bucket_height']:04d}_sd.npz"] = None
        assert row["folder"].startswith(f"{row['repeats']}_")
    found = files(context.out) - {"dataset.toml", "train.toml"}
    assert found == set(told)
    for name, content in told.items():
        assert content is None or (context.out / name).read_bytes() == content


def test_an_edit_that_the_journal_holds_may_be_replaced_and_only_that_edit(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("bb.png")]
    export(context, as_table(rows))
    folder = context.out / "img/2_sks girl"
    taken = {}
    for name in ("a.txt", "bb.txt"):
        (folder / name).write_text("sks girl, mine\n")
        taken[f"img/2_sks girl/{name}"] = file_sha256(folder / name)
    note_taken(context.out, Taken(files=taken))
    (folder / "bb.txt").write_text("sks girl, edited again since\n")
    export(context, as_table([row | {"folder": "3_sks girl"} for row in rows]))
    assert not (folder / "a.txt").exists()
    assert (folder / "bb.txt").read_text() == "sks girl, edited again since\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"network_dmi": 4}, "did you mean network_dim?"), ({"network_dim": 0}, "greater than or equal to 1")],
)
def test_training_settings_that_training_would_refuse_are_refused_before_any_work(
    wrong: dict[str, int], said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Export(train=wrong)


def test_training_settings_that_only_sd_scripts_knows_are_passed_on() -> None:
    assert Export(train={"dynamo_backend": "inductor"}).train == {"dynamo_backend": "inductor"}


def retouch(path: Path) -> None:
    with Image.open(path) as image:
        changed = image.convert("RGB").transpose(Image.Transpose.ROTATE_180)
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(path)


def test_a_picture_changed_by_hand_is_kept_and_loses_its_latents(
    context: Context, placed_row: Make, as_table: Tabulate, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [with_latents(placed_row(name), context, key) for name, key in (("a.png", "aa"), ("bb.png", "bb"))]
    export(context, as_table(rows))
    folder = context.out / "img/2_sks girl"
    retouch(folder / "a.png")
    pixels = (folder / "a.png").read_bytes()
    assert list(retouched(context.out)) == ["img/2_sks girl/a.png"]
    table = export(context, as_table(rows))
    assert (folder / "a.png").read_bytes() == pixels
    assert [path.name for path in folder.glob("*.npz")] == ["bb_0128x0064_sd.npz"]
    assert table["latents_file"].to_pylist() == [None, "img/2_sks girl/bb_0128x0064_sd.npz"]
    assert differences(read_folder(context.out), table) == []
    assert "1 file changed by hand here" in caplog.text
    assert "not merged" not in caplog.text
    assert list(retouched(context.out)) == ["img/2_sks girl/a.png"]  # until somebody decides


def test_a_picture_changed_by_hand_gets_new_latents_once_it_is_deleted(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([with_latents(placed_row("a.png"), context, "aa11")])
    export(context, table)
    picture = context.out / "img/2_sks girl/a.png"
    retouch(picture)
    export(context, table)
    picture.unlink()
    assert export(context, table)["latents_file"].to_pylist() == ["img/2_sks girl/a_0128x0064_sd.npz"]
    assert retouched(context.out) == {}


def test_latents_that_a_trainer_made_before_a_picture_was_changed_are_removed(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([placed_row("a.png")])
    export(context, table)
    picture = context.out / "img/2_sks girl/a.png"
    own = picture.with_name("a_0128x0064_sd.npz")
    np.savez(own, latents=np.zeros(3))  # of the old pixels
    os.utime(own, ns=(10**9, 10**9))
    retouch(picture)
    export(context, table)
    assert not own.exists()
    np.savez(own, latents=np.ones(3))  # of the new ones
    os.utime(own, ns=(2**62, 2**62))
    export(context, table)
    assert own.exists()


def test_a_picture_changed_by_hand_goes_with_its_raw_file_to_a_new_name(
    context: Context, placed_row: Make, as_table: Tabulate, caplog: pytest.LogCaptureFixture
) -> None:
    old = with_latents(placed_row("002.png"), context, "aa11")
    export(context, as_table([old]))
    folder = context.out / "img/2_sks girl"
    retouch(folder / "002.png")
    pixels = (folder / "002.png").read_bytes()
    (context.raw / "002.png").rename(context.raw / "renamed.png")
    renamed = old | {"id": "1" * 64, "path": "renamed.png"}
    for _ in range(2):
        table = export(context, as_table([renamed]))
        assert {path.name for path in folder.iterdir()} == {"renamed.png", "renamed.txt"}
        assert (folder / "renamed.png").read_bytes() == pixels
        assert differences(read_folder(context.out), table) == []
    assert [entry["id"] for entry in retouched(context.out).values()] == ["1" * 64]
    caplog.clear()
    table = export(context, as_table([with_latents(placed_row("b.png", (64, 64)), context, "bb11")]))
    assert (folder / "renamed.png").read_bytes() == pixels
    assert "no raw picture stands for it" in caplog.text
    assert "Delete it here" in caplog.text
    (folder / "renamed.png").unlink()
    table = export(context, table)
    assert differences(read_folder(context.out), table) == []


def test_latents_that_sd_scripts_makes_of_a_picture_changed_by_hand_are_accepted(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([with_latents(placed_row("a.png"), context, "aa11")])
    export(context, table)
    picture = context.out / "img/2_sks girl/a.png"
    retouch(picture)
    export(context, table)
    own = picture.with_name("a_0128x0064_sd.npz")
    arrays = latent_arrays(np.ones((4, 8, 16), np.float32), (128, 64), (128, 64), "", "sd1")
    np.savez(own, **{name: array for name, array in arrays.items() if name != "fingerprint"})
    after = export(context, table)
    assert own.exists()
    assert differences(read_folder(context.out), after) == []
    assert "latents accepted for 1 of 1 pictures, of 1 made by a trainer" in describe(
        read_folder(context.out)
    )
    os.utime(own, ns=(10**9, 10**9))
    (wrong,) = differences(read_folder(context.out), after)
    assert "is of what the picture was before it was changed" in wrong
    after = export(context, table)
    assert differences(read_folder(context.out), after) == []
    assert not own.exists()
    own.write_bytes(b"PK\3\4, and killed")
    export(context, table)
    assert not own.exists()


def rot(path: Path, at: float = 0.5) -> None:
    """Flip bits of one byte, with the file's size and time as they were, as a worn disk does."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x55
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("at", [0.02, 0.5, 0.99])
def test_latents_that_a_disk_damaged_are_written_anew_and_named(
    at: float,
    context: Context,
    placed_row: Make,
    as_table: Tabulate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = as_table([with_latents(placed_row("a.png"), context, "aa11")])
    export(context, table)
    latents = context.out / "img/2_sks girl/a_0128x0064_sd.npz"
    whole = latents.read_bytes()
    rot(latents, at)
    with caplog.at_level(logging.WARNING, "dataprep"):
        export(context, table)
    assert latents.read_bytes() == whole
    assert "1 file had other content than was written" in caplog.text
    assert latents.name in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "dataprep"):
        export(context, table)
    assert caplog.text == ""


@pytest.mark.parametrize("width", [768, 60_000])  # T5's are 8 MB and not hashed
def test_damaged_text_encoder_outputs_are_written_anew(
    width: int, context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(
                file,
                hidden_state1=np.zeros((77, width), np.float32),
                hidden_state2=np.zeros((77, 1280), np.float32),
                pool2=np.zeros(1280, np.float32),
                fingerprint=np.array("bb11"),
            )

    context.blobs.put("bb11", ".te.npz", write)
    table = as_table([placed_row("a.png")]).append_column("texts_key", pa.array(["bb11"]))
    export(context, table, family="sdxl")
    texts = context.out / "img/2_sks girl/a_te_outputs.npz"
    whole = texts.read_bytes()
    rot(texts)
    export(context, table, family="sdxl")
    assert texts.read_bytes() == whole


def test_a_picture_changed_by_hand_goes_with_its_row_to_a_new_name(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    row = with_latents(placed_row("b.png"), context, "bb11")
    export(context, as_table([row]))
    picture = context.out / "img/2_sks girl/b.png"
    Image.new("RGB", (128, 64), "red").save(picture)
    red = picture.read_bytes()
    other = with_latents(placed_row("b_02.png"), context, "cc11")
    for _ in range(2):
        table = export(context, as_table([row, other]))
        moved = context.out / table["image_file"][0].as_py()
        assert moved.name == f"b-{row['id'][:6]}.png"
        assert moved.read_bytes() == red
        assert table["latents_file"].to_pylist() == [None, "img/2_sks girl/b_02_0128x0064_sd.npz"]
        assert not picture.exists()
        assert not picture.with_suffix(".txt").exists()
        found = {file: entry["id"] for file, entry in retouched(context.out).items()}
        assert found == {f"img/2_sks girl/{moved.name}": row["id"]}
    table = export(context, as_table([row | {"folder": "3_sks girl"}]))
    assert {path.name for path in (context.out / "img").iterdir()} == {"3_sks girl"}
    assert (context.out / "img/3_sks girl/b.png").read_bytes() == red


def test_no_retouched_picture_takes_its_size_from_anothers_latents(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    tall = {"box": {"left": 0, "top": 0, "right": 64, "bottom": 64}, "bucket_width": 64}
    b, b_02 = placed_row("b.png"), placed_row("b_02.png", **tall)
    table = as_table([with_latents(b, context, "aa11"), with_latents(b_02, context, "bb22")])
    plain = export(context, table)["image_file"].to_pylist()
    assert [Path(name).name for name in plain] == ["b.png", "b_02.png"]
    Image.new("RGB", (128, 64), "red").save(context.out / plain[0])
    for _ in range(2):
        files = [Path(name).name for name in export(context, table)["image_file"].to_pylist()]
        assert files == [f"b-{b['id'][:6]}.png", "b_02.png"]
        view = read_folder(context.out)
        assert not [problem for problem in view.problems if "makes sd-scripts believe" in problem]
        assert {picture.size for picture in view.pictures} == {(128, 64), (64, 64)}
    (context.out / "img/2_sks girl" / files[0]).unlink()
    assert export(context, table)["image_file"].to_pylist() == plain


def test_a_retouched_picture_is_taken_back_though_a_trainer_made_latents_of_it(
    context: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([with_latents(placed_row("a.png"), context, "aa11")])
    export(context, table)
    folder = context.out / "img/2_sks girl"
    picture, latents = folder / "a.png", folder / "a_0128x0064_sd.npz"
    ours = picture.read_bytes(), latents.read_bytes()
    Image.new("RGB", (128, 64), "red").save(picture)
    export(context, table)
    latents.write_bytes(b"made by a trainer")
    picture.unlink()
    export(context, table)
    assert (picture.read_bytes(), latents.read_bytes()) == ours
