"""The two other things the same loop can train on the same data: all weights, or one new word."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataprep.errors import ConfigError
from dataprep.inference.base import Base
from dataprep.store import disk_faults, write_bytes
from dataprep.train.captions import plain_ids
from dataprep.train.config import TrainConfig
from dataprep.train.metadata import file_bytes
from dataprep.train.optimizers import Groups


class FullModel:
    """DreamBooth fine-tuning (Ruiz 2022, arXiv:2208.12242): all of U-Net and text encoder(s) learns."""

    suffix = ""  # saved as a diffusers folder

    def __init__(self, base: Base, config: TrainConfig, trigger: str | None) -> None:
        """Let the weights learn.

        Args:
            base: its own weights are trained.
            config: train_* and *_rate.
            trigger: not needed here.
        """
        self.base, self.config = base, config
        self.parts: dict[str, nn.Module] = {"unet": base.unet} if config.train_unet else {}
        if config.train_text_encoder:
            self.parts |= dict(zip(("text_encoder", "text_encoder_2"), base.text_encoders, strict=False))
        for model in self.parts.values():
            model.requires_grad_(True)

    def groups(self) -> Groups:
        """One parameter group for each part."""
        rates = {
            part: self.config.unet_rate if part == "unet" else self.config.text_encoder_rate
            for part in self.parts
        }
        return [
            {"params": list(model.parameters()), "lr": rates[part], "initial_lr": rates[part], "part": part}
            for part, model in self.parts.items()
        ]

    def state(self) -> dict[str, Tensor]:
        """Every trained tensor by part and name, for a checkpoint."""
        parts = self.parts.items()
        return {f"{part}.{name}": p.detach() for part, model in parts for name, p in model.named_parameters()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint's tensors."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def constrain(self) -> None:
        """Nothing to constrain."""

    def save(self, path: Path, facts: Mapping[str, str], dtype: torch.dtype) -> None:
        """Write a diffusers folder, whole or not at all, with training.json in it.

        Raises:
            DiskError: it cannot be written.
        """
        temporary = path.with_name(f".{path.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        models = {"unet": self.base.unet, "vae": self.base.vae, "scheduler": self.base.scheduler}
        models |= dict(zip(("text_encoder", "text_encoder_2"), self.base.text_encoders, strict=False))
        with disk_faults(path):
            for part, model in models.items():
                saved = model if part == "scheduler" else copy.deepcopy(model).to(dtype)
                saved.save_pretrained(temporary / part)
            (temporary / "training.json").write_text(json.dumps(dict(facts), indent=1) + "\n", "utf-8")
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)


class WordTokenizer:
    """A CLIP tokenizer that reads one word as new tokens."""

    def __init__(self, tokenizer: Any, word: str, ids: list[int]) -> None:  # noqa: ANN401 - transformers
        """Wrap a tokenizer, which stays as it is.

        Args:
            tokenizer: transformers.CLIPTokenizer.
            word: read whole, wherever it stands between other characters than letters.
            ids: what it is read as.
        """
        self.inner, self.ids = tokenizer, ids
        self.word = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
        self.bos_token_id, self.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        self.pad_token_id = tokenizer.pad_token_id

    def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:  # noqa: ANN401 - transformers
        """Token ids, without BOS and EOS."""
        ids: list[int] = []
        for i, part in enumerate(self.word.split(text)):
            ids += [*(self.ids if i else []), *plain_ids(self.inner, part)]
        return {"input_ids": ids}


class WordEmbedding(nn.Module):
    """A frozen token embedding with rows appended that learn."""

    def __init__(self, frozen: nn.Embedding, start: Tensor) -> None:
        """Append rows.

        Args:
            frozen: (V, C).
            start: what the new rows begin as, (n, C).
        """
        super().__init__()
        self.frozen = frozen
        self.rows = nn.Parameter(start.detach().clone().float())

    @property
    def weight(self) -> Tensor:
        """The frozen rows, which transformers looks at for device and type."""
        return self.frozen.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids (B, T), those from V on by the new rows: (B, T, C)."""
        size = self.frozen.num_embeddings
        known = self.frozen(ids.clamp(max=size - 1))
        new = self.rows[(ids - size).clamp(min=0)].to(known.dtype)
        return torch.where((ids >= size).unsqueeze(-1), new, known)


class Embedding:
    """Textual inversion (Gal 2022, arXiv:2208.01618): only the trigger word's own token embeddings learn."""

    suffix = ".safetensors"

    def __init__(self, base: Base, config: TrainConfig, trigger: str | None) -> None:
        """Give the trigger word its own tokens.

        Args:
            base: its models stay frozen.
            config: embedding_tokens, embedding_init, text_encoder_rate.
            trigger: the word.
        Raises:
            ConfigError: there is no trigger word.
        """
        if trigger is None:
            raise ConfigError(
                "method embedding learns the trigger word: run `dataprep run --trigger WORD` first"
            )
        self.config = config
        self.words, tokenizers = [], []
        for encoder, tokenizer in zip(base.text_encoders, base.tokenizers, strict=True):
            inner = getattr(encoder, "text_model", encoder).embeddings
            frozen = inner.token_embedding
            start = frozen.weight[list(plain_ids(tokenizer, config.embedding_init or "object"))]
            rows = [i % len(start) for i in range(config.embedding_tokens)]
            inner.token_embedding = WordEmbedding(frozen, start[rows])
            self.words.append(inner.token_embedding)
            ids = [frozen.num_embeddings + i for i in range(config.embedding_tokens)]
            tokenizers.append(WordTokenizer(tokenizer, trigger, ids))
        self.base = replace(base, tokenizers=tuple(tokenizers))

    def groups(self) -> Groups:
        """One parameter group for all new rows."""
        rate = self.config.text_encoder_rate
        rows = [word.rows for word in self.words]
        # A word's embedding has a natural length: decay would pull it to nothing.
        return [{"params": rows, "lr": rate, "initial_lr": rate, "weight_decay": 0.0, "part": "embedding"}]

    def state(self) -> dict[str, Tensor]:
        """The new rows, for a checkpoint."""
        return {f"rows_{i}": word.rows.detach() for i, word in enumerate(self.words)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint's rows."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    def constrain(self) -> None:
        """Nothing to constrain."""

    def save(self, path: Path, facts: Mapping[str, str], dtype: torch.dtype) -> None:
        """Write the word in the names that sd-scripts, A1111 and ComfyUI read. Raises DiskError."""
        names = ("clip_l", "clip_g") if len(self.words) == 2 else ("emb_params",)
        rows = {
            name: word.rows.detach().to("cpu", dtype) for name, word in zip(names, self.words, strict=True)
        }
        write_bytes(path, file_bytes(rows, facts))
