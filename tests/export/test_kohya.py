from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dataprep.export.kohya import bucket_steps, dataset_toml, folder_name, one_line, same_tags, toml_value


@pytest.mark.parametrize(
    "value", [True, 0, -3, 1.5, 1.0, 1e-4, 1e30, "", 'a "b" \\ é \x7f \n', [1, 2], ["a", "b"], []]
)
def test_toml_reads_back_what_was_written(value: object) -> None:
    read = tomllib.loads(f"x = {toml_value(value)}")["x"]
    assert read == value
    assert type(read) is type(value)


# Keys that sd-scripts 48d368fa accepts; any other key stops it.
DATASET_KEYS = {
    "resolution", "batch_size", "enable_bucket", "bucket_no_upscale", "bucket_reso_steps", "min_bucket_reso",
    "max_bucket_reso", "subsets",
}  # fmt: skip
SUBSET_KEYS = {
    "image_dir", "num_repeats", "class_tokens", "is_reg", "caption_extension", "keep_tokens",
}  # fmt: skip


def test_the_dataset_file_has_only_keys_that_sd_scripts_knows() -> None:
    text = dataset_toml(Path("/o"), {"img/2_a": (2, False), "reg/1_b": (1, True)}, [(64, 128)], 128, 3, "sd1")
    document = tomllib.loads(text)
    assert set(document) == {"datasets"}
    assert set(document["datasets"][0]) <= DATASET_KEYS
    for subset in document["datasets"][0]["subsets"]:
        assert set(subset) <= SUBSET_KEYS


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [([(512, 512), (384, 640)], 64), ([(96, 256), (160, 64)], 32), ([(72, 512)], 8), ([], 64)],
)
def test_bucket_steps_fit_every_bucket(sizes: list[tuple[int, int]], steps: int) -> None:
    assert bucket_steps(sizes, "sd1") == steps


@pytest.mark.parametrize(
    ("text", "line"),
    [(None, ""), (" a\r\nb \n\n c", "a b c"), ("\ufeffa", "a"), ("a\u2028b", "a b"), ("a,  b", "a,  b")],
)
def test_captions_are_one_line(text: str | None, line: str) -> None:
    assert one_line(text) == line


def test_folder_names_are_safe() -> None:
    assert folder_name(10, "s/k:s", None, "girl") == "10_s_k_s girl"


@pytest.mark.parametrize(
    ("edited", "before", "after", "added", "removed", "merged"),
    [
        ("sks, a, b", "sks, a", "sks, b", [], [], True),  # added, and in the new caption
        ("sks, a, b", "sks, a", "sks, a", [], [], False),  # added, and lost
        ("sks, a, b", "sks, a", "sks, a", ["b"], [], True),  # added, noted, then pruned by a rule that may
        ("sks", "sks, a", "sks, a", [], [], False),  # removed, and back again
        ("sks", "sks, a", "sks, a", [], ["a"], True),
        ("sks", "sks, a", "sks, c", [], [], True),
        ("A_b, sks", "sks", "sks, a b", [], [], True),  # spelling is no difference
        ("sks, a", None, "sks, a", [], [], False),  # nobody knows what was there before
    ],
)
def test_an_edit_counts_as_merged_when_each_of_its_changes_is(
    edited: str, before: str | None, after: str, added: list[str], removed: list[str], merged: bool
) -> None:
    assert same_tags(edited, before, after, added, removed) == merged
