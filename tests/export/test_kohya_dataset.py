from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dataprep.errors import InputError
from dataprep.export.difference import Difference
from dataprep.export.kohya import dataset_toml
from dataprep.export.kohya_dataset import EVERYWHERE, OF_FOLDERS, OF_SETS
from dataprep.export.kohya_reader import KohyaView, describe, differences, read_data_dirs, read_folder
from dataprep.export.kohya_rules import latent_arrays

GOLDEN = Path(__file__).parents[1] / "golden/dataset_config_schema.json"
SIZE = (128, 64)


class Folder:
    """A prepared folder of one training and one class picture, with the text of its dataset.toml."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[dict[str, Any]] = []
        for folder, role, caption in (
            ("img/2_sks girl", "train", "sks girl, hat"),
            ("reg/1_girl", "reg", "girl"),
        ):
            (root / folder).mkdir(parents=True)
            Image.new("RGB", SIZE).save(root / folder / "a.png")
            (root / folder / "a.txt").write_text(f"{caption}\n")
            arrays = latent_arrays(np.zeros((4, 8, 16), np.float32), SIZE, SIZE, "k", "sd1")
            np.savez(root / folder / "a_0128x0064_sd.npz", **arrays)
            self.rows.append({
                "image_file": f"{folder}/a.png", "bucket_width": 128, "bucket_height": 64, "role": role,
                "repeats": 2 if role == "train" else 1, "latents_key": "k", "caption": caption,
                "latents_file": f"{folder}/a_0128x0064_sd.npz",
            })  # fmt: skip
        subsets = {"img/2_sks girl": (2, False), "reg/1_girl": (1, True)}
        self.text = dataset_toml(root, subsets, [SIZE, (64, 128)], 128, 1, "sd1")
        self.write()

    def write(self, *, old: str = "", new: str = "", end: str = "", general: str = "") -> Folder:
        assert old in self.text
        start = f"[general]\n{general}\n" if general else ""
        (self.root / "dataset.toml").write_text(start + self.text.replace(old, new) + end)
        return self

    def view(self) -> KohyaView:
        return read_folder(self.root, "sd1")

    def differences(self, **settings: Any) -> list[Difference]:
        about = {"dataprep": json.dumps({"settings": settings})}
        return differences(self.view(), pa.Table.from_pylist(self.rows).replace_schema_metadata(about))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_the_tables_of_keys_are_sd_scripts_own() -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))["keys"]
    names = {
        bool: "bool", int: "int", float: "float", str: "str", dict: "dict",
    }  # fmt: skip
    for place, keys in (("general", OF_SETS), ("datasets", OF_SETS), ("subsets", OF_FOLDERS)):
        assert set(keys) == {name for name, facts in golden.items() if place in facts["allowed_in"]}
    for name, kinds in (OF_SETS | OF_FOLDERS).items():
        told = golden[name]["type"]
        if list in kinds:
            assert "[" in told
        else:
            assert told == " or ".join(names[kind] for kind in kinds), name
    assert set(EVERYWHERE) <= set(OF_SETS) & set(OF_FOLDERS)


def test_what_export_writes_has_no_differences(folder: Folder) -> None:
    assert folder.differences(latents={"flip": False}) == []


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("captoin_prefix = 'x'\n", "captoin_prefix is no setting that may stand there"),
        ("batch_size = 2\n", "[[datasets.subsets]] batch_size is no setting"),
        ("shuffle_caption = 1\n", "shuffle_caption = 1, wanted true or false"),
        ("keep_tokens_separator = 3\n", "wanted a text"),
        ("face_crop_aug_range = [1, 2]\n", "wanted a list of two"),
        ("[train]\nseed = 1\n", "train is no part of such a file"),
        ("[[datasets.subsets]]\nnum_repeats = 2\n", "without image_dir"),
    ],
)
def test_what_sd_scripts_schema_refuses_stops_it_and_is_all_that_is_told(
    folder: Folder, end: str, message: str
) -> None:
    found = folder.write(end=end).differences()
    assert any(message in difference for difference in found), found
    assert {difference.code for difference in found} == {"training-stops"}
    assert "will see nothing" in describe(folder.view())


@pytest.mark.parametrize(
    ("general", "message"),
    [
        ("validation_split = 0", "validation_split = 0, wanted a number with a point"),
        ("network_multiplier = 1", "wanted a number with a point"),
        ("image_dir = 'x'", "[general] image_dir is no setting"),
        ("alpha_mask = true", "[general] alpha_mask is no setting"),
    ],
)
def test_the_general_part_has_rules_of_its_own(folder: Folder, general: str, message: str) -> None:
    (found,) = folder.write(general=general).differences()
    assert message in found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("resolution = [128, 128]", 'resolution = "128,128"', "wanted a whole number or a list of two"),
        ("resolution = [128, 128]", "resolution = []", "wanted a whole number or a list of two"),
        ("resolution = [128, 128]", "resolution = 0", "resolution = 0"),
        ("resolution = [128, 128]", "", "no resolution"),
        ("resolution = [128, 128]", "resolution = 2048", "must lie between"),
        ("bucket_reso_steps = 64", "bucket_reso_steps = 0", "bucket_reso_steps = 0"),
        ("bucket_reso_steps = 64", "bucket_reso_steps = 8", "wanted a multiple of 64"),
    ],
)
def test_a_resolution_or_buckets_that_sd_scripts_refuses_are_told(
    folder: Folder, old: str, new: str, message: str
) -> None:
    (found,) = folder.write(old=old, new=new).differences()
    assert message in found
    assert found.code == "training-stops"


def test_train_toml_gives_the_resolution_that_dataset_toml_lacks(folder: Folder) -> None:
    (folder.root / "train.toml").write_text('cache_latents_to_disk = true\nresolution = "128,128"\n')
    assert folder.write(old="resolution = [128, 128]", new="").differences() == []


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("caption_prefix = 'best'\n", "caption_prefix = 'best', planned '', in reg/1_girl: stands before"),
        ("caption_suffix = 'best'\n", "stands after every caption"),
        ("enable_wildcard = true\n", "{a|b}"),
        ("secondary_separator = ';;'\n", "replaced by the separator"),
        ("caption_separator = ';'\n", "cut into tags at other places"),
        ("keep_tokens_separator = '|||'\n", "fixed and a shuffled part"),
        ("cache_info = true\n", "metadata_cache.json is believed"),
        ("shuffle_caption = true\n", "tags change places"),
        ("caption_dropout_rate = 1\n", "trigger and all"),
        ("caption_dropout_every_n_epochs = 2\n", "empty in some epochs"),
        ("caption_tag_dropout_rate = 0.5\n", "left out at random"),
        ("token_warmup_step = 10\n", "captions grow"),
        ("face_crop_aug_range = [1.0, 2.0]\n", "around faces"),
        ("custom_attributes = {diff_output_preservation = true}\n", "replace the target"),
    ],
)
def test_an_option_that_makes_other_samples_is_told_with_what_it_does(
    folder: Folder, end: str, message: str
) -> None:
    (found,) = [each for each in folder.write(end=end).differences() if each.code == "data-set-options"]
    assert found.startswith("dataset.toml: ")
    assert message in found


def test_options_for_all_folders_are_one_line_each(folder: Folder) -> None:
    found = folder.write(general="validation_split = 0.5\nshuffle_caption = true").differences()
    assert len(found) == 2
    assert all("in img/2_sks girl, reg/1_girl" in difference for difference in found)
    assert "set aside" in found[0]


def test_other_kept_tags_are_told(folder: Folder) -> None:
    (found,) = folder.write(old="keep_tokens = 1", new="keep_tokens = 3").differences()
    assert "keep_tokens = 3, planned 1, in img/2_sks girl" in found
    assert folder.differences(export={"train": {"keep_tokens": 3}}) == []


def test_what_the_settings_plan_is_no_difference(folder: Folder) -> None:
    (folder.root / "train.toml").write_text("cache_latents_to_disk = true\ncaption_prefix = 'best'\n")
    assert len(folder.differences()) == 1
    assert folder.differences(export={"train": {"caption_prefix": "best"}}) == []


def test_how_captions_vary_is_train_tomls_to_say(folder: Folder) -> None:
    (folder.root / "train.toml").write_text("cache_latents_to_disk = true\nshuffle_caption = true\n")
    assert folder.differences() == []
    (found,) = folder.write(general="shuffle_caption = false").differences()
    assert "shuffle_caption = False, planned True" in found


def test_latents_of_mirrored_pictures_that_are_no_longer_asked_for_are_told(folder: Folder) -> None:
    (found,) = folder.differences(latents={"flip": True})
    assert "flip_aug = False, planned True" in found


def test_a_folder_named_twice_counts_once_and_in_two_spellings_twice(folder: Folder) -> None:
    again = folder.text[folder.text.index("[[datasets.subsets]]") :]
    found, *_ = folder.write(end=again).differences()
    assert "img/2_sks girl is named twice: sd-scripts ignores the second" in found
    assert len(folder.view().pictures) == 2
    spelt = again.replace("/img/2_sks", "/img/../img/2_sks")
    assert any("trains its pictures twice" in each for each in folder.write(end=spelt).differences())
    assert len(folder.view().pictures) == 3


def test_a_folder_without_repeats_is_ignored(folder: Folder) -> None:
    found = folder.write(old="num_repeats = 1", new="num_repeats = 0").differences()
    assert "num_repeats = 0: sd-scripts ignores reg/1_girl" in found[0]
    assert any("reg/1_girl/a.png: sd-scripts does not see it" in difference for difference in found)


def test_other_repeats_a_missing_folder_and_other_class_words_are_told(folder: Folder) -> None:
    found = folder.write(old="num_repeats = 2", new="num_repeats = 3").differences()
    assert found == ["img/2_sks girl/a.png: repeats 3, planned 2"]
    found = folder.write(old="1_girl", new="1_boy").differences()
    assert any("names 1_boy, which is not there" in difference for difference in found)
    (folder.root / "img/2_sks girl/a.txt").unlink()
    found = folder.write(old='class_tokens = "sks girl"', new='class_tokens = "a cat"').differences()
    assert any("caption 'a cat', planned 'sks girl, hat'" in difference for difference in found)


def test_every_data_set_is_read_with_buckets_and_class_pictures_of_its_own(folder: Folder) -> None:
    """sd-scripts concatenates them; a reader that stopped at the first would miss the second's."""
    found = folder.write(end=folder.text.replace("num_repeats = 1", "num_repeats = 3")).differences()
    assert "2 data sets, planned 1" in found[0]
    assert any(
        "img/2_sks girl is in two data sets: sd-scripts trains its pictures in both" in t for t in found
    )
    assert "reg/1_girl/a.png: repeats 3, planned 1" in found
    view = folder.view()
    assert len(view.pictures) == 4
    # Two samples in each set: the first takes one class picture twice, the second's own three repeats.
    assert view.reg_uses == {"reg/1_girl/a.png": 5}


