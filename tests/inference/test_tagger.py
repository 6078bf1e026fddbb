from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprep.errors import ModelError
from dataprep.inference.tagger import open_tagger, read_labels, squared
from dataprep.pixels import PixelPolicy, load_rgb

GOLDEN = Path(__file__).parent.parent / "golden" / "wd14"
PICTURES = sorted((GOLDEN / "images").glob("*.png"))
MakeTagger = Callable[..., Path]


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_reaches_the_network_as_the_reference_tagger_feeds_it(picture: Path) -> None:
    expected = np.load(GOLDEN / "preprocess.npz")[picture.name]
    tagger = open_tagger(GOLDEN, {})
    prepared = tagger.prepare(load_rgb(picture, PixelPolicy(alpha="white")))
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, expected.astype(np.float32))


def test_probabilities_are_the_reference_taggers() -> None:
    expected = json.loads((GOLDEN / "cases.json").read_text("utf-8"))["probabilities"]
    tagger = open_tagger(GOLDEN, {})
    # One at a time: this network's mean over 200,000 pixels rounds otherwise in a batch, by up to .004.
    for path in PICTURES:
        scores = tagger.scores([tagger.prepare(load_rgb(path, PixelPolicy()))])
        np.testing.assert_allclose(scores[0], expected[path.name], atol=1e-6)


def test_a_wd_network_gets_blue_first_and_the_full_range(mean_tagger: MakeTagger) -> None:
    tagger = open_tagger(mean_tagger(), {})
    scores = tagger.scores([tagger.prepare(flat((255, 102, 51)))])
    np.testing.assert_allclose(scores, [[51 / 255, 102 / 255, 1.0]], atol=1e-6)


def test_a_deepdanbooru_network_gets_red_first_from_0_to_1_and_black_padding(mean_tagger: MakeTagger) -> None:
    folder = mean_tagger(labels="long_hair\n^_^\nrating:safe\n", list_name="tags.txt", divisor=1.0)
    tagger = open_tagger(folder, {})
    scores = tagger.scores([tagger.prepare(flat((255, 102, 51), (8, 4)))])
    np.testing.assert_allclose(scores, [[0.5, 0.2, 0.1]], atol=1e-6)
    assert tagger.labels.tags == ("long hair", "^_^", "rating:safe")
    assert tagger.labels.categories == ("general", "general", "rating")


def test_a_channels_first_network_is_fed_channels_first(mean_tagger: MakeTagger) -> None:
    folder = mean_tagger(shape=("n", 3, 8, 8), channel_axis=1)
    tagger = open_tagger(folder, {"format": "wd-nchw"})
    prepared = tagger.prepare(flat((255, 0, 0)))
    assert prepared.shape == (3, 8, 8)
    assert prepared[:, 0, 0].tolist() == [-1.0, -1.0, 1.0]  # blue, green, red


@pytest.mark.parametrize("batch", [1, 2, 5, 7])
def test_a_network_of_fixed_batch_size_tags_any_number_of_pictures_alike(
    mean_tagger: MakeTagger, batch: int
) -> None:
    free = open_tagger(mean_tagger(), {})
    fixed = open_tagger(mean_tagger(shape=(batch, 8, 8, 3)), {})
    pictures = [free.prepare(flat((40 * i, 255 - 40 * i, 7))) for i in range(6)]
    np.testing.assert_allclose(fixed.scores(pictures), free.scores(pictures), atol=1e-6)


def test_a_list_of_tags_of_another_model_is_an_error(mean_tagger: MakeTagger) -> None:
    folder = mean_tagger(labels="tag_id,name,category,count\n0,first,0,1\n1,second,0,1\n")
    with pytest.raises(ModelError, match=r"3 numbers.*2"):
        open_tagger(folder, {})


def test_logits_are_an_error_until_they_are_declared(mean_tagger: MakeTagger) -> None:
    folder = mean_tagger(divisor=10.0)
    tagger = open_tagger(folder, {})
    with pytest.raises(ModelError, match="logits"):
        tagger.scores([tagger.prepare(flat((255, 255, 255)))])
    declared = open_tagger(folder, {"logits": True})
    scores = declared.scores([declared.prepare(flat((0, 0, 0)))])
    np.testing.assert_allclose(scores, 0.5)


def test_a_network_whose_channels_stand_elsewhere_is_an_error(mean_tagger: MakeTagger) -> None:
    with pytest.raises(ModelError, match="NHWC"):
        open_tagger(mean_tagger(shape=("n", 3, 8, 8), channel_axis=1), {"format": "wd"})


def test_a_size_that_contradicts_the_graph_is_an_error(mean_tagger: MakeTagger) -> None:
    with pytest.raises(ModelError, match="8x8"):
        open_tagger(mean_tagger(), {"size": 16})


def test_a_network_that_is_not_square_is_an_error(mean_tagger: MakeTagger) -> None:
    with pytest.raises(ModelError, match="8x16"):
        open_tagger(mean_tagger(shape=("n", 8, 16, 3)), {})


def test_a_folder_without_a_list_of_tags_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"selected_tags\.csv"):
        read_labels(tmp_path)


def test_labels_get_their_final_spelling_and_category() -> None:
    labels = read_labels(GOLDEN)
    kaomoji = {"^_^", "o_o", ">_<", "(o)_(o)", "||_||", "<|>_<|>"}
    assert kaomoji <= set(labels.tags)
    assert "saber (fate)" in labels.tags
    assert "long sleeves" in labels.tags
    assert labels.categories[:4] == ("rating",) * 4
    assert labels.categories[labels.tags.index("saber (fate)")] == "character"


def test_thresholds_that_a_model_ships_for_single_tags_are_read(mean_tagger: MakeTagger) -> None:
    folder = mean_tagger(
        labels="tag_id,name,category,best_threshold\n0,first,0,0.2\n1,a_b,0,0.7\n2,third,0,\n"
    )
    assert read_labels(folder).thresholds == {"first": 0.2, "a b": 0.7}


@pytest.mark.parametrize(("width", "height"), [(3, 8), (8, 3), (17, 31), (8, 8), (1, 64)])
def test_padding_is_centred_and_nothing_is_cut(width: int, height: int) -> None:
    square = squared(Image.new("RGB", (width, height), (0, 0, 0)), max(width, height), 255)
    dark = np.asarray(square)[:, :, 0] == 0
    assert dark.sum() == width * height
    left, top = (max(width, height) - width) // 2, (max(width, height) - height) // 2
    assert dark[top : top + height, left : left + width].all()
