"""The classifier behind tagger and judge, and the WD files that it becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from models.miniature.classifier import Classifier, degraded, export_wd, square


def test_the_exported_graph_gives_the_networks_probabilities_for_any_batch_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Classifier(3, 4).eval()
    export_wd(network, tmp_path, ("general", "long hair", "hat"), (9, 0, 0), (5, 3, 1))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rgb = torch.from_numpy(pixels[..., ::-1].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        wanted = torch.sigmoid(network(rgb)).numpy()
    for size in (1, 3):
        np.testing.assert_allclose(session.run(None, {name: pixels[:size]})[0], wanted[:size], atol=1e-5)


def test_tag_names_are_written_with_underscores(tmp_path: Path) -> None:
    export_wd(Classifier(2, 4).eval(), tmp_path, ("general", "long hair"), (9, 0), (5, 3))
    assert (tmp_path / "selected_tags.csv").read_text("utf-8") == (
        "tag_id,name,category,count\n0,general,9,5\n1,long_hair,0,3\n"
    )


def test_a_picture_is_padded_to_a_white_square() -> None:
    picture = np.zeros((40, 80, 3), dtype=np.uint8)
    padded = square(picture)
    assert padded.shape == (128, 128, 3)
    assert padded[2, 64].tolist() == [255, 255, 255]
    assert padded[64, 64].tolist() == [0, 0, 0]


def test_degraded_pictures_stay_in_range_and_recognisable() -> None:
    pictures = np.full((8, 128, 128, 3), 200, dtype=np.uint8)
    batch = degraded(pictures, np.random.default_rng(0))
    assert batch.shape == (8, 3, 128, 128)
    assert batch.abs().max() <= 1
    assert abs(float(batch.mean()) - (200 / 127.5 - 1)) < 0.15
