"""Whether a base model goes with a prepared folder's latents.

Owns one decision: which latents a base model can learn from. Those of SDXL's VAE mean nothing to SD1 and
SD2, which share theirs; VAEs tuned for one family mostly have a new decoder, which makes no latents.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dataprep.errors import ModelError
from dataprep.inference.base import Base, Family, family_of
from dataprep.inference.vae_files import load_vae

if TYPE_CHECKING:
    from dataprep.train.data import Prepared

SAME = 0.01  # relative difference of an encoder's weights: number formats alone make up to 0.004
RUN_AGAIN: dict[Family, str] = {"sd1": "sd15", "sd2": "sd15", "sdxl": "sdxl"}  # families of `dataprep run`


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
        scales = f" (scaling factor {theirs:g}, this one's {ours:g})" if other_scale else ""
        raise ModelError(
            f"{path}: a base model of family {family}, but the latents in {data.directory} were made for "
            f"{made_for or 'another one'} with the VAE {name}{scales}: nothing is learned from them. Run "
            f"`dataprep run RAW --out {data.directory} --models '{RUN_AGAIN[family]}, vae={path}'` first, or "
            "set base to the model that they were made for"
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
        f"--models '{RUN_AGAIN[base.family]}, vae={base.path}'"
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