def test_a_second_data_set_of_other_pictures_or_sizes_is_told(folder: Folder) -> None:
    elsewhere = folder.text.replace("/img/2_sks girl", "/elsewhere")
    found = folder.write(end=elsewhere).differences()
    assert "dataset.toml names elsewhere, which is not there" in found
    refused = folder.text.replace("bucket_reso_steps = 64", "bucket_reso_steps = 60")
    assert refused != folder.text
    assert "bucket_reso_steps = 60" in folder.write(end=refused).differences()[0]


def test_a_data_set_without_folders_is_passed_over_as_sd_scripts_does(folder: Folder) -> None:
    view = folder.write(end="\n[[datasets]]\nresolution = 128\n").view()
    assert view.starts
    assert [picture.file for picture in view.pictures] == ["img/2_sks girl/a.png", "reg/1_girl/a.png"]
    assert "2 data sets, planned 1" in view.problems[0]


def test_pictures_set_aside_for_validation_are_not_counted_as_seen(folder: Folder) -> None:
    for name in "bcde":
        Image.new("RGB", SIZE).save(folder.root / f"img/2_sks girl/{name}.png")
        (folder.root / f"img/2_sks girl/{name}.txt").write_text("sks girl\n")
    folder.write(old="[[datasets]]\n", new="[[datasets]]\nvalidation_split = 0.3\n")
    text = describe(folder.view())  # ceil(5 x 0.7) = 4 of 5
    assert "4 training pictures, 8 with repeats (1 more are set aside for validation)" in text
    assert "in 1 buckets, these included: 128x64 5" in text
    assert "1 of 1 class pictures, together 8 times an epoch" in text
    folder.write()
    assert "5 training pictures, 10 with repeats, in 1 buckets: " in describe(folder.view())


