"""`dataprep show`: an image is found by any of its names and its whole story is told."""

from __future__ import annotations

import pyarrow as pa
import pytest

from dataprep.errors import InputError
from dataprep.story import find_row, story

ROWS = [
    {
        "id": "1f",
        "path": "trip/a.jpg",
        "role": "train",
        "sha256": "ab",
        "state": "active",
        "reason": None,
        "format": "JPEG",
        "width": 640,
        "height": 480,
        "bytes": 1000,
        "box": {"left": 0, "top": 0, "right": 640, "bottom": 480},
        "bucket_width": 320,
        "bucket_height": 256,
        "crop_loss": 0.1,
        "scale": 0.5,
        "image_file": "img/10_sks girl/a.png",
        "caption_file": "img/10_sks girl/a.txt",
        "caption": "sks girl, smile",
        "tags": [
            {
                "tag": "pink hair",
                "score": 0.9,
                "source": "tagger",
                "category": "general",
                "fate": "absorbed",
                "rule": "in 9 of 9",
            }
        ],
    },
    {
        "id": "2e",
        "path": "b/a.jpg",
        "role": "train",
        "sha256": "cd",
        "state": "quarantined",
        "reason": "scan:decode: cut",
        "format": None,
        "width": None,
        "height": None,
        "bytes": 3,
    },
]
TABLE = pa.Table.from_pylist(ROWS)


@pytest.mark.parametrize(
    "name", ["trip/a.jpg", "1f", "img/10_sks girl/a.png", "img/10_sks girl/a.txt", "trip\\a.jpg"]
)
def test_an_image_is_found_by_any_of_its_names(name: str) -> None:
    assert find_row(TABLE, name)["id"] == "1f"


def test_a_name_of_several_images_lists_them() -> None:
    with pytest.raises(InputError, match=r"names 2 images: .*1f.*2e"):
        find_row(TABLE, "a.jpg")


def test_an_unknown_name_gives_an_example() -> None:
    with pytest.raises(InputError, match=r"such as trip/a\.jpg"):
        find_row(TABLE, "z.png")


def test_the_story_tells_view_caption_and_every_tags_fate() -> None:
    text = story(find_row(TABLE, "1f"))
    for part in (
        "trip/a.jpg",
        "320x256",
        "10.0% cropped away",
        "sks girl, smile",
        "pink hair",
        "0.900",
        "in 9 of 9",
    ):
        assert part in text


def test_the_story_of_a_quarantined_file_gives_the_reason() -> None:
    assert "quarantined: scan:decode: cut" in story(find_row(TABLE, "2e"))


def test_the_story_tells_the_sentence_and_clips_opinion() -> None:
    row = ROWS[0] | {"sentence": "A girl smiles.", "clip_agrees": ["smile"], "clip_disagrees": ["hat", "bow"]}
    text = story(row)
    assert "sentence A girl smiles." in text
    assert "sees too: smile" in text
    assert "does not see: hat, bow" in text


def test_the_story_says_that_a_caption_was_written_by_hand() -> None:
    assert "by hand  this whole caption" in story(ROWS[0] | {"hand_caption": "She smiles."})
    assert "by hand" not in story(ROWS[0])


@pytest.mark.parametrize(
    ("cut", "said"), [(0.0, "whole"), (0.125, "12.5% cut away"), (None, "none was found")]
)
def test_the_story_says_what_became_of_the_subject(cut: float | None, said: str) -> None:
    assert f"subject  {said}" in story(ROWS[0] | {"subject_cut": cut})
