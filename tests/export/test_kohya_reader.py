from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dataprep.errors import InputError
from dataprep.export.kohya import dataset_toml
from dataprep.export.kohya_reader import describe, differences, read_data_dirs, read_folder
from dataprep.export.kohya_rules import latent_arrays, latents_name
from dataprep.export.presets import TrainPlan, train_toml

Make = Callable[..., dict[str, Any]]


class Folder:
    """A prepared folder, written by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
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
            row["latents_file"] = latents_name(f"{folder}/{name}", *size, "sd1")
            arrays = latent_arrays(
                np.zeros((4, size[1] // 8, size[0] // 8), np.float32), size, size, "k", "sd1"
            )
            np.savez(self.root / str(row["latents_file"]), **arrays)
        self.rows.append(row)
        return path

    def configure(self) -> None:
        subsets = {"img/2_sks girl": (2, False)}
        if (self.root / "reg").exists():
            subsets["reg/1_girl"] = (1, True)
        text = dataset_toml(self.root, subsets, [(128, 64), (64, 128)], 128, 1, "sd1")
        (self.root / "dataset.toml").write_text(text)

    def differences(self) -> list[str]:
        self.configure()
        return differences(read_folder(self.root), pa.Table.from_pylist(self.rows))


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


def test_names_whose_beginnings_are_equal_are_fine_when_each_has_latents(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for number, name in enumerate(["1", "10", "1_0", "1 0", "1-a", "1.5", "1é"]):
        folder.add(name, (128, 64) if number % 2 else (64, 128))
    assert folder.differences() == []


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


def test_a_resolution_that_sd_scripts_refuses_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(
        '[[datasets]]\nresolution = "256,256"\n[[datasets.subsets]]\nimage_dir = "img"\n', "utf-8"
    )
    with pytest.raises(InputError, match=r"resolution is a text.*delete it"):
        read_folder(tmp_path)
