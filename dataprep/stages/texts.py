"""Text-encoder outputs of each caption, kept in sd-scripts' form; off unless asked for.

sd-scripts believes such a file whatever the caption says by now, so it belongs to the caption: a changed one
has another key, and export replaces or removes the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dataprep.digest import digest
from dataprep.export.kohya import one_line
from dataprep.export.kohya_rules import Family
from dataprep.stage import Context, Row, Stage, TableFunction, per_batch, per_row
from dataprep.store import LostBlob

SUFFIX = ".te.npz"  # of the blobs


class Texts(Stage):
    """Settings of text-encoder outputs.

    Supported: SDXL's `_te_outputs.npz`. SD1 and SD2 have no such files: sd-scripts encodes captions as it
    trains. FLUX and SD3 are not supported: theirs need the T5 encoder (5 to 10 GB), so sd-scripts writes them
    itself on its first run; their latents are cached here, and caches of old captions are removed here too.
    """

    name: ClassVar[str] = "texts"
    needs: ClassVar[pa.Schema] = pa.schema([("caption", pa.string())])
    adds: ClassVar[pa.Schema] = pa.schema([("texts_key", pa.string())])

    cache: Annotated[
        bool,
        Field(description="keep SDXL's text-encoder outputs of each caption; they are then not trained"),
    ] = False
    family: Annotated[Family, Field(description="family of the base model; decides file names")] = "sd1"
    max_tokens: Annotated[
        Literal[75, 150, 225],
        Field(description="of a caption, as sd-scripts' max_token_length; more is cut"),
    ] = 75

    @model_validator(mode="after")
    def _kept_by_sd_scripts(self) -> Self:
        if self.cache and self.family != "sdxl":
            why = (
                "sd-scripts has no such files for Stable Diffusion 1 and 2"
                if self.family in ("sd1", "sd2")
                else "they need the T5 encoder, and sd-scripts writes them itself on its first run"
            )
            raise ValueError(
                f"text-encoder outputs are kept for family sdxl only, this is {self.family}: {why}"
            )
        return self

    @property
    def models_on_request(self) -> tuple[str, ...]:
        """The base model, when there is something to encode."""
        return ("base",) if self.cache else ()

    def open(self, context: Context) -> TableFunction:
        """Load the text encoders. Raises ModelError."""
        if not self.cache:
            return per_row(self, lambda _: {"texts_key": None})
        import torch

        from dataprep.inference.base import load_text_encoders

        model = context.models["base"]
        base = load_text_encoders(model.path, context.device, torch.float32)

        def load(row: Row) -> tuple[str, str]:
            text = one_line(row["caption"])
            return digest(self.name, self.version, text, self.max_tokens, model.sha256), text

        def encode(items: list[tuple[str, str]]) -> list[Mapping[str, Any]]:
            fresh = {key: text for key, text in items if text and not context.blobs.has(key, SUFFIX)}
            for key, arrays in zip(fresh, self._encoded(base, list(fresh.values())), strict=True):
                _keep(context, key, arrays)
            return [{"texts_key": key if text else None} for key, text in items]

        return per_batch(self, load, encode)

    def _encoded(self, base: Any, texts: list[str]) -> list[dict[str, Any]]:  # noqa: ANN401 - a Base
        """Arrays of each text in sd-scripts' names: (75 n + 2, C) of both encoders, (C,) of the second."""
        if not texts:
            return []
        import torch

        from dataprep.inference.tokens import token_ids

        ids = [
            torch.tensor([token_ids(each, text, self.max_tokens // 75, False)[0] for text in texts])
            for each in base.tokenizers
        ]
        device = base.text_encoders[0].device
        with torch.inference_mode():
            told = base.encode(tuple(each.to(device) for each in ids))
        width = base.text_encoders[0].config.hidden_size
        context, pooled = told.context.float().cpu().numpy(), told.pooled.float().cpu().numpy()
        return [
            {"hidden_state1": hidden[:, :width], "hidden_state2": hidden[:, width:], "pool2": pool}
            for hidden, pool in zip(context, pooled, strict=True)
        ]


def _keep(context: Context, key: str, arrays: dict[str, Any]) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays, fingerprint=np.array(key))

    context.blobs.put(key, SUFFIX, write)


def kept_tokens(path: Path) -> int:
    """The max_tokens with which a file of outputs was made. Raises LostBlob."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return int(arrays["hidden_state1"].shape[0]) - 2  # without start and end
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise LostBlob(f"{path}: text-encoder outputs are gone or damaged; run again") from error
