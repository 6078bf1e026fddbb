from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_t5 import save_t5_folder

from dataprep.errors import ModelError
from dataprep.export.kohya_rules import TEXT_CACHES
from dataprep.inference.t5 import T5Family, load_t5_encoders
from dataprep.inference.text import clip_tokenizer

FAMILIES: tuple[T5Family, ...] = ("flux", "sd3")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> T5Family:
    chosen: T5Family = request.param
    return chosen


@pytest.fixture(scope="module")
def folder(family: T5Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_t5_folder(tmp_path_factory.mktemp(family), family)


@pytest.fixture(scope="module")
def arrays(family: T5Family, folder: Path) -> dict[str, Any]:
    return load_t5_encoders(folder, family, "cpu").encode(["girl", "sks girl, hat"], 16)[1]


def test_names_shapes_and_types_are_those_that_sd_scripts_writes(
    family: T5Family, arrays: dict[str, Any]
) -> None:
    style = TEXT_CACHES[family]
    assert set(arrays) == {*style.shapes, *style.flags}
    assert {name: arrays[name].ndim for name in style.shapes} == dict(style.shapes)
    assert {name: arrays[name].shape[0] for name in style.read} == dict.fromkeys(style.read, 16)
    masks = {name for name in style.shapes if name.endswith("mask")}
    assert {arrays[name].dtype for name in masks} == {np.dtype(np.int64)}
    assert {arrays[name].dtype for name in set(style.shapes) - masks} == {np.dtype(np.float32)}
    assert all(arrays[name].dtype == bool and not arrays[name] for name in style.flags)


def test_t5s_output_is_its_models_own_without_a_mask(
    family: T5Family, folder: Path, arrays: dict[str, Any]
) -> None:
    import torch
    import transformers

    last = "_2" if family == "flux" else "_3"
    model = transformers.T5EncoderModel.from_pretrained(folder / f"text_encoder{last}")
    tokenizer = transformers.T5TokenizerFast.from_pretrained(folder / f"tokenizer{last}")
    told = tokenizer("sks girl, hat", padding="max_length", max_length=16, return_tensors="pt")
    with torch.no_grad():
        whole = model(told["input_ids"]).last_hidden_state[0].numpy()
    assert np.allclose(arrays["t5_out"], whole, atol=1e-5)
    assert arrays["t5_attn_mask"].tolist() == told["attention_mask"][0].tolist()
    assert 0 < arrays["t5_attn_mask"].sum() < 16


def test_clips_outputs_are_its_models_own(family: T5Family, folder: Path, arrays: dict[str, Any]) -> None:
    import torch
    import transformers

    def output(kind: Any, name: str, pad: Any) -> Any:
        told = clip_tokenizer(pad)("sks girl, hat", padding="max_length", return_tensors="pt")
        with torch.no_grad():
            return kind.from_pretrained(folder / name)(told["input_ids"], output_hidden_states=True)

    if family == "flux":
        pooled = output(transformers.CLIPTextModel, "text_encoder", "eos").pooler_output[0]
        assert np.allclose(arrays["l_pooled"], pooled.numpy(), atol=1e-5)
        assert not arrays["txt_ids"].any()
        assert arrays["txt_ids"].shape == (16, 3)
        return
    kind = transformers.CLIPTextModelWithProjection
    told = [output(kind, "text_encoder", "eos"), output(kind, "text_encoder_2", "!")]
    hidden = np.concatenate([one.hidden_states[-2][0].numpy() for one in told], axis=-1)
    assert np.allclose(arrays["lg_out"], hidden, atol=1e-5)
    pooled = np.concatenate([one.text_embeds[0].numpy() for one in told])
    assert np.allclose(arrays["lg_pooled"], pooled, atol=1e-5)


def test_texts_longer_than_the_length_are_cut(family: T5Family, folder: Path) -> None:
    (arrays,) = load_t5_encoders(folder, family, "cpu").encode(["a girl, " * 200], 16)
    assert arrays["t5_attn_mask"].all()
    assert arrays["t5_out"].shape[0] == 16


def test_a_folder_without_the_parts_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text_encoder").mkdir()
    with pytest.raises(ModelError, match=r"no text_encoder_2, tokenizer_2 in it"):
        load_t5_encoders(tmp_path, "flux", "cpu")
    for name in ("text_encoder_2", "tokenizer_2"):
        (tmp_path / name).mkdir()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_t5_encoders(tmp_path, "flux", "cpu")
