from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from dataprep.errors import ModelError
from dataprep.inference.onnx import open_graph
from dataprep.inference.tagger import CONVENTIONS, Tagger, open_tagger, read_labels, squared
from dataprep.models import LOCAL_MODELS, facts, find, pins
from dataprep.pictures.pixels import PixelPolicy, load_rgb

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


def mode_of(picture: Path) -> str:
    with Image.open(picture) as image:
        return image.mode


def identity_graph(file: Path, side: int) -> Path:
    """An ONNX file that returns its input, in WD's layout."""
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", side, side, 3])
    same = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", side, side, 3])
    node = helper.make_node("Identity", ["input"], ["output"])
    graph = helper.make_graph([node], "identity", [picture], [same])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file)
    return file


def test_a_graph_that_returns_its_input_returns_the_reference_pixels(tmp_path: Path) -> None:
    expected = np.load(GOLDEN / "preprocess.npz")
    tagger = open_tagger(GOLDEN, {})
    graph = open_graph(identity_graph(tmp_path / "identity.onnx", tagger.size_px))
    loaded = [load_rgb(picture, PixelPolicy(alpha="white")) for picture in PICTURES]
    returned = graph.run(np.stack([tagger.prepare(image) for image in loaded]))
    assert {mode_of(picture) for picture in PICTURES} >= {"RGB", "RGBA", "L", "LA", "P"}
    for picture, pixels in zip(PICTURES, returned, strict=True):
        np.testing.assert_array_equal(pixels, expected[picture.name].astype(np.float32), picture.name)


WD_PINS = sorted(name for name in pins("tagger") if name.startswith("wd-"))


def wd_folder(folder: Path, batch: int | str, ratings_last: bool) -> Path:
    """A random tagger in a WD generation's format: 448 px, NHWC, ratings, general and character tags."""
    rows = [("general", 9, 700), ("explicit", 9, 300), ("long_hair", 0, 450), ("^_^", 0, 9), ("miku", 4, 20)]
    rows = rows[2:] + rows[:2] if ratings_last else rows
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 5], np.linspace(-0.01, 0.01, 15).tolist())
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    nodes = [
        helper.make_node("ReduceMean", ["input_1:0", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["predictions_sigmoid"]),
    ]
    picture = helper.make_tensor_value_info("input_1:0", TensorProto.FLOAT, [batch, 448, 448, 3])
    scores = helper.make_tensor_value_info("predictions_sigmoid", TensorProto.FLOAT, [batch, 5])
    graph = helper.make_graph(nodes, "wd", [picture], [scores], [weights, axes])
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        folder / "model.onnx",
    )
    lines = [f"{i},{name},{category},{count}" for i, (name, category, count) in enumerate(rows)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *lines]), "utf-8")
    return folder


