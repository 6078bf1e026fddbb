"""Model files on disk: fetching, hashes, and the record of first use that later uses are held to."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dataprep.digest import file_sha256
from dataprep.errors import DiskError, ModelError
from dataprep.store import write_bytes

RECORD_NAME: Final = "models.json"
PIPELINE_INDEX: Final = "model_index.json"
# The files of each part of a diffusers pipeline with a U-Net.
_PARTS: Final = {
    "scheduler": ("scheduler_config.json",),
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("merges.txt", "vocab.json"),
    "unet": ("config.json", "diffusion_pytorch_model.safetensors"),
    "vae": ("config.json", "diffusion_pytorch_model.safetensors"),
}


def cache_folder() -> Path:
    """The user's cache folder of this program: $DATAPREP_CACHE, else where the system keeps caches."""
    named = os.environ.get("DATAPREP_CACHE")
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dataprep"


def fetched(
    repo: str,
    revision: str | None,
    files: Sequence[str],
    optional: Sequence[str],
    tried: list[str],
    *,
    fetch: bool = True,
) -> tuple[Path | None, str | None]:
    """A repository's snapshot folder with all `files` whole, from the hub's cache or from the hub.

    Args:
        repo: owner/name.
        revision: commit, tag or branch; None is the default branch.
        files: paths that must be there.
        optional: patterns that are fetched too where they exist.
        tried: gets a line for every attempt that failed.
        fetch: False looks into the cache only.
    Returns:
        The folder and the commit, or (None, None).
    """
    # The hub links a file into a snapshot only when its download has finished, so present means whole.
    places = [(True, "the Hugging Face cache"), (False, "the Hugging Face hub")]
    for offline, where in places if fetch else places[:1]:
        folder, why = _snapshot(repo, revision, [*files, *optional], offline)
        if folder is not None:
            missing = [file for file in files if not (folder / file).is_file()]
            if not missing:
                return folder, folder.name
            why = f"lacks {', '.join(missing)}"
        tried.append(f"{where}: {repo}{f'@{revision}' if revision else ''}: {why}")
    return None, None


def _snapshot(repo: str, revision: str | None, patterns: list[str], offline: bool) -> tuple[Path | None, str]:
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=patterns, local_files_only=offline, max_workers=4
        )
    except errors.LocalEntryNotFoundError as error:
        return None, "not there" if offline else f"no connection ({_first_line(error)})"
    except (http_error(), errors.HFValidationError, errors.XetDownloadError, OSError) as error:
        return None, _first_line(error)
    return Path(folder), ""


def http_error() -> type[Exception]:
    """The base error of the hub's HTTP client, whichever client this version of the hub uses."""
    from huggingface_hub import errors

    return next(base for base in reversed(errors.HfHubHTTPError.__mro__) if base.__name__ == "HTTPError")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def pipeline_files(index: Path) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Needed and optional files of a pipeline, by its model_index.json; None if it has no U-Net."""
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(parts, dict) or "unet" not in parts:
        return None
    there = [name for name, kind in parts.items() if isinstance(kind, list) and all(kind)]
    needed = [f"{name}/{file}" for name in there for file in _PARTS.get(name.removesuffix("_2"), ())]
    return (index.name, *sorted(needed)), tuple(f"{n}/*.json" for n in there if n.startswith("tokenizer"))


def hashes(root: Path, files: Sequence[str], *, remembered: bool = True) -> str:
    """SHA-256 of a model: of its single file, or of the list of its files' names and hashes.

    Args:
        root: the model's folder, or its single file.
        files: relative to `root`.
        remembered: take a file's hash from the record while its size and time of change are the same, since
            hashing gigabytes takes seconds.
    """
    known = _record().get("files", {}) if remembered else {}
    fresh: dict[str, list[Any]] = {}
    parts = []
    for name in files:
        path = root if root.is_file() else root / name
        stat = path.stat()
        entry = known.get(str(path.absolute()))
        if entry is None or entry[:2] != [stat.st_size, stat.st_mtime_ns]:
            entry = [stat.st_size, stat.st_mtime_ns, file_sha256(path)]
            fresh[str(path.absolute())] = entry
        parts.append((name, str(entry[2])))
    if fresh:
        _remember("files", fresh)
    if len(parts) == 1:
        return parts[0][1]
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()


def recorded_revision(source: str) -> str | None:
    """The revision under which `source` was first used, None if it never was."""
    revision = _record().get("models", {}).get(source, {}).get("revision")
    return revision if isinstance(revision, str) else None


def is_recorded(source: str) -> bool:
    """Whether a model was used before, so that its sha256 is known."""
    return source in _record().get("models", {})


def verified(source: str, root: Path, files: Sequence[str], revision: str | None, pinned: str | None) -> str:
    """SHA-256 of a model's files, held against the pin or the record of its first use.

    Raises:
        ModelError: the files are not those that were pinned or first used.
    """
    found = hashes(root, files)
    known = _record().get("models", {}).get(source, {}).get("sha256")
    wanted = pinned or known
    if wanted is not None and wanted != found:
        raise ModelError(
            f"{source}: the files in {root} have sha256 {found[:16]}..., but "
            f"{'pins.toml says' if pinned else 'at their first use it was'} {wanted[:16]}...: a damaged "
            "download, or another version. Delete that folder to fetch it again; to accept the new files, "
            f"remove {source!r} from {cache_folder() / RECORD_NAME}"
        )
    if known is None:
        entry = {"sha256": found, "revision": revision, "path": str(root.absolute()), "files": list(files)}
        _remember("models", {source: entry})
    return found


def recheck() -> dict[str, str]:
    """Every recorded model, its files read again: "whole", "CHANGED: ..." or "gone: ..." by source."""
    results = {}
    for source, entry in _record().get("models", {}).items():
        root, files = Path(entry.get("path", "")), entry.get("files", [])
        if not files or not all((root / file).is_file() for file in files):
            results[source] = f"gone: {root} no longer holds all its files; it is fetched again when needed"
            continue
        found = hashes(root, files, remembered=False)
        whole = found == entry.get("sha256")
        results[source] = (
            f"whole: sha256 {found[:16]}..."
            if whole
            else f"CHANGED: sha256 {found[:16]}..., was {entry.get('sha256', '')[:16]}..."
        )
    return results


def _record() -> dict[str, Any]:
    try:
        data = json.loads((cache_folder() / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _remember(section: str, entries: dict[str, Any]) -> None:
    record = _record()
    record[section] = {**record.get(section, {}), **entries}
    try:
        write_bytes(cache_folder() / RECORD_NAME, json.dumps(record, indent=1).encode())
    except (DiskError, OSError):
        # A home that can't be written costs time (hashing again) and a check, not the run.
        return
