"""Settings of several stages that a trainer reads as one: refused before any work where they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dataprep.errors import ConfigError
from dataprep.stage import Stage

# Options that change a caption at every use: sd-scripts refuses them beside outputs of its text encoders.
_VARYING = (
    "shuffle_caption",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
    "token_warmup_step",
)


def check_agreement(stages: Sequence[Stage]) -> None:
    """Compare the stages' settings with each other.

    Raises:
        ConfigError: two families of base model, or training settings that cached captions forbid.
    """
    settings = {stage.name: stage.model_dump() for stage in stages}
    families = {f"{name}.family": values["family"] for name, values in settings.items() if "family" in values}
    if len(set(families.values())) > 1:
        told = ", ".join(f"{name} = {value!r}" for name, value in families.items())
        raise ConfigError(
            f"{told}: all must name one family, or a trainer finds no latents; leave them out, since "
            "`models` decides it for all, or set each of them"
        )
    texts = settings.get("texts", {})
    if texts.get("cache"):
        _check_texts(texts, settings.get("export", {}).get("train", {}))


def _check_texts(texts: Mapping[str, Any], train: Mapping[str, Any]) -> None:
    if not train.get("cache_text_encoder_outputs", True):
        return
    if varying := [name for name in _VARYING if train.get(name)]:
        raise ConfigError(
            f"export.train: {', '.join(varying)}: changes captions at every use, which texts.cache = true "
            "forbids: their text-encoder outputs are computed once; take one of the two out"
        )
    if texts.get("family") in ("flux", "sd3"):
        _check_t5(train)
        return
    length, max_tokens = train.get("max_token_length") or 75, texts["max_tokens"]
    if "max_token_length" in train and length != max_tokens:
        raise ConfigError(
            f"export.train: max_token_length = {length}, but texts.max_tokens = {max_tokens}: the cached "
            "outputs have that length; leave max_token_length out, it is written for you"
        )


def _check_t5(train: Mapping[str, Any]) -> None:
    if masked := [name for name in ("apply_t5_attn_mask", "apply_lg_attn_mask") if train.get(name)]:
        raise ConfigError(
            f"export.train: {', '.join(masked)}: the outputs that texts.cache = true keeps are made without "
            "masks, so sd-scripts would compute them anew; take one of the two out"
        )
