"""A fine-tuned model as a diffusers folder, which diffusers, transformers of any age and sd-scripts read."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprep.inference.base import Base
from dataprep.inference.text import clip_merges
from dataprep.store import disk_faults

if TYPE_CHECKING:
    import torch

SUFFIXES = ("", "_2")  # of the names of a first and a second text encoder and tokenizer


def write_pipeline(path: Path, base: Base, dtype: torch.dtype, facts: Mapping[str, str]) -> None:
    """Write the folder whole or not at all, in place of an earlier one, with `facts` as its training.json.

    Raises:
        DiskError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with disk_faults(path):
        save_pipeline(temporary, base, dtype)
        (temporary / "training.json").write_text(json.dumps(dict(facts), indent=1) + "\n", "utf-8")
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)


def save_pipeline(folder: Path, base: Base, dtype: torch.dtype) -> None:
    """Write every part of a base model in the given number format, and its model_index.json."""
    import diffusers
    from torch.nn import Module

    parts: dict[str, Any] = {"unet": base.unet, "vae": base.vae, "scheduler": base.scheduler}
    for i, pair in enumerate(zip(base.text_encoders, base.tokenizers, strict=True)):
        parts |= dict(zip((f"text_encoder{SUFFIXES[i]}", f"tokenizer{SUFFIXES[i]}"), pair, strict=True))
    for name, part in parts.items():
        same = getattr(part, "dtype", dtype) == dtype  # schedulers and tokenizers have none
        # Module's own `to`: diffusers' warns of parts to be kept in float32, of which these have none.
        (part if same else Module.to(copy.deepcopy(part), dtype)).save_pretrained(folder / name)
        if name.startswith("text_encoder"):
            _prefix(folder / name / "model.safetensors")
        if name.startswith("tokenizer"):
            _write_vocabulary(folder / name, part)
    xl = base.family == "sdxl"
    none = {"feature_extractor": None} | ({} if xl else {"safety_checker": None})
    kind = diffusers.StableDiffusionXLPipeline if xl else diffusers.StableDiffusionPipeline
    kind(**parts, **none, **({} if xl else {"requires_safety_checker": False})).save_config(folder)


def _prefix(path: Path) -> None:
    """Put `text_model.` back into CLIPTextModel's names: transformers 5.6 dropped it, older ones want it."""
    from safetensors.torch import load_file, save_file

    tensors = {
        name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}": tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, {"format": "pt"})


def _write_vocabulary(folder: Path, tokenizer: Any) -> None:  # noqa: ANN401 - transformers is untyped
    """The two files of CLIP's tokenizer that transformers 5 no longer writes and older ones read."""
    merges = "".join(f"{first} {second}\n" for first, second in clip_merges())
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, "utf-8")
    (folder / "vocab.json").write_text(json.dumps(tokenizer.get_vocab(), ensure_ascii=False), "utf-8")
