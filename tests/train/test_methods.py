from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from dataprep.errors import ConfigError
from dataprep.inference.base import load_base
from dataprep.train.captions import token_ids
from dataprep.train.config import TrainConfig
from dataprep.train.loop import train
from dataprep.train.methods import WordTokenizer


def run(prepared: Path, *, resume: bool = False, **settings: Any) -> Path:
    shared = {"steps": 4, "checkpoint_every": 2, "samples": False, "save_precision": "fp32"}
    return train(prepared, TrainConfig(**(shared | settings)), resume=resume, device="cpu")


def test_fine_tuning_saves_a_model_that_loads_and_resumes_to_the_bit(prepared: Path, base_path: Path) -> None:
    path = run(prepared, method="full")
    tuned, base = load_base(path, "cpu", torch.float32), load_base(base_path, "cpu", torch.float32)
    weights = tuned.unet.state_dict()
    assert any(not torch.equal(weights[name], tensor) for name, tensor in base.unet.state_dict().items())
    assert torch.equal(tuned.vae.encoder.conv_in.weight, base.vae.encoder.conv_in.weight)
    (prepared / "model" / "checkpoints" / "step-00000004.pt").unlink()
    again = load_base(run(prepared, method="full", resume=True), "cpu", torch.float32)
    assert all(torch.equal(weights[name], tensor) for name, tensor in again.unet.state_dict().items())


def test_textual_inversion_changes_the_trigger_words_rows_only(prepared: Path, base_path: Path) -> None:
    path = run(
        prepared,
        method="embedding",
        embedding_tokens=3,
        text_encoder_rate=0.01,
        samples=True,
        sample_prompts=("sks girl --s 1",),
    )
    rows = load_file(path)
    base = load_base(base_path, "cpu", torch.float32)
    start = base.text_encoders[0].embeddings.token_embedding.weight[
        base.tokenizers[0]("girl")["input_ids"][1]
    ]
    assert set(rows) == {"emb_params"}
    assert rows["emb_params"].shape == (3, 32)
    assert 0 < (rows["emb_params"] - start).abs().max() < 0.1
    whole = rows["emb_params"]
    (prepared / "model" / "checkpoints" / "step-00000004.pt").unlink()
    settings = {"method": "embedding", "embedding_tokens": 3, "text_encoder_rate": 0.01}
    assert torch.equal(load_file(run(prepared, resume=True, **settings))["emb_params"], whole)


def test_textual_inversion_needs_a_trigger(prepared: Path) -> None:
    table = pq.read_table(prepared / "manifest.parquet")
    meta = table.schema.metadata[b"dataprep"].replace(b'"sks"', b"null")
    pq.write_table(table.replace_schema_metadata({"dataprep": meta}), prepared / "manifest.parquet")
    with pytest.raises(ConfigError, match="learns the trigger word"):
        run(prepared, method="embedding")


def test_the_new_word_is_read_whole_and_nothing_else_changes(base_path: Path) -> None:
    plain = load_base(base_path, "cpu", torch.float32).tokenizers[0]
    worded = WordTokenizer(plain, "sks", [50000, 50001])
    for text in ("1girl, red hair", "skset and asks"):
        assert token_ids(worded, text, 1) == token_ids(plain, text, 1)
    known = token_ids(plain, "a, girl", 1)[0][0]
    assert token_ids(worded, "sks, girl", 1)[0][0][:5] == [49406, 50000, 50001, *known[2:4]]
