from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tiny_t5 import save_t5_folder

from dataprep.digest import file_sha256
from dataprep.errors import ConfigError
from dataprep.export.kohya_reader import differences, read_folder
from dataprep.inference.text import clip_tokenizer
from dataprep.manifest import merge
from dataprep.models import Model
from dataprep.stage import Context
from dataprep.stages.export import Export
from dataprep.stages.texts import SUFFIX, Texts

Make = Callable[..., dict[str, Any]]
Tabulate = Callable[[list[dict[str, Any]]], pa.Table]


@pytest.fixture
def with_base(context: Context, xl_path: Path) -> Context:
    return replace(context, models={"base": Model("base", "tiny", xl_path, "f" * 64)})


def keys(context: Context, table: pa.Table, **settings: Any) -> list[str | None]:
    stage = Texts.model_validate({"cache": True, "family": "sdxl", **settings})
    found: list[str | None] = stage.open(context)(table)["texts_key"].to_pylist()
    return found


def load(context: Context, key: str | None) -> dict[str, Any]:
    assert key is not None
    with np.load(context.blobs.path(key, SUFFIX), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_nothing_is_kept_unless_asked_for(context: Context, placed_row: Make, as_table: Tabulate) -> None:
    assert Texts().models_on_request == ()
    result = Texts().open(context)(as_table([placed_row("a.png")]))
    assert result["texts_key"].to_pylist() == [None]


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_families_without_such_files_are_refused(family: str) -> None:
    with pytest.raises(ValidationError, match=r"sdxl, flux, sd3 only.*no such files"):
        Texts.model_validate({"cache": True, "family": family})


@pytest.mark.parametrize(("family", "name"), [("flux", "a_flux_te.npz"), ("sd3", "a_sd3_te.npz")])
def test_outputs_of_t5_are_kept_as_sd_scripts_looks_for_them_and_read_back(
    context: Context, tmp_path: Path, placed_row: Make, as_table: Tabulate, family: Any, name: str
) -> None:
    base = Model("base", "tiny", save_t5_folder(tmp_path / "base", family), "f" * 64)
    context = replace(context, models={"base": base})
    table = as_table([placed_row("a.png", repeats=1), placed_row("bb.png", caption="other", repeats=1)])
    table = table.append_column("texts_key", pa.array(keys(context, table, family=family, t5_tokens=32)))
    train = {"cache_latents_to_disk": False}
    result = Export.model_validate({"family": family, "trigger": "sks", "train": train}).open(context)(table)
    table = merge(table, result, "export")
    assert len(list(context.out.rglob(name))) == 1
    text = (context.out / "train.toml").read_text()
    assert "t5xxl_max_token_length = 32" in text
    assert "cache_text_encoder_outputs_to_disk = true" in text
    view = read_folder(context.out, family)
    assert all(picture.texts for picture in view.pictures)
    assert differences(view, table) == []


def test_a_caption_whose_outputs_are_not_finite_is_put_aside(
    context: Context, tmp_path: Path, placed_row: Make, as_table: Tabulate
) -> None:
    folder = save_t5_folder(tmp_path / "base", "flux")
    weights = load_file(folder / "text_encoder_2/model.safetensors")
    weights["encoder.final_layer_norm.weight"][0] = float("inf")
    save_file(weights, folder / "text_encoder_2/model.safetensors", {"format": "pt"})
    context = replace(context, models={"base": Model("base", "tiny", folder, "f" * 64)})
    stage = Texts(cache=True, family="flux", t5_tokens=16)
    (row,) = stage.open(context)(as_table([placed_row("a.png")])).to_pylist()
    assert row["texts_key"] is None
    assert "overflow" in str(row)


def test_outputs_of_another_length_have_another_key(
    context: Context, tmp_path: Path, placed_row: Make, as_table: Tabulate
) -> None:
    base = Model("base", "tiny", save_t5_folder(tmp_path / "base", "flux"), "f" * 64)
    context, table = replace(context, models={"base": base}), as_table([placed_row("a.png")])
    found = [keys(context, table, family="flux", t5_tokens=tokens)[0] for tokens in (16, 32, 16)]
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize(("max_tokens", "rows"), [(75, 77), (225, 227)])
def test_the_arrays_are_those_that_sd_scripts_reads(
    with_base: Context, placed_row: Make, as_table: Tabulate, max_tokens: int, rows: int
) -> None:
    arrays = load(with_base, keys(with_base, as_table([placed_row("a.png")]), max_tokens=max_tokens)[0])
    shapes = {name: array.shape for name, array in arrays.items() if name != "fingerprint"}
    assert shapes == {"hidden_state1": (rows, 32), "hidden_state2": (rows, 48), "pool2": (48,)}
    assert {arrays[name].dtype for name in shapes} == {np.dtype(np.float32)}


def test_outputs_equal_those_of_the_text_encoders_themselves(
    with_base: Context, xl_path: Path, placed_row: Make, as_table: Tabulate
) -> None:
    import torch
    import transformers

    arrays = load(with_base, keys(with_base, as_table([placed_row("a.png", caption="sks girl")]))[0])
    first = transformers.CLIPTextModel.from_pretrained(xl_path / "text_encoder")
    second = transformers.CLIPTextModelWithProjection.from_pretrained(xl_path / "text_encoder_2")
    with torch.no_grad():
        ids = clip_tokenizer("eos")("sks girl", padding="max_length", return_tensors="pt")["input_ids"]
        one = first(ids, output_hidden_states=True).hidden_states[-2][0]
        ids = clip_tokenizer("!")("sks girl", padding="max_length", return_tensors="pt")["input_ids"]
        two = second(ids, output_hidden_states=True)
    assert np.allclose(arrays["hidden_state1"], one.numpy(), atol=1e-5)
    assert np.allclose(arrays["hidden_state2"], two.hidden_states[-2][0].numpy(), atol=1e-5)
    assert np.allclose(arrays["pool2"], two.text_embeds[0].numpy(), atol=1e-5)


def test_a_caption_is_encoded_once_and_another_has_another_key(
    with_base: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("bb.png"), placed_row("ccc.png", caption="other")]
    found = keys(with_base, as_table([*rows, placed_row("d.png", caption="")]))
    assert found[0] == found[1] != found[2]
    assert found[3] is None


def test_a_changed_caption_replaces_the_file_that_sd_scripts_would_believe(
    with_base: Context, placed_row: Make, as_table: Tabulate
) -> None:
    def export(row: dict[str, Any]) -> None:
        table = as_table([row])
        table = table.append_column("texts_key", pa.array(keys(with_base, table)))
        Export.model_validate({"family": "sdxl", "trigger": "sks"}).open(with_base)(table)

    row = placed_row("a.png")
    export(row)
    file = with_base.out / "img/2_sks girl/a_te_outputs.npz"
    before = file_sha256(file)
    train = (with_base.out / "train.toml").read_text()
    assert "cache_text_encoder_outputs_to_disk = true" in train
    export(row | {"caption": "sks girl, hat"})
    assert file_sha256(file) != before
    Export.model_validate({"family": "sdxl", "trigger": "sks"}).open(with_base)(as_table([row]))
    assert not file.exists()


def test_train_toml_has_the_length_of_the_cached_outputs_which_holds_every_caption(
    with_base: Context, placed_row: Make, as_table: Tabulate
) -> None:
    def export(tokens: int, max_tokens: int) -> str:
        table = as_table([placed_row("a.png")])
        table = table.append_column("caption_tokens", pa.array([tokens], pa.int32()))
        table = table.append_column("texts_key", pa.array(keys(with_base, table, max_tokens=max_tokens)))
        Export.model_validate({"family": "sdxl", "trigger": "sks"}).open(with_base)(table)
        return (with_base.out / "train.toml").read_text()

    assert "max_token_length = 150" in export(20, 150)
    assert "max_token_length" not in export(20, 75)
    with pytest.raises(ConfigError, match=r"set texts.max_tokens = 150"):
        export(80, 75)
