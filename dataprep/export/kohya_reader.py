"""Read a prepared folder as sd-scripts would, and compare what it would train with what the manifest says.

It has two ways in: --dataset_config dataset.toml, or --train_data_dir img with train.toml's settings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.export.difference import LATENTS, OPTIONS, STOPS, TEXTS, Difference
from dataprep.export.kohya import one_line
from dataprep.export.kohya_caches import Cache, TextCache
from dataprep.export.kohya_dataset import Configuration, Subset, changes, read_arguments, read_dataset
from dataprep.export.kohya_pictures import Picture, Reader
from dataprep.export.kohya_rules import Family, folder_subset, reg_uses
from dataprep.export.receipt import is_changed, read_receipt
from dataprep.framing.buckets import Size

_NETWORKS: dict[str, Family] = {"networks.lora_flux": "flux", "networks.lora_sd3": "sd3"}


@dataclass(frozen=True)
class KohyaView:
    """What sd-scripts would train."""

    pictures: tuple[Picture, ...]
    problems: tuple[Difference, ...]  # what stops it or makes it train something else
    reg_uses: Mapping[str, int]  # class picture -> times used in an epoch
    root: Path
    starts: bool = True  # False: it never comes to look at the pictures
    held_back: tuple[int, int] = (0, 0)  # training pictures set aside for validation; the same with repeats
    notes: tuple[str, ...] = ()  # caches of other families, which it does not look at
    subsets: tuple[Subset, ...] = field(default=(), compare=False)
    given: Mapping[str, Any] = field(default_factory=dict, compare=False)  # options of train.toml


def read_folder(root: Path, family: Family | None = None) -> KohyaView:
    """Read the folder through its dataset.toml.

    Args:
        root: the prepared folder.
        family: of the base model, which decides the program and so the caches it looks for; None: as the
            folder's manifest says, or else train.toml.
    Raises:
        InputError: dataset.toml is missing or not readable.
    """
    root = root.resolve()  # as dataset.toml names it
    family = family or _family(root)
    return _view(root, family, read_dataset(root, family))


def read_data_dirs(root: Path, family: Family | None = None) -> KohyaView:
    """Read the folder as with --config_file train.toml --train_data_dir img --reg_data_dir reg.

    Raises:
        InputError: train.toml is missing, or not readable, or does not say what dataset.toml would.
    """
    root = root.resolve()
    family = family or _family(root)
    return _view(root, family, read_arguments(root, family))


def _family(root: Path) -> Family:
    """The family that the folder was prepared for: nothing in sd-scripts' own files says it."""
    try:
        about = json.loads((pq.read_schema(root / "manifest.parquet").metadata or {})[b"dataprep"])
        found = about["settings"]["export"]["family"]
    except (OSError, pa.ArrowInvalid, ValueError, KeyError, TypeError):
        found = None
    families = [family for family in get_args(Family) if family == found]
    return families[0] if families else _family_of_train_toml(root)


def _family_of_train_toml(root: Path) -> Family:
    try:
        text = (root / "train.toml").read_text("utf-8", "replace")
    except OSError:
        return "sd1"
    return next((family for name, family in _NETWORKS.items() if f'"{name}"' in text), "sd1")


def _view(root: Path, family: Family, told: Configuration) -> KohyaView:
    reader = Reader(root, family, told.given, list(told.problems), [])
    if not told.starts:
        return KohyaView((), told.problems, {}, root, starts=False)
    _check_program(reader)
    sets: dict[int, list[Picture]] = {}
    held: Counter[int] = Counter()  # data set -> samples that are set aside
    aside = 0
    for subset in told.subsets:
        if not subset.folder.resolve().is_relative_to(root):
            reader.say(f"dataset.toml names {subset.folder}, not in this folder: run again if it moved")
        elif not subset.folder.is_dir():
            reader.say(f"dataset.toml names {subset.folder.name}, which is not there")
        else:
            members = reader.pictures(subset)
            sets.setdefault(subset.data_set, []).extend(members)
            aside += (count := subset.held_back(len(members)))
            held[subset.data_set] += count * subset.repeats
    pictures = [picture for members in sets.values() for picture in members]
    if not any(not picture.is_reg for picture in pictures):
        reader.say("there is no training picture: sd-scripts stops", STOPS)
    _check_names(root, told.subsets, reader)
    uses: Counter[str] = Counter()
    for number, members in sets.items():
        uses.update(_class_uses(members, held[number]))  # unlike +=, keeps those that are not used
    return KohyaView(
        tuple(pictures),
        tuple(reader.problems),
        uses,
        root,
        held_back=(aside, held.total()),
        notes=tuple(reader.notes),
        subsets=told.subsets,
        given=told.given,
    )


