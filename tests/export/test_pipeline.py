from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dataprep.export import pipeline
from dataprep.export.pipeline import save_pipeline, write_pipeline
from dataprep.inference.base import load_base


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_fine_tuned_folder_is_a_pipeline_with_names_that_older_transformers_read(
    family: str, base_path: Path, xl_path: Path, tmp_path: Path
) -> None:
    from tiny import diffusers

    base = load_base(xl_path if family == "sdxl" else base_path, "cpu", torch.float32)
    save_pipeline(tmp_path / "tuned", base, torch.float32)
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "tuned", local_files_only=True)
    assert type(pipe).__name__ == f"StableDiffusion{'XL' if family == 'sdxl' else ''}Pipeline"
    for part in ["text_encoder", "text_encoder_2"][: len(base.text_encoders)]:
        encoder = base.text_encoders[part.endswith("2")]
        loaded = getattr(pipe, part).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in encoder.state_dict().items())
        names = set(load_file(tmp_path / "tuned" / part / "model.safetensors"))
        assert all(name.startswith(("text_model.", "text_projection")) for name in names)
    assert pipe.tokenizer("a sks girl")["input_ids"] == base.tokenizers[0]("a sks girl")["input_ids"]
    assert (tmp_path / "tuned" / "tokenizer" / "merges.txt").read_text().count("\n") == 48895


def test_a_fine_tuned_folder_takes_its_precision_and_the_model_keeps_its_own(
    base_path: Path, tmp_path: Path
) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    save_pipeline(tmp_path, base, torch.float16)
    saved = load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float16}
    assert base.unet.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:There are modules")
def test_a_folder_that_cannot_be_finished_leaves_the_one_before(
    base_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    write_pipeline(tmp_path / "tuned", base, torch.float32, {"ss_steps": "1"})

    def broken(*args: object) -> None:
        raise RuntimeError("half written")

    monkeypatch.setattr(pipeline, "_write_vocabulary", broken)
    with pytest.raises(RuntimeError, match="half written"):
        write_pipeline(tmp_path / "tuned", base, torch.float32, {"ss_steps": "2"})
    assert json.loads((tmp_path / "tuned" / "training.json").read_text()) == {"ss_steps": "1"}
    assert load_base(tmp_path / "tuned", "cpu", torch.float32).family == "sd1"
