"""The text encoders of FLUX and SD3, and their outputs of captions in sd-scripts' names, shapes and types.

Owns one decision: CLIP runs in float32, T5 (4.7 billion weights) in the number format of its files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dataprep.errors import ModelError
from dataprep.export.kohya_rules import TEXT_CACHES
from dataprep.inference.text import TOKENS, clip_tokenizer
from dataprep.inference.torch_compat import prepare_torch

T5Family = Literal["sd3", "flux"]
Arrays = dict[str, NDArray[np.generic]]

# As sd-scripts: FLUX.1-dev's and SD3's; FLUX.1-schnell has 256.
LENGTHS: Mapping[T5Family, int] = {"flux": 512, "sd3": 256}


@dataclass(frozen=True)
class T5Encoders:
    """A family's text encoders with their tokenizers.

    Attributes:
        family: decides which outputs are kept.
        clip: CLIP-L, for SD3 also CLIP-G.
        t5: transformers.T5EncoderModel.
    """

    family: T5Family
    clip: tuple[tuple[Any, Any], ...]  # (tokenizer, model)
    t5: tuple[Any, Any]

    def encode(self, texts: Sequence[str], length: int) -> list[Arrays]:
        """What sd-scripts keeps of each text, without attention masks applied, which is its default.

        Args:
            texts: captions.
            length: T5's positions, L; more tokens are cut.
        Returns:
            For each text, FLUX: l_pooled (C,), t5_out (L, D), txt_ids (L, 3); SD3: lg_out (77, C), lg_pooled
            (C,), t5_out (L, D); float32, with the tokenizers' masks (77,) and (L,), int64.
        """
        import torch

        with torch.inference_mode():
            ids, mask = _tokens(self.t5[0], texts, length)
            t5_out = self.t5[1](ids.to(self.t5[1].device)).last_hidden_state
            if self.family == "flux":
                ((tokenizer, model),) = self.clip
                pooled = model(_tokens(tokenizer, texts, TOKENS)[0].to(model.device)).pooler_output
                parts = {"l_pooled": pooled, "txt_ids": torch.zeros(len(texts), length, 3)}
            else:
                parts = self._clip_of_sd3(texts)
        parts |= {"t5_out": t5_out, "t5_attn_mask": mask}
        values = {name: _array(part) for name, part in parts.items()}
        off: Arrays = dict.fromkeys(TEXT_CACHES[self.family].flags, np.array(False))
        return [{name: array[i] for name, array in values.items()} | off for i in range(len(texts))]

    def _clip_of_sd3(self, texts: Sequence[str]) -> dict[str, Any]:
        import torch

        hidden, pooled, masks = [], [], []
        for tokenizer, model in self.clip:
            ids, mask = _tokens(tokenizer, texts, TOKENS)
            output = model(ids.to(model.device), output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled.append(output.text_embeds)
            masks.append(mask)
        return {
            "lg_out": torch.cat(hidden, dim=-1),  # (B, 77, C of both)
            "lg_pooled": torch.cat(pooled, dim=-1),
            "clip_l_attn_mask": masks[0],
            "clip_g_attn_mask": masks[1],
        }


def load_t5_encoders(path: Path, family: T5Family, device: str) -> T5Encoders:
    """Load the text encoders of a FLUX or SD3 folder in diffusers layout, never from a network.

    Raises:
        ModelError: not such a folder, or parts are missing or cannot be loaded.
    """
    prepare_torch()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    clip = transformers.CLIPTextModel if family == "flux" else transformers.CLIPTextModelWithProjection
    names = ("",) if family == "flux" else ("", "_2")
    last = f"_{len(names) + 1}"
    parts = [f"text_encoder{name}" for name in (*names, last)] + [f"tokenizer{last}"]
    if missing := [part for part in parts if not (path / part).is_dir()]:
        raise ModelError(
            f"{path}: no {', '.join(missing)} in it; text-encoder outputs for {family} need its folder in "
            "diffusers layout: models = 'FAMILY, base=FOLDER'"
        )

    def part(kind: Any, name: str, **settings: Any) -> Any:  # noqa: ANN401 - classes of an untyped package
        try:
            return kind.from_pretrained(path / name, local_files_only=True, **settings)
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(f"{path / name}: cannot be loaded: {error}") from error

    def model(kind: Any, name: str, dtype: Any) -> Any:  # noqa: ANN401 - as above
        found = part(kind, f"text_encoder{name}", torch_dtype=dtype, use_safetensors=True)
        return found.to(device).eval().requires_grad_(False)

    tokenizers = (clip_tokenizer("eos"), clip_tokenizer("!"))
    encoders = [(tokenizers[i], model(clip, name, torch.float32)) for i, name in enumerate(names)]
    t5 = (
        part(transformers.T5TokenizerFast, f"tokenizer{last}"),
        model(transformers.T5EncoderModel, last, "auto"),
    )
    return T5Encoders(family, tuple(encoders), t5)


def _tokens(tokenizer: Any, texts: Sequence[str], length: int) -> tuple[Any, Any]:  # noqa: ANN401 - untyped
    """Ids and attention mask of each text, (B, length), int64."""
    told = tokenizer(
        list(texts), max_length=length, padding="max_length", truncation=True, return_tensors="pt"
    )
    return told["input_ids"], told["attention_mask"]


def _array(tensor: Any) -> NDArray[np.generic]:  # noqa: ANN401 - a Tensor
    found: NDArray[np.generic] = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
    return found
