"""Whether a base model goes with a prepared folder's latents, and whether it is the one trained on before.

Owns two decisions: by what a base model is known again (`fingerprint`), and which latents one can learn from.
Those of SDXL's VAE mean nothing to SD1 and SD2, which share theirs; VAEs tuned for one family mostly have a
new decoder, which makes no latents.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dataprep.errors import ConfigError, ModelError
from dataprep.inference.base import Base, Family, family_of, prediction_of
from dataprep.inference.vae_files import load_vae
from dataprep.train.config import TrainConfig
from dataprep.training.watch import typed

if TYPE_CHECKING:
    from dataprep.train.data import Prepared

SAME = 0.01  # relative difference of an encoder's weights: number formats alone make up to 0.004
_WHOLE_BYTES = 64 << 20  # weights files up to here are read whole, a larger one's blocks come to 1 MiB
_BLOCK_BYTES, _BLOCKS_READ = 16384, 64
_WEIGHTS = re.compile(
    r"(unet|vae|text_encoder(_2)?)/(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors"
)
RUN_AGAIN: dict[Family, str] = {"sd1": "sd15", "sd2": "sd15", "sdxl": "sdxl"}  # families of `dataprep run`


def check_base(path: Path, config: TrainConfig, data: Prepared, checkpoint: Mapping[str, Any] | None) -> None:
    """Stop before a base model is loaded that does not fit the latents, the settings or the checkpoint.

    Raises:
        ModelError: the latents are of another family's VAE, or the model cannot be read.
        ConfigError: naming the setting that it does not fit.
    """
    refuse_other_base(checkpoint or {}, path)
    refuse_other_latents(path, data)
    refuse_other_target(path, config)


def refuse_other_latents(path: Path, data: Prepared) -> None:
    """Stop before a base model is loaded to which the latents mean nothing.

    Raises:
        ModelError: they are of another family's VAE; with the command that makes the right ones.
    """
    family, made_for = family_of(path), data.meta.get("settings", {}).get("latents", {}).get("family")
    ours, theirs = _scale(path), _scale(_vae_path(data))
    other_scale = ours is not None and theirs is not None and abs(ours - theirs) > SAME * ours
    other_family = made_for is not None and (family == "sdxl") != (made_for == "sdxl")
    if other_family or other_scale:
        name = data.meta.get("models", {}).get("vae", {}).get("name", "another VAE")
        models = typed(f"{RUN_AGAIN[family]}, vae={path}")
        scales = f" (scaling factor {theirs:g}, this one's {ours:g})" if other_scale else ""
        raise ModelError(
            f"{path}: a base model of family {family}, but the latents in {data.directory} were made for "
            f"{made_for or 'another one'} with the VAE {name}{scales}: nothing is learned from them. Run "
            f"`dataprep run RAW --out {typed(data.directory)} --models {models}` "
            "first, or set base to the model that they were made for"
        )


def refuse_other_target(path: Path, config: TrainConfig) -> None:
    """Stop before a base model is loaded that does not predict what a setting needs.

    Raises:
        ConfigError: naming the setting.
    """
    for name in ("zero_terminal_snr", "scale_v_like_noise"):
        if getattr(config, name):
            target = prediction_of(path) if config.target == "auto" else config.target
            if target != "v":
                raise ConfigError(f"{name} needs a v-prediction model; {path.name} predicts {target}")


def fingerprint(path: Path) -> str:
    """What tells a base model from others by its content, wherever it lies; 64 hex digits.

    The SHA-256 of each weights file's size and, above 64 MiB, of 64 blocks of 16 KiB, evenly from its first
    byte to its last: milliseconds where reading all of a checkpoint takes half a minute, and a model that was
    merged or tuned differs nearly everywhere (a change of one tensor alone can be missed). Of a folder, only
    what is loaded counts, and its scheduler's settings.

    Args:
        path: a diffusers folder or a single file.
    Raises:
        ModelError: a file cannot be read.
    """
    whole = hashlib.sha256()
    files = [path]
    if path.is_dir():
        inside = {file.relative_to(path).as_posix(): file for file in path.glob("*/*.safetensors")}
        files = [inside[name] for name in sorted(inside) if _WEIGHTS.fullmatch(name)]
    try:
        for file in files:
            whole.update(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n".encode())
            _take_blocks(file, whole)
        settings = path / "scheduler" / "scheduler_config.json"
        if settings.is_file():
            said: dict[str, Any] = json.loads(settings.read_text("utf-8"))
            kept = {name: value for name, value in said.items() if not name.startswith("_")}
            whole.update(json.dumps(kept, sort_keys=True).encode())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    return whole.hexdigest()


def _take_blocks(file: Path, into: hashlib._Hash) -> None:
    """Add evenly spaced blocks of a file, or all of a small one."""
    size = file.stat().st_size
    last = max(0, size - _BLOCK_BYTES)
    with file.open("rb") as opened:
        if size <= _WHOLE_BYTES:
            into.update(opened.read())
            return
        for place in sorted({last * i // (_BLOCKS_READ - 1) for i in range(_BLOCKS_READ)}):
            opened.seek(place)
            into.update(opened.read(_BLOCK_BYTES))


def refuse_other_base(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Stop before another base model is loaded than a checkpoint was made on, if it tells on which.

    Raises:
        ConfigError: its weights are not the same.
        ModelError: they cannot be read.
    """
    told = checkpoint.get("fingerprint")
    if told is not None and told != fingerprint(path):
        raise ConfigError(
            f"--resume: the checkpoint was made on another base model, {checkpoint['base']}: the weights of "
            f"{path} are not the same. Set base to that one, or train with --restart from the start"
        )


