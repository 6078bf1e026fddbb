"""The shipped weights: they load in the formats of the real models, and do what their card says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from dataprep.inference.torch_compat import prepare_torch

prepare_torch()
import diffusers  # noqa: E402
import open_clip  # noqa: E402
import transformers  # noqa: E402

from models.miniature.base_files import weight_names  # noqa: E402
from models.miniature.classifier import RATINGS, square  # noqa: E402
from models.miniature.clip import new_clip  # noqa: E402
from models.miniature.data import drawings, pixels, signed_drawings  # noqa: E402
from models.miniature.drawing import VOCABULARY  # noqa: E402
from models.miniature.judge import feature_table  # noqa: E402
from models.miniature.tagger import probabilities, truth_table  # noqa: E402
from models.miniature.vae import to_pixels, to_tensor  # noqa: E402

MINIATURE = Path(__file__).parents[3] / "models" / "miniature"
MIB = 2**20
UNSEEN = 71_000

pytestmark = pytest.mark.slow


def test_the_text_encoder_loads_whole_and_has_the_keys_that_every_transformers_reads() -> None:
    folder = MINIATURE / "base" / "text_encoder"
    assert all(name.startswith("text_model.") for name in weight_names(folder))
    _, info = transformers.CLIPTextModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_the_unet_draws_latents_of_any_bucket() -> None:
    unet = diffusers.UNet2DConditionModel.from_pretrained(MINIATURE / "base" / "unet").float()
    context = torch.zeros(1, 77, unet.config.cross_attention_dim)
    for height, width in ((32, 32), (40, 24), (24, 40)):
        with torch.no_grad():
            assert unet(torch.zeros(1, 4, height, width), 10, context).sample.shape == (1, 4, height, width)


def test_the_vae_keeps_unseen_drawings_recognisable() -> None:
    vae = diffusers.AutoencoderKL.from_pretrained(MINIATURE / "base" / "vae").float().eval()
    pictures = np.stack([pixels(drawing, 128, 192) for drawing in drawings(3, UNSEEN)])
    with torch.no_grad():
        latents = vae.encode(to_tensor(pictures)).latent_dist.mean
        again = to_pixels(vae.decode(latents).sample)
    error = np.mean((again.astype(float) - pictures) ** 2)
    assert latents.shape == (3, 4, 24, 16)
    assert 10 * np.log10(255**2 / error) > 20
    assert abs(float(latents.std()) * vae.config.scaling_factor - 1) < 0.3


def test_the_taggers_file_has_wds_columns_ratings_first_and_underscores() -> None:
    with (MINIATURE / "tagger" / "selected_tags.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["tag_id", "name", "category", "count"]
    assert [row["name"] for row in rows[:4]] == list(RATINGS)
    assert [row["category"] for row in rows] == ["9"] * 4 + ["0"] * len(VOCABULARY)
    assert [row["name"] for row in rows[4:]] == [tag.replace(" ", "_") for tag in VOCABULARY]


def test_the_tagger_knows_unseen_drawings() -> None:
    truths = drawings(24, UNSEEN)
    stack = np.stack([square(pixels(truth, 256, 256)) for truth in truths])
    said = probabilities(MINIATURE / "tagger" / "model.onnx", stack)[:, len(RATINGS) :] > 0.5
    true = truth_table(truths)[:, len(RATINGS) :] > 0.5
    assert 2 * (said & true).sum() / (said.sum() + true.sum()) > 0.85


def test_the_judge_finds_the_signature_features_and_only_them() -> None:
    truths = signed_drawings(40, UNSEEN)
    stack = np.stack([square(pixels(truth, 256, 256)) for truth in truths])
    said = probabilities(MINIATURE / "judge" / "model.onnx", stack) > 0.5
    assert np.mean(said == (feature_table(truths) > 0.5)) > 0.9


def test_clip_loads_through_open_clip() -> None:
    model = new_clip()
    open_clip.load_checkpoint(model, str(MINIATURE / "clip" / "open_clip_model.safetensors"))
    assert model.encode_text(open_clip.tokenize(["red hair"])).shape == (1, 64)


def test_no_weight_file_is_over_15_mib_and_the_family_stays_under_36() -> None:
    sizes = [path.stat().st_size for path in MINIATURE.rglob("*") if path.suffix in (".safetensors", ".onnx")]
    assert max(sizes) < 15 * MIB
    assert sum(sizes) < 36 * MIB
