"""The base diffusion model: loading it without a network, and encoding token ids for its U-Net.

Owns one decision: which family ("sd1", "sd2" or "sdxl") a folder or a file belongs to.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataprep.errors import ModelError
from dataprep.inference.torch_compat import prepare_torch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Family = Literal["sd1", "sd2", "sdxl"]
Prediction = Literal["eps", "v", "flow"]

CONFIGS: dict[Family, str] = {"sd1": "sd15", "sd2": "sd2", "sdxl": "sdxl"}
# What a file's modelspec.prediction_type may say.
STATED: dict[str, Prediction] = {"epsilon": "eps", "eps": "eps", "v": "v", "v_prediction": "v"}
CHUNK = 75  # tokens of caption in one pass of a CLIP text encoder, beside BOS and EOS
# A safetensors header is text about tensors; sd-scripts' largest real ones stay under 1 MB.
MAX_HEADER_BYTES = 100_000_000
# In the tensor names of FLUX and SD3, and what is said of both.
BLOCKS = ("double_blocks", "joint_blocks", "single_blocks", "single_transformer_blocks")
NO_UNET = "a diffusion transformer (FLUX, SD3 or their kin); base models here have a U-Net: SD1, SD2 or SDXL"


@dataclass(frozen=True)
class Conditioning:
    """What the U-Net is told: context (B, 75 n + 2, C), and for SDXL pooled (B, P)."""

    context: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class Base:
    """A base model's parts, all on one device.

    Attributes:
        unet: diffusers.UNet2DConditionModel.
        text_encoders: one transformers.CLIPTextModel; for SDXL also a CLIPTextModelWithProjection.
        tokenizers: one transformers.CLIPTokenizer for each text encoder.
        vae: diffusers.AutoencoderKL, never in fp16 (SDXL's overflows there).
        scheduler: diffusers.DDPMScheduler with the betas the model was trained with.
        prediction: what the U-Net was trained to predict.
        prediction_assumed: nothing in the file says so (SD2's single files are of both kinds).
    """

    family: Family
    path: Path
    unet: Any
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    vae: Any
    scheduler: Any
    prediction: Prediction
    prediction_assumed: bool = False

    @property
    def name(self) -> str:
        """What the model is called, see `model_name`."""
        return model_name(self.path)

    def encode(
        self, ids: tuple[Tensor, ...], clip_skip: int | None = None, weights: tuple[Tensor, ...] | None = None
    ) -> Conditioning:
        """Condition on token ids.

        Args:
            ids: for each text encoder (B, n, 77) token ids, BOS and EOS around each chunk.
            clip_skip: layer counted from the end (1 the last), its output normalised; None the last. SDXL
                always uses the one before the last, un-normalised.
            weights: for each text encoder (B, 75 n + 2), factors on the hidden states.
        """
        hidden, pooled = [], None
        for i, (encoder, chunks) in enumerate(zip(self.text_encoders, ids, strict=True)):
            states, last = _hidden(encoder, chunks.flatten(0, 1), self.family, clip_skip)  # (B n, 77, C)
            joined = _join(states.unflatten(0, chunks.shape[:2]))  # (B, 75 n + 2, C)
            hidden.append(joined if weights is None else joined * weights[i].unsqueeze(-1).to(joined))
            if last is not None:
                pooled = last.unflatten(0, chunks.shape[:2])[:, 0]  # sd-scripts pools the first chunk only
        import torch

        return Conditioning(torch.cat(hidden, dim=-1), pooled)


def _hidden(
    encoder: Any,  # noqa: ANN401 - a transformers model
    ids: Tensor,
    family: Family,
    clip_skip: int | None,
) -> tuple[Tensor, Tensor | None]:
    deep = family == "sdxl" or (clip_skip or 1) > 1
    output = encoder(ids, output_hidden_states=deep)
    if family == "sdxl":
        return output.hidden_states[-2], getattr(output, "text_embeds", None)
    if clip_skip is None or clip_skip == 1:
        return output.last_hidden_state, None
    # transformers 5.6 dropped CLIPTextModel's inner `text_model`.
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    return norm(output.hidden_states[-clip_skip]), None


def _join(states: Tensor) -> Tensor:
    """(B, n, 77, C) to (B, 75 n + 2, C): one BOS, every chunk's 75, one EOS, as sd-scripts does."""
    import torch

    middle = states[:, :, 1:-1].flatten(1, 2)  # (B, 75 n, C)
    return torch.cat([states[:, 0, :1], middle, states[:, -1, -1:]], dim=1)


def load_base(path: Path, device: str, dtype: torch.dtype) -> Base:
    """Load a base model from disk, never from a network.

    Args:
        path: a diffusers folder (unet/, vae/, text_encoder/, scheduler/), or one .safetensors checkpoint of
            the Stable Diffusion 1, 2 or XL family.
        device: torch device name.
        dtype: of U-Net and text encoders; the VAE stays in float32 where this is float16.
    Raises:
        ModelError: nothing there, a pickle, not a base model, or parts missing.
    """
    prepare_torch()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # its bars of one step each say nothing
    if path.is_dir():
        base = _from_folder(path, dtype)
    elif path.suffix == ".safetensors":
        base = _from_single_file(path, dtype)
    else:
        raise _refusal(path)
    if base.vae.dtype == torch.float16:  # SDXL's overflows
        base.vae.to(dtype=torch.float32)
    for model in (base.unet, *base.text_encoders, base.vae):
        model.to(device=device).eval().requires_grad_(False)
    return base


def load_text_encoders(path: Path, device: str, dtype: torch.dtype) -> Base:
    """A base model without its U-Net and VAE, where it is a folder; those of a single file are let go.

    Args:
        path: as for `load_base`.
        device: torch device name.
        dtype: of the text encoders.
    Raises:
        ModelError: as `load_base`.
    """
    prepare_torch()
    base = _from_folder(path, dtype, texts_only=True) if path.is_dir() else load_base(path, "cpu", dtype)
    for model in base.text_encoders:
        model.to(device=device).eval().requires_grad_(False)
    return replace(base, unet=None, vae=None)


def model_name(path: Path) -> str:
    """What a base model is called: its folder or file, or owner/repository in Hugging Face's cache."""
    kept, cache = path.parent, path.parent.parent.name  # .../models--owner--name/snapshots/REVISION
    if kept.name == "snapshots" and cache.startswith("models--"):
        return cache.removeprefix("models--").replace("--", "/")
    return path.name


def _refusal(path: Path) -> ModelError:
    if not path.exists():
        return ModelError(f"{path}: no such base model; wanted a diffusers folder or a .safetensors file")
    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        return ModelError(
            f"{path}: pickle files can run any program when opened and are not read; "
            "convert it to .safetensors with a tool you trust, on a machine you can lose"
        )
    return ModelError(f"{path}: not a base model; wanted a diffusers folder or a .safetensors file")


def _from_folder(path: Path, dtype: torch.dtype, *, texts_only: bool = False) -> Base:
    import diffusers
    import transformers

    family = family_of(path)

    def part(kind: Any, name: str) -> Any:  # noqa: ANN401 - classes of untyped packages
        try:
            return kind.from_pretrained(
                path / name, torch_dtype=dtype, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"{path / name}: cannot be loaded: {error}") from error

    encoders = [part(transformers.CLIPTextModel, "text_encoder")]
    if family == "sdxl":
        encoders.append(part(transformers.CLIPTextModelWithProjection, "text_encoder_2"))
    unet = None if texts_only else part(diffusers.UNet2DConditionModel, "unet")
    vae = None if texts_only else part(diffusers.AutoencoderKL, "vae")
    scheduler, prediction = _scheduler(path)
    return Base(family, path, unet, tuple(encoders), _tokenizers(path, family), vae, scheduler, prediction)


def family_of(path: Path) -> Family:
    """Which family a base model on disk is, from a configuration file or a header; no tensor is read.

    Raises:
        ModelError: nothing there, a pickle, or not a base model of these families.
    """
    if path.suffix == ".safetensors" and path.is_file():
        return detect_family(path, set(read_header(path)))
    if not path.is_dir():
        raise _refusal(path)
    if (path / "transformer").is_dir():
        raise ModelError(f"{path}: {NO_UNET}")
    try:
        config = json.loads((path / "unet" / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        config = {}  # said below
    # Not by the second text encoder's folder alone: half a copy of SDXL is no SD1.
    xl = (path / "text_encoder_2").is_dir() or config.get("addition_embed_type") == "text_time"
    parts = ("unet", "vae", "text_encoder", *(("text_encoder_2",) if xl else ()), "scheduler")
    if missing := [part for part in parts if not (path / part).is_dir()]:
        raise ModelError(f"{path}: not a diffusers folder: no {', '.join(missing)} in it")
    if xl:
        return "sdxl"
    return "sd2" if config.get("cross_attention_dim") == 1024 else "sd1"


def prediction_of(path: Path) -> Prediction:
    """What a base model on disk predicts, as far as its configuration or header tells; no tensor is read.

    Raises:
        ModelError: neither can be read, or not a base model of these families.
    """
    folder = path
    if path.is_file():
        header = read_header(path)
        if (stated := _stated(header)) is not None:
            return stated
        folder = config_folder(CONFIGS[detect_family(path, set(header))])
    try:
        return _told(json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: no readable scheduler configuration: {error}") from error


def _told(scheduler: Mapping[str, Any]) -> Prediction:
    """What a scheduler's configuration says that the model predicts."""
    if "FlowMatch" in scheduler.get("_class_name", ""):
        return "flow"
    return "v" if scheduler.get("prediction_type") == "v_prediction" else "eps"


def _stated(header: Mapping[str, Any]) -> Prediction | None:
    """What a checkpoint's header says that it predicts; None where it says nothing."""
    if "v_pred" in header:  # an empty tensor by which SDXL v-prediction files say what they are
        return "v"
    return STATED.get(header.get("__metadata__", {}).get("modelspec.prediction_type"))


def _scheduler(path: Path) -> tuple[Any, Prediction]:
    import diffusers

    config = json.loads((path / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    prediction = _told(config)
    if prediction == "flow":
        return diffusers.DDPMScheduler(), prediction
    keep = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "rescale_betas_zero_snr",
    )
    known = {name: config[name] for name in keep if config.get(name) is not None}
    # steps_offset 1 is what Stable Diffusion was published with; diffusers' pipelines warn of anything else.
    return diffusers.DDPMScheduler(**known, clip_sample=False, steps_offset=1), prediction


def _tokenizers(path: Path, family: Family) -> tuple[Any, ...]:
    import transformers

    from dataprep.inference.text import clip_tokenizer

    pads: tuple[Literal["eos", "!"], ...] = {"sd1": ("eos",), "sd2": ("!",), "sdxl": ("eos", "!")}[family]  # type: ignore[assignment]
    folders = (path / "tokenizer", path / "tokenizer_2")
    return tuple(
        transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        if (folder / "vocab.json").is_file()
        else clip_tokenizer(pad)
        for pad, folder in zip(pads, folders, strict=False)
    )


def _from_single_file(path: Path, dtype: torch.dtype) -> Base:
    import diffusers

    header = read_header(path)
    stated = _stated(header)
    family = detect_family(path, set(header))
    config = config_folder(CONFIGS[family])
    diffusers.utils.logging.disable_progress_bar()
    tokenizers = _tokenizers(config, family)
    kind = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
    named = {"tokenizer": tokenizers[0]} | (
        {"tokenizer_2": tokenizers[1]} if family == "sdxl" else {"safety_checker": None}
    )
    try:
        pipe = kind.from_single_file(
            str(path), config=str(config), local_files_only=True, torch_dtype=dtype, **named
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: looks like {family} but does not load as it: {error}") from error
    scheduler, prediction = _scheduler(config)
    if stated is not None:
        prediction = stated
        scheduler.register_to_config(prediction_type="v_prediction" if prediction == "v" else "epsilon")
    encoders = (pipe.text_encoder, pipe.text_encoder_2) if family == "sdxl" else (pipe.text_encoder,)
    assumed = family == "sd2" and stated is None
    return Base(family, path, pipe.unet, encoders, tokenizers, pipe.vae, scheduler, prediction, assumed)


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor name to dtype, shape and offsets; no tensor is read.

    Raises:
        ModelError: missing, empty or not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            if size > MAX_HEADER_BYTES:
                raise ModelError(f"{path}: not a safetensors file: its header would have {size} bytes")
            header: dict[str, Any] = json.loads(file.read(size))
    except (OSError, struct.error, ValueError) as error:
        raise ModelError(f"{path}: not a readable safetensors file: {error}") from error
    return header


def detect_family(path: Path, names: set[str]) -> Family:
    """Which family a checkpoint is, by its tensors' names alone.

    Raises:
        ModelError: it is none of the three, or not a whole base model.
    """
    if any(name.startswith("lora_") for name in names):
        raise ModelError(f"{path}: a LoRA, not a base model")
    if any(name.split(".", 1)[0] in BLOCKS or f".{mark}." in name for name in names for mark in BLOCKS):
        raise ModelError(f"{path}: {NO_UNET}")
    if not any(name.startswith("model.diffusion_model.") for name in names):
        raise ModelError(f"{path}: no U-Net in it (no tensor named model.diffusion_model.*)")
    marks: dict[str, Family] = {
        "conditioner.embedders.1.model.": "sdxl",
        "cond_stage_model.model.": "sd2",
        "cond_stage_model.transformer.": "sd1",
    }
    for mark, family in marks.items():
        if any(name.startswith(mark) for name in names):
            return family
    raise ModelError(f"{path}: has a U-Net but none of the text encoders of SD1, SD2 or SDXL")


def config_folder(name: str) -> Path:
    """The folder of configurations for one family, in the installed package or in the source tree."""
    here = Path(__file__).resolve().parent.parent
    for root in (here / "_models" / "configs", here.parent / "models" / "configs"):
        if (root / name).is_dir():
            return root / name
    raise ModelError(f"models/configs/{name} is missing from this installation; install the package again")
