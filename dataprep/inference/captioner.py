"""CoCa through open_clip: pictures in, a sentence each out. Greedy: a picture always gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.errors import ModelError
from dataprep.inference.clip import Clip
from dataprep.inference.text import BOS_ID, EOS_ID, decoded


class Captioner:
    """An opened CoCa model. `sentences` may be called by several threads at once."""

    def __init__(self, clip: Clip, most_tokens: int = 40) -> None:
        """Take over an opened open_clip model.

        Args:
            clip: the model.
            most_tokens: of a sentence; shorter where the model takes fewer.
        Raises:
            ModelError: it has no text decoder.
        """
        if not hasattr(clip.model, "text_decoder"):
            raise ModelError(
                "this open_clip model writes no sentences; wanted a CoCa model, such as "
                "coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k"
            )
        self.clip = clip
        self.most_tokens = min(most_tokens, int(clip.model.text.context_length) - 2)

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """One RGB picture as the model wants it, shape (3, H, W), float32."""
        return self.clip.prepare(image)

    def sentences(self, pictures: Sequence[NDArray[np.float32]]) -> list[str]:
        """A sentence for each prepared picture: at each step the likeliest token, until the end token."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(pictures)).to(self.clip.device)
            tokens = self._greedy(self.clip.model, *self.clip.model._encode_image(batch))
        return [_text(row) for row in tokens.cpu().tolist()]

    def _greedy(self, model: Any, latent: Any, embeddings: Any) -> Any:  # noqa: ANN401 - tensors
        import torch

        # (pictures, tokens so far)
        tokens = torch.full((len(latent), 1), BOS_ID, dtype=torch.long, device=latent.device)
        ended = torch.zeros(len(latent), dtype=torch.bool, device=latent.device)
        for _ in range(self.most_tokens):
            said = model(None, tokens, image_latent=latent, image_embs=embeddings, output_labels=False)
            nearest = said["logits"][:, -1].argmax(dim=-1)  # (pictures,)
            nearest = torch.where(ended, torch.full_like(nearest, EOS_ID), nearest)
            tokens = torch.cat([tokens, nearest[:, None]], dim=1)
            ended |= nearest == EOS_ID
            if bool(ended.all()):
                break
        return tokens


def _text(tokens: Sequence[int]) -> str:
    ids = list(tokens[1:])
    return decoded(ids[: ids.index(EOS_ID)] if EOS_ID in ids else ids)