def test_a_set_of_another_kind_is_told(folder: Folder) -> None:
    (found,) = folder.write(end='metadata_file = "captions.json"\n').differences()
    assert "captions and sizes come from that file" in found


def test_a_caption_extension_without_its_dot_is_understood(folder: Folder) -> None:
    assert folder.write(old='".txt"', new='"txt"').differences() == []


@pytest.fixture
def kept_info(folder: Folder) -> Callable[..., list[Difference]]:
    """A function that writes sd-scripts' own note of captions and sizes, and reads the folder with it."""
    picture = str(folder.root / "img/2_sks girl/a.png")

    def write(
        caption: str = "sks girl, hat", size: tuple[int, int] = SIZE, name: str = picture
    ) -> list[Difference]:
        told = {name: {"caption": caption, "resolution": size}}
        (folder.root / "img/2_sks girl/metadata_cache.json").write_text(json.dumps(told))
        return folder.write(general="cache_info = true").differences()

    return write


def test_a_stale_note_of_captions_and_sizes_is_read_as_sd_scripts_reads_it(
    kept_info: Callable[..., list[Difference]],
) -> None:
    assert [found.code for found in kept_info()] == ["data-set-options"]
    assert any("caption 'old', planned 'sks girl, hat'" in found for found in kept_info("old"))
    assert any("metadata_cache.json makes sd-scripts believe 64x128" in f for f in kept_info(size=(64, 128)))
    assert any("does not see it" in found for found in kept_info(name="/elsewhere/a.png"))


