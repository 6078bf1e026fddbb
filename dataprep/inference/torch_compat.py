"""One mend for one trap: a torchvision whose compiled operators cannot be loaded beside a CPU-only torch.

The package index serves torchvision built against CUDA. With a CPU build of torch its operator library does
not load, `import torchvision` then fails while registering shape functions for two operators nobody declared,
and open_clip, transformers, diffusers and peft fail with it. Only torchvision's Python transforms are used
here, so declaring the two operators is enough.
"""

from __future__ import annotations

import functools

_OPERATORS = ("nms", "qnms")


@functools.cache
def prepare_torch() -> None:
    """Declare torchvision's missing operators; call before importing open_clip, transformers, diffusers.

    Does nothing where torchvision's own operator library loads.
    """
    import importlib.machinery
    import importlib.util

    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.submodule_search_locations is None:
        return
    library = importlib.machinery.PathFinder.find_spec("_C", list(spec.submodule_search_locations))
    if library is not None and library.origin is not None:
        try:
            torch.ops.load_library(library.origin)
        except OSError:
            pass
        else:
            return
    definitions = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        definitions.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # The library must outlive this call, or its definitions go with it.
    prepare_torch.definitions = definitions  # type: ignore[attr-defined]


def chosen_device(wanted: str) -> str:
    """The device to use: "auto" is "cuda" where torch sees a GPU, else "cpu"; others stay as they are."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
