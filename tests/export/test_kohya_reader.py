from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataprep.errors import InputError
from dataprep.export.difference import Difference
from dataprep.export.kohya import dataset_toml, picture_files
from dataprep.export.kohya_reader import describe, differences, read_data_dirs, read_folder
from dataprep.export.kohya_rules import CACHE_STYLES, TEXT_CACHES, Family, latent_arrays, latents_name
from dataprep.export.presets import TrainPlan, train_toml
from dataprep.export.sync import Wanted, sync

Make = Callable[..., dict[str, Any]]


class Folder:
    """A prepared folder, written by hand."""

    def __init__(self, root: Path, family: Family = "sd1") -> None:
        self.root = root
        self.family = family
        self.rows: list[dict[str, Any]] = []

    def add(
        self, name: str, size: tuple[int, int] = (128, 64), *, reg: bool = False, cached: bool = True
    ) -> Path:
        folder = "reg/1_girl" if reg else "img/2_sks girl"
        path = self.root / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
        path.with_suffix(".txt").write_text("girl\n" if reg else "sks girl, smile\n")
        row = {
            "image_file": f"{folder}/{name}.png", "bucket_width": size[0], "bucket_height": size[1],
            "role": "reg" if reg else "train", "repeats": 1 if reg else 2, "latents_key": "k",
            "caption": "girl" if reg else "sks girl, smile", "latents_file": None,
        }  # fmt: skip
        if cached:
            row["latents_file"] = latents_name(f"{folder}/{name}", *size, self.family)
            shape = (CACHE_STYLES[self.family].channels, size[1] // 8, size[0] // 8)
            arrays = latent_arrays(np.zeros(shape, np.float32), size, size, "k", self.family)
            np.savez(self.root / str(row["latents_file"]), **arrays)
        self.rows.append(row)
        return path

    def configure(self) -> None:
        subsets = {"img/2_sks girl": (2, False)}
        if (self.root / "reg").exists():
            subsets["reg/1_girl"] = (1, True)
        text = dataset_toml(self.root, subsets, [(128, 64), (64, 128)], 128, 1, self.family)
        (self.root / "dataset.toml").write_text(text)

    def differences(self) -> list[Difference]:
        self.configure()
        return differences(read_folder(self.root, self.family), pa.Table.from_pylist(self.rows))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    folder.add("a")
    folder.add("b", (64, 128))
    return folder


def test_a_folder_as_planned_has_no_differences(folder: Folder) -> None:
    folder.add("c", reg=True)
    assert folder.differences() == []
    text = describe(read_folder(folder.root))
    assert "2 training pictures, 4 with repeats, in 2 buckets" in text
    assert "latents accepted for 3 of 3" in text
    assert "1 of 1 class pictures, together 4 times" in text


def spoil_caption(data: bytes | None) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        file = path.with_suffix(".txt")
        file.unlink() if data is None else file.write_bytes(data)

    return spoil


def cache_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_0128x0064_sd.npz")


def spoil_cache(**changes: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with np.load(cache_of(path)) as arrays:
            values = {name: arrays[name] for name in arrays.files} | changes
        np.savez(cache_of(path), **{name: value for name, value in values.items() if value is not None})

    return spoil


def empty_array(cache: Path) -> None:
    with zipfile.ZipFile(cache, "w") as archive:
        for name in ("latents", "original_size", "crop_ltrb"):
            archive.writestr(f"{name}.npy", b"")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_caption(None), "has no .txt"),
        (spoil_caption(b""), "empty: sd-scripts stops"),
        (spoil_caption("é".encode("latin-1")), "not UTF-8"),
        (spoil_caption(b"\xef\xbb\xbfsks girl, smile\n"), "byte order mark"),
        (spoil_caption(b"sks girl, smile\nsecond\n"), "only the first line"),
        (spoil_caption(b"sks girl\n"), "planned 'sks girl, smile'"),
        (spoil_cache(latents=np.zeros((4, 4, 4), np.float32)), "of shape (4, 4, 4)"),
        (spoil_cache(crop_ltrb=None), "lacks crop_ltrb"),
        (spoil_cache(fingerprint=np.array("other")), "made of other pixels"),
        (spoil_cache(fingerprint=None), "they have no fingerprint"),
        (spoil_cache(original_size=np.array([1, 1])), "original_size (1, 1)"),
        (spoil_cache(crop_ltrb=np.zeros(3)), "crop_ltrb (0.0, 0.0, 0.0)"),
        (spoil_cache(crop_ltrb=np.array([0, 0, 64, 64])), "crop_ltrb (0, 0, 64, 64)"),
        (lambda path: cache_of(path).write_bytes(b"PK"), "broken"),
        (spoil_cache(latents=np.array(["text"])), "wanted floats"),
        (lambda path: empty_array(cache_of(path)), "broken"),
        (lambda path: cache_of(path).unlink(), "not accepted"),
        (lambda path: cache_of(path).rename(path.with_suffix(".npz")), "older sd-scripts"),
        (lambda path: cache_of(path).rename(path.with_name("a_0064x0128_sd.npz")), "believe 64x128"),
        (lambda path: path.write_bytes(b"no picture"), "is no picture"),
        (lambda path: path.unlink(), "does not see it"),
        (lambda path: Image.new("RGB", (64, 64)).save(path), "is 64x64"),
        (lambda path: path.rename(path.with_suffix(".Png")), "skips pictures of this name"),
        (lambda path: Image.new("RGB", (128, 64)).save(path.with_suffix(".jpg")), "share one caption"),
        (lambda path: Image.new("RGB", (128, 64)).save(path.with_name("z.png")), "not in the manifest"),
        (lambda path: (path.parent.parent / "3_other").mkdir(), "not in dataset.toml"),
    ],
)
def test_what_sd_scripts_would_train_otherwise_is_found(
    folder: Folder, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(folder.root / "img/2_sks girl/a.png")
    assert any(message in difference for difference in folder.differences()), folder.differences()


def test_a_picture_without_latents_takes_its_size_from_a_neighbours(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.add("1", (128, 64), cached=False)
    folder.add("10", (64, 128))
    assert any(
        "1.png: is 128x64" in difference and "64x128" in difference for difference in folder.differences()
    )


def test_latents_of_the_oldest_name_are_the_ones_that_are_read(folder: Folder) -> None:
    picture = folder.root / "img/2_sks girl/a.png"
    picture.with_suffix(".npz").write_bytes(b"broken")
    found = folder.differences()
    assert any("a.npz: broken" in difference and difference.code == "training-stops" for difference in found)


def test_names_whose_beginnings_are_equal_are_fine_when_each_has_latents(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number, name in enumerate(["1", "10", "1_1", "1 0", "1-a", "1.5", "1é"]):
        folder.add(name, (128, 64) if number % 2 else (64, 128))
    assert folder.differences() == []


@pytest.mark.parametrize("other", ["girl_0", "girl_", "girl_0128x0064_sd"])
def test_a_name_that_anothers_cache_begins_with_makes_sd_scripts_take_its_size(
    tmp_path: Path, other: str
) -> None:
    folder = Folder(tmp_path)
    folder.add("girl", (128, 64))
    folder.add(other, (64, 128))
    assert "makes sd-scripts believe 128x64" in str(folder.differences())


@pytest.mark.parametrize("others", [["girl_0", "girl_", "girl_1"], ["girl_00", "girl_0128x0064", "girl_2"]])
def test_the_names_that_are_given_are_none_of_these(tmp_path: Path, others: list[str]) -> None:
    sizes = [(128, 64), (64, 128), (64, 128), (64, 64)]
    rows = [
        {"id": f"{i:032x}", "path": f"{stem}.png", "view": "", "role": "train", "folder": "2_sks girl",
         "bucket_width": size[0], "bucket_height": size[1]}
        for i, (stem, size) in enumerate(zip(["girl", *others], sizes, strict=True))
    ]  # fmt: skip
    folder = Folder(tmp_path)
    for row, file in zip(rows, picture_files(rows, {}, "sd1", ascii_only=False).values(), strict=True):
        folder.add(Path(file).stem, (row["bucket_width"], row["bucket_height"]))
    assert folder.differences() == []
    assert (tmp_path / f"img/2_sks girl/{others[-1]}.png").is_file()


def test_a_moved_folder_is_told(folder: Folder, tmp_path: Path) -> None:
    folder.configure()
    text = (folder.root / "dataset.toml").read_text().replace(str(folder.root), "/elsewhere")
    (folder.root / "dataset.toml").write_text(text)
    assert "run again if it moved" in read_folder(folder.root).problems[0]


@pytest.mark.parametrize("text", [None, "", "[[datasets]]", "not toml"])
def test_a_missing_or_broken_configuration_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.toml"):
        read_folder(tmp_path)


def test_a_folder_named_from_where_one_stands_is_read_too(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.configure()
    monkeypatch.chdir(folder.root.parent)
    view = read_folder(Path(folder.root.name))
    assert differences(view, pa.Table.from_pylist(folder.rows)) == []


def test_folders_and_the_configuration_file_show_the_same_data_set(folder: Folder) -> None:
    folder.add("c", reg=True)
    folder.configure()
    sizes = ((128, 64), (64, 128))
    plan = TrainPlan("character", "sd1", 128, 1, 2, 4, 1, "sks", 2, sizes)
    (folder.root / "train.toml").write_text(train_toml(plan))
    assert read_data_dirs(folder.root) == read_folder(folder.root)
    for option in ("enable_bucket = true", 'caption_extension = ".txt"'):
        (folder.root / "train.toml").write_text(train_toml(plan).replace(option, ""))
        assert read_data_dirs(folder.root) != read_folder(folder.root), option
    (folder.root / "train.toml").write_text("unet_lr = 1.0")
    with pytest.raises(InputError, match="resolution"):
        read_data_dirs(folder.root)


TO_DISK = "cache_latents_to_disk = true\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cache_latents = true\n", "cache_latents_to_disk is off"),
        ("cache_latents_to_disk = false\n", "cache_latents_to_disk is off"),
        (TO_DISK + "flip_aug = true\n", "lack latents_flipped"),
        (TO_DISK + "[the_pictures]\nalpha_mask = true\n", "lack alpha_mask"),
        (TO_DISK + "color_aug = true\n", "color_aug is on"),
        (TO_DISK + "random_crop = true\n", "random_crop is on"),
    ],
)
def test_latents_are_not_accepted_with_options_they_were_not_made_for(
    folder: Folder, text: str, why: str
) -> None:
    (folder.root / "train.toml").write_text(TO_DISK)
    assert folder.differences() == []
    (folder.root / "train.toml").write_text(text)
    found = folder.differences()
    assert len(found) == 2
    assert all("not accepted" in difference and why in difference for difference in found)
    assert "latents accepted for 0 of 2" in describe(read_folder(folder.root))


def test_options_of_the_data_set_win_over_those_of_the_command_line(folder: Folder) -> None:
    (folder.root / "train.toml").write_text(TO_DISK + "flip_aug = true\n")
    folder.configure()
    toml = folder.root / "dataset.toml"
    toml.write_text(toml.read_text() + "flip_aug = false\n")
    assert all(picture.cache for picture in read_folder(folder.root).pictures)
    toml.write_text(toml.read_text().replace("flip_aug = false", "flip_aug = true"))
    assert not any(picture.cache for picture in read_folder(folder.root).pictures)


def test_values_that_are_not_finite_and_masks_that_are_not_asked_for_are_not_accepted(folder: Folder) -> None:
    picture = folder.root / "img/2_sks girl/a.png"
    spoil_cache(latents=np.full((4, 8, 16), np.nan, np.float32))(picture)
    assert any("not finite" in difference for difference in folder.differences())
    spoil_cache(latents=np.zeros((4, 8, 16), np.float32), alpha_mask=np.ones((64, 128)))(picture)
    assert any("although alpha_mask is off" in difference for difference in folder.differences())


def test_a_damaged_byte_within_latents_is_found(folder: Folder) -> None:
    cache = cache_of(folder.root / "img/2_sks girl/a.png")
    data = bytearray(cache.read_bytes())
    data[400] ^= 1  # within the first array's values
    cache.write_bytes(data)
    assert any("Bad CRC-32" in difference for difference in folder.differences())
    assert "latents accepted for 1 of 2" in describe(read_folder(folder.root))


def written_texts(folder: Folder, name: str = "a", **changes: Any) -> Path:
    """SDXL's outputs for a picture, and a train.toml that makes use of them."""
    (folder.root / "train.toml").write_text(TO_DISK + "cache_text_encoder_outputs_to_disk = true\n")
    arrays: dict[str, Any] = {
        "hidden_state1": np.zeros((77, 8), np.float32), "hidden_state2": np.zeros((77, 12), np.float32),
        "pool2": np.zeros(12, np.float32), "fingerprint": np.array("t"),
    }  # fmt: skip
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    path = folder.root / f"img/2_sks girl/{name}_te_outputs.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def sdxl(tmp_path: Path) -> Folder:
    """One picture with text-encoder outputs as planned."""
    folder = Folder(tmp_path, "sdxl")
    folder.add("a")
    folder.rows[0]["texts_key"] = "t"
    written_texts(folder)
    return folder


def test_text_encoder_outputs_as_planned_are_accepted(sdxl: Folder) -> None:
    assert sdxl.differences() == []
    assert "text-encoder outputs accepted for 1 of 1" in describe(read_folder(sdxl.root, "sdxl"))


@pytest.mark.parametrize(
    ("changes", "message", "code"),
    [
        ({"pool2": None}, "they lack pool2", "texts-stale"),
        ({"hidden_state1": np.zeros((152, 8), np.float32)}, "152 positions", "texts-stale"),
        ({"hidden_state1": np.zeros((1, 77, 8), np.float32)}, "of shape (1, 77, 8)", "texts-stale"),
        ({"pool2": np.full(12, np.nan, np.float32)}, "not finite", "texts-stale"),
        ({"fingerprint": np.array("other")}, "another caption or another encoder", "texts-stale"),
        ({"fingerprint": None}, "another caption or another encoder", "texts-stale"),
    ],
)
def test_text_encoder_outputs_that_are_not_the_planned_ones_are_found(
    sdxl: Folder, changes: dict[str, Any], message: str, code: str
) -> None:
    written_texts(sdxl, **changes)
    (found,) = sdxl.differences()
    assert message in found
    assert found.code == code


def test_a_truncated_file_of_text_encoder_outputs_stops_sd_scripts(sdxl: Folder) -> None:
    path = written_texts(sdxl)
    path.write_bytes(path.read_bytes()[:-40])
    assert [found.code for found in sdxl.differences()] == ["training-stops", "texts-stale"]


def test_text_encoder_outputs_of_an_edited_caption_are_stale(sdxl: Folder) -> None:
    (sdxl.root / "img/2_sks girl/a.txt").write_text("sks girl, frown\n")
    assert any("the caption that it had before" in found for found in sdxl.differences())


def test_what_sd_scripts_made_of_a_caption_itself_is_stale_only_when_the_caption_is_newer(
    sdxl: Folder,
) -> None:
    cache = written_texts(sdxl, fingerprint=None)
    sdxl.rows[0]["texts_key"] = None
    assert sdxl.differences() == []
    caption = sdxl.root / "img/2_sks girl/a.txt"
    caption.write_text("sks girl, frown\n")
    os.utime(caption, ns=(1, cache.stat().st_mtime_ns - 1))
    assert not any("text-encoder" in found for found in sdxl.differences())  # made after the edit
    os.utime(caption, ns=(1, cache.stat().st_mtime_ns + 1))
    assert any("the caption that it had before" in found for found in sdxl.differences())


def test_text_encoder_outputs_are_not_asked_for_where_training_does_not_read_them(sdxl: Folder) -> None:
    path = written_texts(sdxl)
    path.write_bytes(b"broken")
    sdxl.rows[0]["texts_key"] = None
    (sdxl.root / "train.toml").write_text(TO_DISK)
    assert sdxl.differences() == []


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_outputs_of_t5_belong_to_the_options_that_they_were_made_with(tmp_path: Path, family: Family) -> None:
    folder = Folder(tmp_path, family)
    folder.add("a")
    toml = TO_DISK + "cache_text_encoder_outputs_to_disk = true\nt5xxl_max_token_length = 256\n"
    (tmp_path / "train.toml").write_text(toml)
    style = TEXT_CACHES[family]
    arrays: dict[str, Any] = {name: np.zeros((256, 4)[:size]) for name, size in style.shapes.items()}
    np.savez(tmp_path / f"img/2_sks girl/a{style.suffix}", **arrays, **dict.fromkeys(style.flags, False))
    folder.configure()
    assert [picture.texts_refused for picture in read_folder(tmp_path, family).pictures] == [""]
    (tmp_path / "train.toml").write_text(toml + "apply_t5_attn_mask = true\n")
    (picture,) = read_folder(tmp_path, family).pictures
    assert picture.texts_refused == "they were made with apply_t5_attn_mask off"


def test_large_files_of_texts_are_checked_by_their_checksums_and_by_time(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "flux")
    folder.add("a")
    (tmp_path / "train.toml").write_text(TO_DISK + "cache_text_encoder_outputs_to_disk = true\n")
    style = TEXT_CACHES["flux"]
    arrays: dict[str, Any] = {name: np.zeros((512, 4)[:size]) for name, size in style.shapes.items()}
    arrays |= {"t5_out": np.zeros((512, 1100)), "apply_t5_attn_mask": False, "fingerprint": "t"}
    cache = tmp_path / "img/2_sks girl/a_flux_te.npz"
    np.savez(cache, **arrays)
    data = cache.read_bytes()
    item = Wanted(cache.relative_to(tmp_path).as_posix(), "texts", "t", lambda: data)
    sync(tmp_path, [item], lambda *_: False, folders=())
    folder.rows[0]["texts_key"] = "t"
    assert folder.differences() == []
    (picture,) = read_folder(tmp_path, "flux").pictures
    assert picture.texts is not None
    assert (picture.texts.sha256, picture.texts.shapes["t5_out"]) == ("", (512, 1100))
    before, rotten = cache.stat(), bytearray(data)
    rotten[len(rotten) // 2] ^= 1
    cache.write_bytes(rotten)
    os.utime(cache, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert any("broken (Bad CRC-32" in found for found in folder.differences())
    np.savez(cache, **(arrays | {"t5_out": np.ones((512, 1100))}))
    assert any("outputs were changed after" in found for found in folder.differences())


def test_another_familys_latents_do_not_stand_in_for_ours(folder: Folder) -> None:
    picture = folder.root / "img/2_sks girl/a.png"
    cache_of(picture).rename(picture.with_name("a_0128x0064_sdxl.npz"))
    assert any("a.png: its latents are not accepted" in found for found in folder.differences())
    view = read_folder(folder.root)
    assert view.notes == ("img/2_sks girl/a_0128x0064_sdxl.npz",)
    assert [bool(each.cache) for each in view.pictures] == [False, True]


def test_another_familys_latents_beside_ours_are_a_note_even_when_they_are_broken(folder: Folder) -> None:
    picture = folder.root / "img/2_sks girl/a.png"
    for name in ("a_0128x0064_sdxl.npz", "a_0064x0064_flux.npz", "a_te_outputs.npz"):
        picture.with_name(name).write_bytes(b"broken")
    assert folder.differences() == []
    assert read_folder(folder.root).notes == ("img/2_sks girl/a_0064x0064_flux.npz and 2 more",)


def test_the_family_is_the_one_that_the_folder_was_prepared_for(folder: Folder) -> None:
    folder.configure()
    about = {"settings": {"export": {"family": "sdxl"}}}
    table = pa.Table.from_pylist(folder.rows).replace_schema_metadata({"dataprep": json.dumps(about)})
    pq.write_table(table, folder.root / "manifest.parquet")
    found = differences(read_folder(folder.root), table)
    assert sum("its latents are not accepted" in difference for difference in found) == 2
    assert differences(read_folder(folder.root, "sd1"), table) == []


def test_a_train_toml_of_another_familys_program_is_found(folder: Folder) -> None:
    (folder.root / "train.toml").write_text(TO_DISK + 'network_module = "networks.lora_flux"\nv2 = true\n')
    folder.configure()
    found = differences(read_folder(folder.root, "sd1"), pa.Table.from_pylist(folder.rows))
    assert [difference.code for difference in found] == ["data-set-options", "data-set-options"]
    assert "is flux's" in found[0]


def test_latents_whose_values_were_changed_are_found_by_what_the_receipt_says(folder: Folder) -> None:
    cache = cache_of(folder.root / "img/2_sks girl/a.png")
    data = cache.read_bytes()
    item = Wanted(str(cache.relative_to(folder.root)), "latents", "k", lambda: data)
    sync(folder.root, [item], lambda *_: False, folders=())
    assert folder.differences() == []
    spoil_cache(latents=np.ones((4, 8, 16), np.float32))(folder.root / "img/2_sks girl/a.png")
    (found,) = folder.differences()
    assert "were changed after they were written" in found
    assert found.code == "latents-stale"


def test_a_word_in_a_caption_does_not_change_what_kind_of_difference_it_is(folder: Folder) -> None:
    spoil_caption(b"sks girl, bus stops, a.npz latents\n")(folder.root / "img/2_sks girl/a.png")
    assert [found.code for found in folder.differences()] == ["trained-otherwise"]


def test_a_caption_is_cut_at_line_ends_only_as_sd_scripts_does(folder: Folder) -> None:
    caption = "sks girl, smile\u2028\x0b"  # no line ends to Python's files
    spoil_caption(caption.encode())(folder.root / "img/2_sks girl/a.png")
    assert folder.differences() == []


def test_face_crops_take_the_caption_of_their_picture(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    path = folder.add("a_1_2_3_4")
    path.with_suffix(".txt").rename(path.with_name("a.txt"))
    assert folder.differences() == []
