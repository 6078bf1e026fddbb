"""CLIP and SigLIP through open_clip: pictures and words in, probabilities out. Loads folders only."""

from __future__ import annotations

import copy
import logging
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataprep.digest import digest
from dataprep.errors import DiskError, MachineError, ModelError
from dataprep.inference.torch_compat import prepare_torch
from dataprep.tags.concepts import (
    NULL_PROMPTS,
    TEMPLATES,
    ScoreKind,
    sigmoid_probability,
    softmax_probability,
)

_TEXTS_AT_ONCE = 64
Precision = Literal["auto", "fp32", "bf16"]
_PROBED_FROM = 20_000_000  # weights of the picture tower; below that a picture takes no time anyway
_WORTHWHILE = 0.8  # bf16 is taken where it needs less than this share of the time
_LEAST_COSINE = 0.999  # between a picture's vectors in both precisions
log = logging.getLogger(__name__)


class Clip:
    """An opened open_clip model. Methods may be called by several threads at once."""

    def __init__(self, model: Any, preprocess: Any, tokenizer: Any, device: str) -> None:  # noqa: ANN401
        self.model = model
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.device = device
        self.precision: Literal["fp32", "bf16"] = "fp32"
        self.scale = float(model.logit_scale.detach().exp())
        bias = getattr(model, "logit_bias", None)
        self.bias = None if bias is None else float(bias.detach())

    @property
    def score_kind(self) -> ScoreKind:
        """What `Concepts.probabilities` means for this model."""
        return "softmax against null prompts" if self.bias is None else "sigmoid"

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """One RGB picture as the model wants it, shape (3, H, W), float32."""
        return np.asarray(self.preprocess(image).numpy(), dtype=np.float32)

    def encode_images(self, pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Unit vectors of prepared pictures, shape (pictures, D). Raises MachineError."""
        import torch

        with torch.inference_mode(), _memory("encoding pictures with CLIP"):
            batch = torch.from_numpy(np.stack(pictures)).to(self.device)
            batch = batch.bfloat16() if self.precision == "bf16" else batch
            vectors = self.model.encode_image(batch).float()  # (B, D)
            # In bf16 a unit vector's length is off by a thousandth.
            return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy())

    def use_bf16(self) -> None:
        """Turn the picture tower's weights to bf16. Autocast would turn them at every call, and is slower."""
        self.model.visual.bfloat16()
        self.precision = "bf16"

    def choose_precision(self) -> None:
        """Take bf16 for pictures where a probe shows that it is faster and gives the same vectors."""
        tower = self.model.visual
        if sum(weights.numel() for weights in tower.parameters()) < _PROBED_FROM:
            return
        side = getattr(tower, "image_size", 224)
        height, width = side if isinstance(side, tuple) else (side, side)
        noise = np.random.default_rng(0).standard_normal((4, 3, height, width)).astype(np.float32)
        exact, exact_s = self._timed(noise)
        self.model.visual = copy.deepcopy(tower)
        self.use_bf16()
        rough, rough_s = self._timed(noise)
        cosine = float((exact * rough).sum(axis=1).min())
        log.info("CLIP probe: fp32 %.3f s, bf16 %.3f s, cosine %.5f", exact_s, rough_s, cosine)
        if cosine < _LEAST_COSINE or rough_s > _WORTHWHILE * exact_s:
            self.model.visual, self.precision = tower, "fp32"

    def _timed(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        self.encode_images(list(pictures[:1]))  # kernels are chosen at the first call
        times = []
        for _ in range(2):
            started = time.perf_counter()
            vectors = self.encode_images(list(pictures))
            times.append(time.perf_counter() - started)
        return vectors, min(times)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts, shape (texts, D). Raises MachineError."""
        import torch

        parts = []
        with torch.inference_mode(), _memory("encoding words with CLIP"):
            for start in range(0, len(texts), _TEXTS_AT_ONCE):
                tokens = self.tokenizer(list(texts[start : start + _TEXTS_AT_ONCE])).to(self.device)
                parts.append(self.model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return np.concatenate(parts)


class _memory:
    """Turn torch's out-of-memory errors into a MachineError."""

    def __init__(self, doing: str) -> None:
        self.doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        import torch

        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise MachineError(
                f"{self.doing}: memory ran out; use --device cpu or close other programs"
            ) from error


class Concepts:
    """Concepts' vectors, each encoded once and kept in a folder by content: model, templates and words.

    `probabilities` may be called by several threads at once.
    """

    def __init__(
        self,
        clip: Clip,
        model_sha256: str,
        cache: Path,
        templates: Sequence[str] = TEMPLATES,
        nulls: Sequence[str] = NULL_PROMPTS,
    ) -> None:
        self.clip = clip
        self.templates = tuple(templates)
        self._folder = cache / digest("text-vectors", model_sha256, self.templates)
        self._vectors = _stored_vectors(self._folder)
        self._lock = threading.Lock()
        self._nulls = clip.encode_texts(list(nulls))

    def vectors(self, concepts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vector of each concept: the mean over the templates, shape (concepts, D)."""
        with self._lock:
            missing = [concept for concept in dict.fromkeys(concepts) if concept not in self._vectors]
            if missing:
                fresh = self._encode(missing)
                self._vectors.update(zip(missing, fresh, strict=True))
                _store_vectors(self._folder, missing, fresh)
            return np.stack([self._vectors[concept] for concept in concepts])

    def _encode(self, concepts: list[str]) -> NDArray[np.float32]:
        prompts = [template.replace("{}", concept) for concept in concepts for template in self.templates]
        every = self.clip.encode_texts(prompts)
        mean = every.reshape(len(concepts), len(self.templates), -1).mean(axis=1)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), dtype=np.float32)

    def probabilities(self, images: NDArray[np.float32], concepts: Sequence[str]) -> NDArray[np.float32]:
        """Probability of each concept in each picture, shape (pictures, concepts).

        Args:
            images: unit vectors, shape (pictures, D).
            concepts: words; encoded when they are new.
        """
        cosine = images @ self.vectors(concepts).T
        if self.clip.bias is not None:
            return sigmoid_probability(cosine, self.clip.scale, self.clip.bias)
        return softmax_probability(cosine, images @ self._nulls.T, self.clip.scale)


def _stored_vectors(folder: Path) -> dict[str, NDArray[np.float32]]:
    vectors: dict[str, NDArray[np.float32]] = {}
    for part in sorted(folder.glob("*.npz")):
        try:
            with np.load(part, allow_pickle=False) as data:
                vectors.update(zip(data["words"].tolist(), data["vectors"], strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            part.unlink(missing_ok=True)  # what is damaged is encoded again
    return vectors


def _store_vectors(folder: Path, words: list[str], vectors: NDArray[np.float32]) -> None:
    from dataprep.store import write_whole

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, words=np.array(words, dtype=np.str_), vectors=vectors)

    try:
        write_whole(folder / f"{digest(words)}.npz", write)
    except (DiskError, OSError):
        return  # a cache that can't be written costs time at the next run, not this one


def open_clip_model(
    path: Path, device: str = "cpu", architecture: str | None = None, precision: Precision = "fp32"
) -> Clip:
    """Open a folder in open_clip's layout: `open_clip_config.json`, weights, a tokenizer where it needs one.

    Args:
        path: the folder, or a file of weights alone.
        device: auto, cpu or cuda.
        architecture: open_clip's name of it, such as ViT-B-32, for weights alone.
        precision: of the picture tower; "auto" takes bf16 where a probe shows that it pays.
    Raises:
        ModelError: files are missing or do not fit together.
    """
    prepare_torch()
    import open_clip
    import torch

    if path.is_file() != (architecture is not None):
        raise ModelError(f"{path}: weights alone need their architecture: clip = ARCHITECTURE@{path}")
    if architecture is None and not (path / "open_clip_config.json").is_file():
        raise ModelError(f"{path}: no open_clip_config.json; wanted a folder as open_clip saves it")
    name = architecture or f"local-dir:{path}"
    weights = None if architecture is None else str(path)
    target = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model, preprocess = open_clip.create_model_from_pretrained(name, pretrained=weights, device=target)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelError(f"{path}: open_clip cannot load it: {error}") from error
    model.eval()
    clip = Clip(model, preprocess, tokenizer, target)
    if precision == "auto":
        clip.choose_precision()
    elif precision == "bf16":
        clip.use_bf16()
    return clip