def _class_uses(pictures: Sequence[Picture], held_back: int) -> Counter[str]:
    """How often each class picture of one data set is used in an epoch, some training samples held back."""
    reg = [picture for picture in pictures if picture.is_reg]
    samples = sum(picture.repeats for picture in pictures if not picture.is_reg) - held_back
    uses = reg_uses(samples, [picture.repeats for picture in reg])
    return Counter(dict(zip((picture.file for picture in reg), uses, strict=True)))


def _check_program(reader: Reader) -> None:
    """Whether train.toml is of the program that the folder was prepared for."""
    module, v2 = str(reader.given.get("network_module")), bool(reader.given.get("v2", False))
    network = _NETWORKS.get(module)
    if network not in (None, reader.family):
        reader.say(
            f"train.toml: network_module = {module!r} is {network}'s, the folder was prepared for "
            f"{reader.family}: its latents are not looked for",
            OPTIONS,
        )
    if v2 and reader.family != "sd2":
        reader.say(f"train.toml: v2 = true, the folder was prepared for {reader.family}", OPTIONS)


def _check_names(root: Path, subsets: Sequence[Subset], reader: Reader) -> None:
    named = {subset.folder.resolve() for subset in subsets}
    for parent in ("img", "reg"):
        for folder in sorted(path for path in (root / parent).glob("*") if path.is_dir()):
            if folder.resolve() not in named and folder_subset(folder.name):
                reader.say(f"{parent}/{folder.name} is read with --train_data_dir but is not in dataset.toml")


def differences(view: KohyaView, manifest: pa.Table) -> list[Difference]:
    """What sd-scripts would train otherwise than the manifest says; empty when all is as planned.

    Raises:
        InputError: the receipt cannot be read.
    """
    if not view.starts:
        return list(view.problems)
    found = list(view.problems)
    found += changes(view.subsets, view.given, _settings(manifest))
    rows = {row["image_file"]: row for row in manifest.to_pylist() if row.get("image_file")}
    seen = {picture.file for picture in view.pictures}
    found += [Difference(f"{file}: sd-scripts does not see it") for file in sorted(set(rows) - seen)]
    found += [
        Difference(f"{file}: is not in the manifest, but is trained") for file in sorted(seen - set(rows))
    ]
    written = _Written(view.root)
    for picture in sorted(view.pictures, key=lambda picture: picture.file):
        file, row = picture.file, rows.get(picture.file, {})
        for kind, code in ((_row_differences, ""), (_latents, LATENTS), (_texts, TEXTS)):
            texts = kind(picture, row, written) if row else []
            found += [Difference(f"{file}: {t}", code) if code else Difference(f"{file}: {t}") for t in texts]
    return list(dict.fromkeys(found))  # of several data sets, one may read what another one reads


def _settings(manifest: pa.Table) -> Mapping[str, Any]:
    about = json.loads((manifest.schema.metadata or {}).get(b"dataprep", b"{}"))
    settings: Mapping[str, Any] = about.get("settings", {})
    return settings


