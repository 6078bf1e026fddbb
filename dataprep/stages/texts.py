"""Text-encoder outputs of each caption, kept in sd-scripts' form; off unless asked for.

sd-scripts believes such a file whatever the caption says by now, so it belongs to the caption: a changed one
has another key, and export replaces or removes the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from dataprep.digest import digest
from dataprep.export.kohya import one_line
from dataprep.export.kohya_rules import TEXT_CACHES, Family, FamilySetting
from dataprep.inference.t5 import LENGTHS, load_t5_encoders
from dataprep.stage import Context, Row, Stage, TableFunction, per_batch, per_row
from dataprep.store import LostBlob

SUFFIX = ".te.npz"  # of the blobs
_OVERFLOW = {"error": "overflow: the text encoders' output of this caption is not finite"}


class Texts(Stage):
    """Settings of text-encoder outputs.

    Supported: SDXL's `_te_outputs.npz`, FLUX's `_flux_te.npz`, SD3's `_sd3_te.npz`. SD1 and SD2 have no such
    files: sd-scripts encodes captions as it trains. FLUX and SD3 need their folder in diffusers layout as the
    base model, with the T5 encoder (5 to 10 GB), and 4 to 8 MB a caption.
    """

    name: ClassVar[str] = "texts"
    needs: ClassVar[pa.Schema] = pa.schema([("caption", pa.string())])
    adds: ClassVar[pa.Schema] = pa.schema([("texts_key", pa.string())])

    cache: Annotated[
        bool,
        Field(description="keep text-encoder outputs of each caption; the encoders are then not trained"),
    ] = False
    family: FamilySetting = "sd1"
    max_tokens: Annotated[
        Literal[75, 150, 225],
        Field(description="of a caption, as sd-scripts' max_token_length; more is cut; SDXL"),
    ] = 75
    t5_tokens: Annotated[
        int | None,
        Field(
            ge=16,
            le=512,
            description="of a caption, as sd-scripts' t5xxl_max_token_length; None: 512 (flux), 256 (sd3)",
        ),
    ] = None

    @model_validator(mode="after")
    def _kept_by_sd_scripts(self) -> Self:
        if self.cache and self.family not in TEXT_CACHES:
            raise ValueError(
                f"text-encoder outputs are kept for {', '.join(TEXT_CACHES)} only, this is {self.family}: "
                "sd-scripts has no such files for Stable Diffusion 1 and 2"
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
        model = context.models["base"]
        encoded = self._encoder(model.path, context.device)

        def load(row: Row) -> tuple[str, str]:
            text = one_line(row["caption"])
            return digest(self.name, self.version, text, *self._form(), model.sha256), text

        def encode(items: list[tuple[str, str]]) -> list[Mapping[str, Any]]:
            fresh = {key: text for key, text in items if text and not context.blobs.has(key, SUFFIX)}
            failed: set[str] = set()
            for key, arrays in zip(fresh, encoded(list(fresh.values())), strict=True):
                if all(np.isfinite(array).all() for array in arrays.values()):
                    _keep(context, key, arrays)
                else:
                    failed.add(key)
            return [
                _OVERFLOW if key in failed else {"texts_key": key if text else None} for key, text in items
            ]

        return per_batch(self, load, encode)

    def _form(self) -> tuple[str | int, ...]:
        """What of the settings the outputs depend on."""
        if self.family in LENGTHS:
            return (TEXT_CACHES[self.family].suffix, self._t5_length)
        return (self.max_tokens,)

    @property
    def _t5_length(self) -> int:
        return self.t5_tokens or next(n for family, n in LENGTHS.items() if family == self.family)

    def _encoder(self, path: Path, device: str) -> Callable[[list[str]], list[dict[str, Any]]]:
        """A function from texts to their arrays in sd-scripts' names. Raises ModelError."""
        if self.family == "flux" or self.family == "sd3":
            encoders = load_t5_encoders(path, self.family, device)
            # One by one: T5's outputs of a batch would be hundreds of megabytes.
            return lambda texts: [each for text in texts for each in encoders.encode([text], self._t5_length)]
        import torch

        from dataprep.inference.base import load_text_encoders

        return partial(self._encoded, load_text_encoders(path, device, torch.float32))

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


def kept_tokens(path: Path, family: Family) -> int:
    """The max_tokens or t5_tokens with which a file of outputs was made. Raises LostBlob."""
    style = TEXT_CACHES[family]
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return int(arrays[style.read[0]].shape[0]) - style.extra
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise LostBlob(f"{path}: text-encoder outputs are gone or damaged; run again") from error