def latents_note(base: Base, data: Prepared) -> str | None:
    """A line to print where the latents come from a VAE with another encoder than the base model's own."""
    path = _vae_path(data)
    if path is None or path in (base.path, base.path / "vae"):
        return None
    try:
        apart = encoder_difference(load_vae(path), base.vae)
    except ModelError:
        return None  # its file is no longer what it was: nothing to compare with
    if apart <= SAME:
        return None
    return (
        f"the latents were made with another VAE ({path}) than the base model's own: their encoders differ "
        f"by {apart:.0%}. That is fine only if it was tuned for {base.path.name}; else prepare again with "
        f"--models {typed(f'{RUN_AGAIN[base.family]}, vae={base.path}')}"
    )


@torch.no_grad()
def encoder_difference(one: Any, other: Any) -> float:  # noqa: ANN401 - diffusers' AutoencoderKL
    """Norm of the difference of two VAEs' encoder weights, relative to the first's; inf for other shapes."""
    states = [model.state_dict() for model in (one, other)]
    names = [[name for name in state if name.startswith(("encoder.", "quant_conv."))] for state in states]
    if set(names[0]) != set(names[1]):
        return float("inf")
    squared, whole = 0.0, 0.0
    for name in names[0]:
        a, b = (state[name].float().cpu().squeeze() for state in states)
        if a.shape != b.shape:
            return float("inf")
        squared += float((a - b).square().sum())
        whole += float(a.square().sum())
    return float((squared / whole) ** 0.5) if whole else 0.0


def _vae_path(data: Prepared) -> Path | None:
    """Where the VAE that made the latents is, None where that is not known or it is gone."""
    named = data.meta.get("models", {}).get("vae", {}).get("path")
    return Path(named) if named and Path(named).exists() else None


def _scale(path: Path | None) -> float | None:
    """A VAE's or base model's scaling factor by its configuration file; None for a single file."""
    for folder in () if path is None else (path / "vae", path):
        try:
            found = json.loads((folder / "config.json").read_text("utf-8")).get("scaling_factor")
        except (OSError, ValueError):
            continue
        return None if found is None else float(found)
    return None
