"""open_clip's pretrained tags, such as ViT-B-32/laion2b_s34b_b79k: which repository and files each means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONFIG: Final = "open_clip_config.json"
WEIGHTS: Final = "open_clip_model.safetensors"
# For people, where a repository has no weights that can be read.
NO_PICKLES: Final = (
    "Only .safetensors are read, never pickles (.bin, .pt, .pth), for these can run programs. Where a "
    "repository has nothing else, turn its weights into one once (torch.load with weights_only=True, then "
    "safetensors.torch.save_file) and name it with its architecture: clip = ViT-B-32@weights.safetensors. "
)
# Asked before importing open_clip, which takes seconds.
_ARCHITECTURES: Final = (
    "vit", "rn", "convnext", "eva", "coca", "mobileclip", "nllb", "roberta", "xlm", "pe-",
)  # fmt: skip


@dataclass(frozen=True)
class Pretrained:
    """Where a pretrained tag's files are.

    Attributes:
        repo: owner/name on the hub.
        layouts: files that would do, the likeliest first; weights alone where open_clip, too, knows the
            architecture by the tag's name.
    """

    repo: str
    layouts: tuple[tuple[str, ...], ...]


def pretrained(name: str) -> Pretrained | None:
    """What one of open_clip's pretrained tags means; None for what is no tag, or has no repository.

    Args:
        name: ARCHITECTURE/TAG.
    """
    architecture, slash, tag = name.partition("/")
    if not slash or not architecture.lower().startswith(_ARCHITECTURES):
        return None
    from dataprep.inference.torch_compat import prepare_torch

    prepare_torch()
    import open_clip

    owner, _, rest = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").partition("/")
    repo, _, file = rest.partition("/")
    if not owner or not repo:
        return None
    return Pretrained(f"{owner}/{repo}", layouts(file))


def layouts(file: str) -> tuple[tuple[str, ...], ...]:
    """Files that would do where a tag names `file` ("" for none): the safe ones that open_clip looks for."""
    if not file:
        return ((CONFIG, WEIGHTS),)
    own = Path(file).with_suffix(".safetensors").as_posix()
    return tuple((weights,) for weights in dict.fromkeys((own, WEIGHTS, "model.safetensors")))


def architecture_of(name: str, path: Path) -> str | None:
    """open_clip's architecture of weights alone, by the model's name; None for a folder, which says its own.

    Args:
        name: ARCHITECTURE@FILE or ARCHITECTURE/TAG.
        path: where the model is.
    """
    return name.partition("@")[0].partition("/")[0] if path.is_file() else None
