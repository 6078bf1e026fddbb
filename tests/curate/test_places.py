"""Names of prepared files."""

from __future__ import annotations

from dataprep.curate.places import caption_beside, folder, place


def test_a_caption_stands_beside_its_picture() -> None:
    assert caption_beside("img/2_sks girl/a.b.png") == "img/2_sks girl/a.b.txt"
    assert caption_beside("img/2_sks girl/a.txt") == "img/2_sks girl/a.txt"


def test_a_renamed_subset_folder_leaves_a_files_place() -> None:
    assert place("img/2_sks girl/a.png") == place("img/5_sks/a.png") != place("reg/1_girl/a.png")
    assert folder("img/2_sks girl/a.png") == "img/2_sks girl"
