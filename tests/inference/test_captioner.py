"""A CoCa model of the real classes, tiny, with random weights: it says nonsense, and always the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprep.errors import ModelError
from dataprep.inference.captioner import Captioner
from dataprep.inference.clip import open_clip_model
from dataprep.inference.text import EOS_ID, clip_tokenizer, decoded
from dataprep.inference.torch_compat import prepare_torch

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 16, "layers": 1, "width": 64, "patch_size": 8, "attentional_pool": True,
        "attn_pooler_heads": 2, "output_tokens": True, "attn_pooler_queries": 4,
    },
    "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
    "custom_text": True,
}  # fmt: skip


def write_coca(folder: Path) -> Path:
    prepare_torch()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    parts = {name: part for name, part in CONFIG.items() if name != "custom_text"}
    model = open_clip.CoCa(**parts)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    text = json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    return Captioner(open_clip_model(write_coca(tmp_path_factory.mktemp("coca"))), 12)


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(count)]


@pytest.mark.slow
def test_a_picture_gives_the_same_sentence_in_any_batch(captioner: Captioner) -> None:
    prepared = [captioner.prepare(image) for image in pictures(3)]
    together = captioner.sentences(prepared)
    assert together == [captioner.sentences([one])[0] for one in prepared]
    assert all(isinstance(text, str) and text for text in together)


def test_a_sentence_is_no_longer_than_was_asked_for_or_the_model_takes(captioner: Captioner) -> None:
    assert captioner.most_tokens == 12
    assert Captioner(captioner.clip, 500).most_tokens == TEXT["context_length"] - 2


def test_a_model_without_a_text_decoder_says_what_is_wanted(captioner: Captioner) -> None:
    class Plain:
        model = object()

    with pytest.raises(ModelError, match="CoCa"):
        Captioner(Plain())  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a girl stands in a field", "café, 100% :d"])
def test_ids_are_read_back_as_the_tokenizers_own(text: str) -> None:
    tokenizer = clip_tokenizer()
    ids = tokenizer(text)["input_ids"]
    expected = tokenizer.decode(ids, skip_special_tokens=True)
    assert decoded(ids).replace(" ", "") == expected.replace(" ", "")
    assert decoded([EOS_ID, 10**6]) == ""
