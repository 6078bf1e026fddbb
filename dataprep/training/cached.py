"""What a run left for training, read and checked: manifest, caption files, cached latents; never a picture.

Owns one decision: which latents are too stale to train on.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dataprep import run
from dataprep.errors import InputError, ModelError
from dataprep.export.receipt import retouched
from dataprep.models import find
from dataprep.training.watch import typed

_COLUMNS = """id sha256 role state caption repeats folder bucket_width bucket_height box width height
image_file caption_file latents_file latents_key"""
COLUMNS = _COLUMNS.split()
Arrays = dict[str, np.ndarray]  # of one latents file
_NOT_TRAINED = ("sd3", "flux")


def read_manifest(directory: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The columns that a trainer needs, and what the run noted beside them. Raises InputError."""
    table, meta = run.read_manifest(directory)
    missing = [name for name in COLUMNS if name not in table.schema.names]
    if missing:
        raise InputError(
            f"{directory}: no column {', '.join(missing)} in the manifest; "
            "run `dataprep run` to the end (without --until)"
        )
    made_for = meta.get("settings", {}).get("latents", {}).get("family")
    if made_for in _NOT_TRAINED:
        raise InputError(
            f"{directory}: was prepared for {made_for}, which `dataprep train` does not train; sd-scripts "
            f"does, with the program that is named in the first lines of {directory / 'train.toml'}"
        )
    return table.select(COLUMNS), meta


def base_path(named: str | None, meta: Mapping[str, Any]) -> Path:
    """The base model's place: what a setting names, else what the manifest's metadata recorded.

    Raises:
        ModelError: neither names one, or it is not on this machine.
    """
    recorded = meta.get("models", {}).get("base", {})
    known = named or recorded.get("path")
    if known and (path := Path(known).expanduser()).exists():
        return path
    name = named or recorded.get("name")  # never the recorded one where another is asked for
    if not name:
        raise ModelError("the manifest names no base model; set base = PATH in train.toml")
    return find("base", name).path


def read_captions(directory: Path, rows: list[dict[str, Any]], notes: list[str]) -> list[tuple[str, ...]]:
    """Each row's caption lines from its .txt file, which people edit; the manifest's is only compared.

    Raises:
        InputError: a file is missing or not UTF-8.
    """
    texts, missing, edited = [], [], 0
    for row in rows:
        path, text = directory / (row["caption_file"] or ""), ""
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8; save it as UTF-8") from error
        except OSError:
            missing.append(str(row["caption_file"] or row["image_file"]))
        texts.append(tuple(line.strip() for line in text.splitlines() if line.strip()))
        edited += text.strip() != (row["caption"] or "").strip()
    if missing:
        raise InputError(
            f"{directory}: {len(missing)} images have no caption file: {', '.join(missing[:5])}; "
            "`dataprep run` writes them (an image without words has an empty line in its file)"
        )
    if edited:
        notes.append(f"{edited} caption files were edited since the last run; the files are what is trained")
    return texts


def read_latents(directory: Path, rows: list[dict[str, Any]], flip: bool) -> list[Arrays]:
    """Each row's cached arrays: finite, of the bucket's size, made from what the manifest says.

    Raises:
        InputError: with how many are wrong in which way, and the command that mends them.
    """
    wrong: dict[str, list[str]] = defaultdict(list)
    arrays = []
    _refuse_retouched(directory, {row["image_file"] for row in rows})
    for row in rows:
        found, reason = _read_one(directory, row, flip)
        arrays.append(found)
        if reason:
            wrong[reason].append(row["latents_file"] or row["image_file"])
    if wrong:
        kinds = "; ".join(f"{len(names)} {why} ({', '.join(names[:3])})" for why, names in wrong.items())
        raise InputError(
            f"{directory}: latents do not match the manifest: {kinds}. "
            f"Run `dataprep run RAW --out {typed(directory)}` again: it encodes only what changed"
        )
    return arrays


def _refuse_retouched(directory: Path, pictures: set[str]) -> None:
    changed = [file for file in retouched(directory) if file in pictures]
    if changed:
        raise InputError(
            f"{directory}: {len(changed)} pictures were changed by hand since they were encoded: "
            f"{', '.join(changed[:5])}. Edit the raw pictures instead, then `dataprep run RAW --out "
            f"{typed(directory)}` again, which also says how to take such a change back"
        )


def _read_one(directory: Path, row: dict[str, Any], flip: bool) -> tuple[Arrays, str | None]:
    """One image's cached arrays, and what is wrong with them or None."""
    wanted = ["latents", "fingerprint", "original_size", "crop_ltrb"]
    wanted += ["latents_flipped"] if flip else []
    path = directory / (row["latents_file"] or "")
    try:
        # Opened here: np.load leaves the file open when it is no archive.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in [*wanted, "alpha_mask"] if name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}, "missing or unreadable"
    absent = [name for name in wanted if name not in found]
    if absent == ["latents_flipped"]:
        return found, "without mirrored latents (set latents.flip = true, or flip = false here)"
    if absent:
        return found, f"without {', '.join(absent)}"
    if str(found["fingerprint"]) != row["latents_key"]:
        return found, "stale"
    if found["latents"].shape[1:] != (row["bucket_height"] // 8, row["bucket_width"] // 8):
        return found, "of another bucket's size"
    return found, None if np.isfinite(found["latents"]).all() else "with values that are not finite"