@pytest.mark.parametrize("name", WD_PINS)
def test_every_wd_generation_is_found_and_opened_by_its_pin(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAPREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(LOCAL_MODELS, str(tmp_path / "models"))
    repo = str(pins("tagger")[name].repo)
    fixed = name.endswith(("-v1", "-v2"))
    wd_folder(tmp_path / "models" / Path(repo).name, 1 if fixed else "batch_size", ratings_last=fixed)
    model = find("tagger", name)
    tagger = open_tagger(model.path, facts(model))
    pictures = [tagger.prepare(flat((30 * i, 90, 200), (64, 32))) for i in range(3)]
    alone = np.concatenate([tagger.scores([one]) for one in pictures])
    # The mean over 200,000 pixels rounds otherwise in a batch.
    np.testing.assert_allclose(tagger.scores(pictures), alone, atol=2e-3)
    by_tag = dict(zip(tagger.labels.tags, tagger.labels.categories, strict=True))
    assert by_tag == {
        "general": "rating",
        "explicit": "rating",
        "long hair": "general",
        "^_^": "general",
        "miku": "character",
    }
    assert tagger.labels.base_rates["long hair"] == 0.45


def test_the_configuration_beside_a_network_must_agree_with_it(tmp_path: Path) -> None:
    folder = wd_folder(tmp_path / "wd", "n", ratings_last=False)
    config = {"num_classes": 5, "pretrained_cfg": {"input_size": [3, 448, 448]}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert open_tagger(folder, {}).size_px == 448
    (folder / "config.json").write_text(json.dumps(config | {"num_classes": 10861}), encoding="utf-8")
    with pytest.raises(ModelError, match="10861"):
        open_tagger(folder, {})


def test_an_open_size_is_read_from_the_models_own_configuration(mean_tagger: MakeTagger) -> None:
    folder = mean_tagger(shape=("n", "h", "w", 3))
    with pytest.raises(ModelError, match="stated size"):
        open_tagger(folder, {})
    config = {"num_classes": 3, "pretrained_cfg": {"input_size": [3, 16, 16]}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert open_tagger(folder, {}).prepare(flat((1, 2, 3))).shape == (16, 16, 3)


def test_a_deepdanbooru_table_without_categories_is_read_like_its_list(mean_tagger: MakeTagger) -> None:
    folder = mean_tagger(labels="tag_id,name\n0,long_hair\n1,^_^\n2,rating:safe\n", divisor=1.0)
    tagger = open_tagger(folder, {})
    assert tagger.convention == CONVENTIONS["deepdanbooru"]
    assert tagger.labels.categories == ("general", "general", "rating")


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


def test_channels_first_is_read_from_the_graph_and_what_is_assumed_with_it_is_said(
    mean_tagger: MakeTagger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = mean_tagger(shape=("n", 3, 8, 8), channel_axis=1)
    assert open_tagger(folder, {}).convention == CONVENTIONS["wd-nchw"]
    assert "format wd-nchw is assumed" in caplog.text


def test_a_layout_that_contradicts_the_graph_names_the_file_in_which_it_is_said(
    mean_tagger: MakeTagger,
) -> None:
    folder = mean_tagger(shape=("n", 3, 8, 8), channel_axis=1)
    (folder / "config.json").write_text('{"format": "wd"}', encoding="utf-8")
    with pytest.raises(ModelError, match=r'config\.json beside it: \{"format": "wd-nchw"\}') as caught:
        open_tagger(folder, {})
    assert "pins.toml" not in str(caught.value)


def test_what_gives_probabilities_where_logits_were_assumed_is_an_error(tmp_path: Path) -> None:
    folder = wd_folder(tmp_path / "wd", "n", ratings_last=False)
    tagger = open_tagger(folder, {"logits": True})
    many = Tagger(tagger.graph, tagger.labels, tagger.convention, tagger.size_px)
    with pytest.raises(ModelError, match=r'config\.json beside it: \{"logits": false\}'):
        many._check_logits(np.full((1, 200), 0.3, np.float32))
    many._check_logits(np.full((1, 200), -0.3, np.float32))
    (folder / "config.json").write_text('{"logits": false}', encoding="utf-8")
    assert not open_tagger(folder, {"logits": True}).convention.logits


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
    dark = square[:, :, 0] == 0
    assert dark.sum() == width * height
    left, top = (max(width, height) - width) // 2, (max(width, height) - height) // 2
    assert dark[top : top + height, left : left + width].all()


def test_what_was_assumed_of_an_unknown_network_is_said(
    mean_tagger: MakeTagger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = mean_tagger()
    open_tagger(folder, {})
    assert "format wd is assumed, for selected_tags.csv has categories, but no ratings" in caplog.text
    (folder / "config.json").write_text('{"format": "deepdanbooru"}', encoding="utf-8")
    caplog.clear()
    assert open_tagger(folder, {}).convention == CONVENTIONS["deepdanbooru"]
    assert "assumed" not in caplog.text


def test_a_list_and_a_network_of_different_sorts_are_refused(mean_tagger: MakeTagger) -> None:
    danbooru = mean_tagger(shape=("n", 448, 448, 3), labels="a\nb\nc\n", list_name="tags.txt")
    with pytest.raises(ModelError, match=r"tags\.txt is a list of DeepDanbooru's kind"):
        open_tagger(danbooru, {})
    with pytest.raises(ModelError, match=r"selected_tags\.csv is a list of WD's kind"):
        open_tagger(mean_tagger(shape=("n", 512, 512, 3)), {})
    assert open_tagger(mean_tagger(shape=("n", 512, 512, 3)), {"format": "wd"}).size_px == 512


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (",,,", "no tag"),
        ("7,hat,,5", "category '', wanted a whole number"),
        ("7,hat,x,5", "category 'x'"),
        ("7,hat", "category None"),
        ("7,hat,0,many", "count 'many'"),
    ],
)
def test_a_damaged_line_of_the_list_is_named_and_never_skipped(
    mean_tagger: MakeTagger, line: str, wrong: str
) -> None:
    folder = mean_tagger(labels=f"tag_id,name,category,count\n0,general,9,5\n{line}\n2,hat,0,5\n")
    with pytest.raises(ModelError, match=rf"selected_tags\.csv, line 3: {wrong}.*none can be left out"):
        read_labels(folder)