class _Written:
    """What the last run wrote, by the receipt."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries = {entry["file"]: entry for entry in read_receipt(root).to_pylist()}

    def is_changed(self, cache: Cache | TextCache) -> bool:
        """Whether a cache file of the last run has other content by now."""
        entry = self._entries.get(cache.file)
        if entry is None:
            return False
        return cache.sha256 != entry["sha256"] if cache.sha256 else is_changed(self._root, entry)


def _row_differences(picture: Picture, row: Mapping[str, Any], _written: _Written) -> list[str]:
    found = []
    planned = (row["bucket_width"], row["bucket_height"])
    if picture.bucket != planned:
        found.append(f"bucket {_by(picture.bucket)}, planned {_by(planned)}")
    if picture.is_reg != (row["role"] == "reg"):
        found.append("class and training pictures are mixed up")
    if row.get("repeats") is not None and picture.repeats != row["repeats"]:
        found.append(f"repeats {picture.repeats}, planned {row['repeats']}")
    # A picture that is not known to have a caption file of ours has one of its own.
    told = row.get("caption_file") or row.get("caption")
    if told and picture.caption != one_line(row.get("caption")):
        found.append(f"caption {picture.caption!r}, planned {row['caption']!r}")
    return found


def _latents(picture: Picture, row: Mapping[str, Any], written: _Written) -> list[str]:
    cache = picture.cache
    if not row.get("latents_file"):
        return [] if cache is None else _own_latents(cache, older=picture.cache_older)
    if cache is None:
        why = f" ({picture.refused})" if picture.refused else ""
        return [f"its latents are not accepted{why} and would be computed anew"]
    if row.get("latents_key") and cache.fingerprint is None:
        return ["its latents are not those that were written here: they have no fingerprint"]
    if row.get("latents_key") and cache.fingerprint != row["latents_key"]:
        return ["its latents were made of other pixels or by another VAE"]
    if written.is_changed(cache):
        return ["its latents were changed after they were written"]
    return []


def _own_latents(cache: Cache, *, older: bool) -> list[str]:
    """What is wrong with latents where none are planned: as of a picture that hands have changed in OUT."""
    if cache.fingerprint is not None:
        return [f"{cache.file} is trained, which the manifest does not know"]
    # Those that sd-scripts made itself are of the pixels that it found.
    return [f"{cache.file} is of what the picture was before it was changed"] if older else []


def _texts(picture: Picture, row: Mapping[str, Any], written: _Written) -> list[str]:
    texts, planned = picture.texts, row.get("texts_key")
    if planned and texts is None:
        return [f"its text-encoder outputs are not accepted ({picture.texts_refused})"]
    if texts is None:
        return []
    edited = row.get("caption") is not None and picture.caption != one_line(row["caption"])
    # Those that sd-scripts made itself are of the caption that it found.
    if edited and (planned or picture.texts_older):
        return ["its text-encoder outputs are of the caption that it had before"]
    if planned and texts.fingerprint != planned:
        return ["its text-encoder outputs are of another caption or another encoder"]
    if written.is_changed(texts):
        return ["its text-encoder outputs were changed after they were written"]
    return []


def describe(view: KohyaView) -> str:
    """What sd-scripts will see, in a few lines."""
    if not view.starts:
        return f"sd-scripts will see nothing that was planned: {view.problems[0]}"
    train = [picture for picture in view.pictures if not picture.is_reg]
    reg = [picture for picture in view.pictures if picture.is_reg]
    samples = sum(picture.repeats for picture in train) - view.held_back[1]
    aside = f" ({view.held_back[0]} more are set aside for validation)" if view.held_back[0] else ""
    caches = [picture.cache for picture in view.pictures if picture.cache is not None]
    own = sum(cache.fingerprint is None for cache in caches)
    cached = f"{len(caches)} of {len(view.pictures)} pictures"
    buckets = Counter(_by(picture.bucket) for picture in train)
    lines = [
        f"sd-scripts will see: {len(train) - view.held_back[0]} training pictures, {samples} with repeats"
        f"{aside}, in {len(buckets)} buckets{', these included' if aside else ''}: "
        + ", ".join(f"{name} {count}" for name, count in buckets.most_common()),
        f"  latents accepted for {cached}{f', of {own} made by a trainer itself' if own else ''}",
    ]
    if texts := sum(picture.texts is not None for picture in view.pictures):
        lines.append(f"  text-encoder outputs accepted for {texts} of {len(view.pictures)} pictures")
    if reg:
        used = [use for use in view.reg_uses.values() if use]
        lines.append(f"  {len(used)} of {len(reg)} class pictures, together {sum(used)} times an epoch")
    return "\n".join(lines)


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
