"""Model files on disk: fetching, hashes, and the record of first use that later uses are held to."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from dataprep.digest import file_sha256
from dataprep.errors import DiskError, ModelError
from dataprep.store import write_bytes

RECORD_NAME: Final = "models.json"
_MODELS, _REFUSED = "models", "refused"  # sections of the record: of first use; of files that were others
PIPELINE_INDEX: Final = "model_index.json"
WEIGHTS_SUFFIXES: Final = frozenset(
    {".onnx", ".safetensors", ".sft", ".bin", ".pt", ".csv", ".json", ".txt", ".toml", ".model"}
)
TABLES: Final = ("thresholds.json", "thresholds.csv")  # beside a tagger: which tags count; no score depends
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


def model_files(path: Path) -> tuple[str, ...]:
    """The files of a local model, relative to its folder: readmes and hidden ones are no part of it."""
    if path.is_file():
        return (path.name,)
    every = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    found = (file for file in every if file.suffix in WEIGHTS_SUFFIXES)
    return tuple(sorted(f.as_posix() for f in found if not any(part.startswith(".") for part in f.parts)))


def tables_sha256(folder: Path) -> str:
    """SHA-256 of a tagger's own tables of thresholds, "" where it has none."""
    there = [file for file in TABLES if (folder / file).is_file()]
    return hashes(folder, there) if there else ""


def recorded_revision(source: str) -> str | None:
    """The revision under which `source` was first used, None if it never was."""
    revision = _record().get(_MODELS, {}).get(source, {}).get("revision")
    return revision if isinstance(revision, str) else None


def recorded_sha256(source: str) -> str | None:
    """The sha256 that a model had at its first use; None if it was never used."""
    sha256 = _record().get(_MODELS, {}).get(source, {}).get("sha256")
    return sha256 if isinstance(sha256, str) else None


def verified(source: str, root: Path, files: Sequence[str], revision: str | None, pinned: str | None) -> str:
    """SHA-256 of a model's files, held against the pin or the record of its first use.

    Files that are refused are remembered, so that `accepted` can take them.

    Raises:
        ModelError: the files are not those that were pinned or first used.
    """
    found = hashes(root, files)
    entry = {"sha256": found, "revision": revision, "path": str(root.absolute()), "files": list(files)}
    known = recorded_sha256(source)
    wanted = pinned or known
    if wanted is not None and wanted != found:
        if not pinned:
            _remember(_REFUSED, {source: entry})
        raise ModelError(
            f"{source}: the files in {root} have sha256 {found[:16]}..., but "
            f"{'pins.toml says' if pinned else 'at their first use it was'} {wanted[:16]}...: "
            + _cure(root, revision, may_accept=not pinned)
        )
    if known is None:
        _remember(_MODELS, {source: entry})
    return found


def _cure(root: Path, revision: str | None, *, may_accept: bool) -> str:
    """What helps where files are not those that were used first."""
    back = (
        f"put the former files back into {root}, or take it away"
        if revision is None
        else f"delete {root}, and they are fetched again"
    )
    if not may_accept:
        return back
    return f"if that is on purpose, `dataprep models verify --accept` takes them for right; else {back}"


def accepted(check: Callable[[str, Path, Sequence[str]], None]) -> dict[str, str]:
    """Hold every model whose files changed to the files as they are now; path and sha256 by source.

    Args:
        check: raises ModelError where files of a kind in a folder are not whole.
    """
    taken = {}
    record = _record()
    for source, entry in (*record.get(_MODELS, {}).items(), *record.get(_REFUSED, {}).items()):
        root, files = Path(entry.get("path", "")), entry.get("files", [])
        if not _are_there(root, files):
            continue
        found = hashes(root, files, remembered=False)
        if found != recorded_sha256(source):
            check(source.partition(":")[0], root, files)
            _remember(_MODELS, {source: {**entry, "sha256": found}})
            taken[source] = f"sha256 {found[:16]}... in {root}"
    _forget(_REFUSED)
    return taken


def recheck() -> dict[str, str]:
    """Every recorded model, its files read again: "whole", "CHANGED: ..." or "gone: ..." by source."""
    results = {}
    refused = _record().get(_REFUSED, {})
    for source, entry in _record().get(_MODELS, {}).items():
        verdicts = [_verdict(said, entry.get("sha256", "")) for said in (refused.get(source), entry) if said]
        # What was refused elsewhere matters while it is there, and not what was used first.
        results[source] = next((v for v in verdicts if v.startswith("CHANGED")), verdicts[-1])
    return results


def _verdict(entry: dict[str, Any], wanted: str) -> str:
    root, files = Path(entry.get("path", "")), entry.get("files", [])
    if not _are_there(root, files):
        return f"gone: {root} no longer holds all its files; it is fetched again when needed"
    found = hashes(root, files, remembered=False)
    if found == wanted:
        return f"whole: sha256 {found[:16]}..."
    return f"CHANGED: sha256 {found[:16]}... in {root}, was {wanted[:16]}..."


def _are_there(root: Path, files: Sequence[str]) -> bool:
    return bool(files) and all((root / file).is_file() for file in files)


def _record() -> dict[str, Any]:
    try:
        data = json.loads((cache_folder() / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _remember(section: str, entries: dict[str, Any]) -> None:
    record = _record()
    _write({**record, section: {**record.get(section, {}), **entries}})


def _forget(section: str) -> None:
    record = _record()
    if section in record:
        _write({name: entries for name, entries in record.items() if name != section})


def _write(record: dict[str, Any]) -> None:
    try:
        write_bytes(cache_folder() / RECORD_NAME, json.dumps(record, indent=1).encode())
    except (DiskError, OSError):
        # A home that can't be written costs time (hashing again) and a check, not the run.
        return