def test_with_cache_info_pictures_are_measured_and_no_latents_name_is_believed(folder: Folder) -> None:
    cache = folder.root / "img/2_sks girl/a_0128x0064_sd.npz"
    cache.rename(cache.with_name("a_0064x0128_sd.npz"))
    assert folder.view().pictures[0].size == (64, 128)
    assert folder.write(general="cache_info = true").view().pictures[0].size == SIZE


def test_a_damaged_note_of_captions_and_sizes_stops_sd_scripts(folder: Folder) -> None:
    (folder.root / "reg/1_girl/metadata_cache.json").write_text("{")
    assert folder.differences() == []  # without cache_info nobody reads it
    found = folder.write(general="cache_info = true").differences()
    assert any(difference.code == "training-stops" and "metadata_cache" in difference for difference in found)


@pytest.mark.parametrize("text", ["", "datasets = 3", "datasets = [1]", "[[datasets]]\nsubsets = 1\n"])
def test_a_file_without_data_sets_is_named(folder: Folder, text: str) -> None:
    (folder.root / "dataset.toml").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.toml: cannot be read"):
        folder.view()


@pytest.mark.parametrize("resolution", ["", "resolution = 'wide'\n"])
def test_a_train_toml_without_a_resolution_cannot_stand_alone(folder: Folder, resolution: str) -> None:
    (folder.root / "train.toml").write_text(resolution)
    with pytest.raises(InputError, match="resolution"):
        read_data_dirs(folder.root, "sd1")
