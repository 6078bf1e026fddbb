from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataprep.errors import ModelError
from dataprep.inference.clip import Clip, Concepts, open_clip_model
from dataprep.inference.torch_compat import prepare_torch

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


def write_model(folder: Path, **options: Any) -> Path:
    prepare_torch()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {**TINY, **options}
    model = open_clip.model.CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    preprocess = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return open_clip_model(folder)


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(count)]


def test_vectors_have_length_one_whatever_the_batch(clip: Clip) -> None:
    prepared = [clip.prepare(image) for image in pictures(3)]
    together = clip.encode_images(prepared)
    alone = np.concatenate([clip.encode_images([one]) for one in prepared])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_clip_score_is_the_softmax_against_null_prompts(clip: Clip, tmp_path: Path) -> None:
    assert clip.score_kind == "softmax against null prompts"
    words = Concepts(clip, "a", tmp_path, templates=["{}"], nulls=["a picture"])
    image = clip.encode_images([clip.prepare(pictures(1)[0])])
    text = clip.encode_texts(["hat", "a picture"])
    logits = clip.scale * (image @ text.T)[0]
    expected = np.exp(logits[0]) / np.exp(logits).sum()
    np.testing.assert_allclose(words.probabilities(image, ["hat"]), [[expected]], rtol=1e-4)


def test_a_siglip_score_is_the_models_own_sigmoid(tmp_path: Path) -> None:
    clip = open_clip_model(write_model(tmp_path / "siglip", init_logit_bias=-10.0))
    assert clip.score_kind == "sigmoid"
    words = Concepts(clip, "a", tmp_path, templates=["{}"])
    image = clip.encode_images([clip.prepare(pictures(1)[0])])
    logit = clip.scale * float((image @ clip.encode_texts(["hat"]).T)[0, 0]) - 10.0
    np.testing.assert_allclose(words.probabilities(image, ["hat"]), [[1 / (1 + np.exp(-logit))]], rtol=1e-4)


def test_a_concept_is_the_mean_of_its_templates(clip: Clip, tmp_path: Path) -> None:
    words = Concepts(clip, "a", tmp_path, templates=["{}", "a photo of {}"])
    mean = clip.encode_texts(["hat", "a photo of hat"]).mean(axis=0)
    np.testing.assert_allclose(words.vectors(["hat"])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_words_are_encoded_once_and_found_by_the_next_run(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Concepts(clip, "a", tmp_path).vectors(["hat", "smile"])
    second = Concepts(clip, "a", tmp_path)
    monkeypatch.setattr(Clip, "encode_texts", lambda *_: pytest.fail("encoded again"))
    np.testing.assert_array_equal(second.vectors(["smile", "hat"]), first[::-1])


def test_another_model_or_template_finds_nothing_of_the_first(clip: Clip, tmp_path: Path) -> None:
    Concepts(clip, "a", tmp_path).vectors(["hat"])
    assert not Concepts(clip, "b", tmp_path)._vectors
    assert not Concepts(clip, "a", tmp_path, templates=["{}!"])._vectors


def test_a_cache_that_cannot_be_written_costs_only_time(clip: Clip, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    assert Concepts(clip, "a", blocked).vectors(["hat"]).shape == (1, 8)


def test_a_damaged_cache_is_encoded_again(clip: Clip, tmp_path: Path) -> None:
    Concepts(clip, "a", tmp_path).vectors(["hat"])
    next(tmp_path.rglob("*.npz")).write_bytes(b"half a fi")
    assert Concepts(clip, "a", tmp_path).vectors(["hat"]).shape == (1, 8)


def test_weights_alone_need_their_architecture(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    with pytest.raises(ModelError, match="ARCHITECTURE@"):
        open_clip_model(weights)
    with pytest.raises(ModelError, match="cannot load"):
        open_clip_model(weights, architecture="RN50-quickgelu-of-nobody")


def test_a_folder_without_a_configuration_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"open_clip_config\.json"):
        open_clip_model(tmp_path)


def test_weights_of_another_model_are_an_error(folder: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", embed_dim=16)
    (other / "open_clip_model.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="cannot load"):
        open_clip_model(other)


def test_a_siglip_folder_brings_its_own_tokenizer(tmp_path: Path) -> None:
    prepare_torch()
    import open_clip
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    text = {
        "context_length": 8, "vocab_size": 40, "width": 32, "heads": 2, "layers": 1, "no_causal_mask": True,
        "proj_bias": True, "pool_type": "last", "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
    }  # fmt: skip
    vision = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8, "pool_type": "avg"}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text, "init_logit_bias": -10.0}
    model = open_clip.CustomTextCLIP(**config)
    weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    model_cfg = {**config, "custom_text": True}
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {}})
    )
    words = {
        word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "a", "picture", "of", "hat", "girl"])
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    known = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**known, "eos_token": "</s>"}))
    clip = open_clip_model(tmp_path)
    assert clip.score_kind == "sigmoid"
    texts = clip.encode_texts(["a hat", "a girl"])
    assert np.abs(texts[0] - texts[1]).max() > 1e-3
    image = clip.encode_images([clip.prepare(pictures(1)[0])])
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, atol=1e-5)


def test_bf16_gives_nearly_the_same_vectors_and_texts_stay_exact(folder: Path) -> None:
    exact, half = open_clip_model(folder), open_clip_model(folder, precision="bf16")
    prepared = [exact.prepare(image) for image in pictures(3)]
    cosine = (exact.encode_images(prepared) * half.encode_images(prepared)).sum(axis=1)
    assert half.precision == "bf16"
    assert cosine.min() > 0.999
    np.testing.assert_array_equal(exact.encode_texts(["hat"]), half.encode_texts(["hat"]))


def test_a_small_model_is_never_probed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clip, "_timed", lambda *_: pytest.fail("probed"))
    assert open_clip_model(folder, precision="auto").precision == "fp32"


@pytest.mark.parametrize(
    ("bf16_s", "drift", "chosen"), [(0.5, 0.0, "bf16"), (0.9, 0.0, "fp32"), (0.5, 0.1, "fp32")]
)
def test_the_probe_takes_bf16_only_where_it_is_faster_and_right(
    folder: Path, monkeypatch: pytest.MonkeyPatch, bf16_s: float, drift: float, chosen: str
) -> None:
    def timed(clip: Clip, _: Any) -> tuple[Any, float]:
        exact = clip.precision == "fp32"
        vectors = np.array([[1.0, 0.0]]) if exact else np.array([[np.cos(drift), np.sin(drift)]])
        return vectors, 1.0 if exact else bf16_s

    monkeypatch.setattr("dataprep.inference.clip._PROBED_FROM", 0)
    monkeypatch.setattr(Clip, "_timed", timed)
    clip = open_clip_model(folder, precision="auto")
    assert clip.precision == chosen
    weight = next(iter(clip.model.visual.parameters()))
    assert str(weight.dtype) == ("torch.bfloat16" if chosen == "bf16" else "torch.float32")
