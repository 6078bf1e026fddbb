"""The other trainers that a prepared folder can be exported to. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dataprep.errors import ConfigError
from dataprep.export import aitoolkit, imagefolder, onetrainer, simpletuner, webdataset
from dataprep.export.prepared import Prepared, read_prepared, write
from dataprep.export.sync import Report, Wanted

Files = Callable[[Prepared, Path], tuple[list[Wanted], str]]

TARGETS: dict[str, Files] = {
    "onetrainer": onetrainer.files,
    "ai-toolkit": aitoolkit.files,
    "simpletuner": simpletuner.files,
    "imagefolder": imagefolder.files,
    "webdataset": webdataset.files,
}


def export_to(directory: Path, name: str, out: Path) -> tuple[Report, str]:
    """Write a prepared folder for another trainer.

    Args:
        directory: the prepared folder.
        name: of the trainer, see TARGETS.
        out: the folder to write; an earlier export there is brought up to date.
    Returns:
        What was written, and how to use it.
    Raises:
        ConfigError: no trainer of this name.
        InputError: the prepared folder is not one, or `out` cannot serve.
        DiskError: a file cannot be written.
    """
    from dataprep.run import read_manifest

    if name not in TARGETS:
        raise ConfigError(f"--to {name}: not known; known are {', '.join(TARGETS)}")
    table, metadata = read_manifest(directory)
    prepared = read_prepared(directory.resolve(), table, metadata)
    wanted, usage = TARGETS[name](prepared, out)
    return write(prepared, out, wanted), usage
