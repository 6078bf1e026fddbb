"""Where models compute: what `--device` may say, checked before any work."""

from __future__ import annotations

import re

from dataprep.errors import ConfigError

_NAMED = re.compile(r"auto|cpu|cuda(:\d+)?")


def checked_device(wanted: str) -> str:
    """`wanted` as it is, once it is known that this machine has it.

    Args:
        wanted: auto, cpu, cuda, or cuda:N for the N-th GPU. Only cuda imports torch.
    Raises:
        ConfigError: another word, or a GPU that torch does not see.
    """
    if not _NAMED.fullmatch(wanted):
        raise ConfigError(f"--device {wanted}: wanted auto, cpu or cuda (cuda:1 is the second GPU)")
    if wanted.startswith("cuda"):
        import torch

        count = torch.cuda.device_count()
        if int(wanted.partition(":")[2] or 0) >= count:
            kind = "was built without CUDA" if torch.version.cuda is None else f"sees {count} of them"
            raise ConfigError(
                f"--device {wanted}: there is no such GPU: the installed torch {torch.__version__} {kind}; "
                "use --device auto or cpu"
            )
    return wanted
