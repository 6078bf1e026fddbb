"""What dataset.toml and train.toml make sd-scripts load: its schema, which setting wins, which it refuses.

Owns one decision: what in these files is a change to the plan that `export` wrote into them.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprep.errors import InputError
from dataprep.export.difference import OPTIONS, STOPS, Difference
from dataprep.export.kohya_rules import CACHE_STYLES, Family, folder_subset
from dataprep.framing.buckets import BucketGrid, Size

# Keys of dataset.toml and the types that sd-scripts takes, by where they may stand. Source: its config_util.
_WHOLE_NUMBER_OR_NOT = (float, int)
EVERYWHERE: dict[str, tuple[type, ...]] = {
    "color_aug": (bool,), "face_crop_aug_range": (list,), "flip_aug": (bool,), "num_repeats": (int,),
    "random_crop": (bool,), "shuffle_caption": (bool,), "keep_tokens": (int,),
    "keep_tokens_separator": (str,), "secondary_separator": (str,), "caption_separator": (str,),
    "enable_wildcard": (bool,), "token_warmup_min": (int,), "token_warmup_step": _WHOLE_NUMBER_OR_NOT,
    "caption_prefix": (str,), "caption_suffix": (str,), "custom_attributes": (dict,),
    "resize_interpolation": (str,), "caption_dropout_every_n_epochs": (int,),
    "caption_dropout_rate": _WHOLE_NUMBER_OR_NOT, "caption_tag_dropout_rate": _WHOLE_NUMBER_OR_NOT,
    "caption_extension": (str,), "class_tokens": (str,), "cache_info": (bool,),
}  # fmt: skip
OF_SETS: dict[str, tuple[type, ...]] = EVERYWHERE | {
    "batch_size": (int,), "bucket_no_upscale": (bool,), "bucket_reso_steps": (int,), "enable_bucket": (bool,),
    "max_bucket_reso": (int,), "min_bucket_reso": (int,), "validation_seed": (int,),
    "validation_split": (float,), "resolution": (int, list), "network_multiplier": (float,),
}  # fmt: skip
OF_FOLDERS: dict[str, tuple[type, ...]] = EVERYWHERE | {
    "image_dir": (str,), "is_reg": (bool,), "alpha_mask": (bool,),
}  # fmt: skip
_ITEMS = {"resolution": int, "face_crop_aug_range": float}  # of the lists above, two each
_WORDS = {
    bool: "true or false", int: "a whole number", float: "a number with a point", str: "a text",
    list: "a list of two", dict: "a table",
}  # fmt: skip

# What a sample is made of: an option's value without being said, and what another one does.
_MEANS: dict[str, tuple[object, str]] = {
    "caption_prefix": ("", "stands before every caption"),
    "caption_suffix": ("", "stands after every caption"),
    "enable_wildcard": (False, "every line is read, and {a|b} draws one of its words"),
    "caption_separator": (",", "captions are cut into tags at other places"),
    "secondary_separator": ("", "is replaced by the separator"),
    "keep_tokens": (1, "other tags stay first when tags are shuffled or dropped"),
    "keep_tokens_separator": ("", "cuts captions into a fixed and a shuffled part"),
    "cache_info": (False, "metadata_cache.json is believed, whatever captions and pictures say by now"),
    "validation_split": (0.0, "a part of the training pictures is set aside and not trained"),
    "face_crop_aug_range": (None, "pictures are cut anew around faces"),
    "custom_attributes": ({}, "goes to the trainer, which may replace the target"),
    "network_multiplier": (1.0, "the network works with another strength"),
    "flip_aug": (False, "mirrored pictures are trained, or are not"),
    "alpha_mask": (False, "transparent parts are learned, or are not"),
}
# How captions vary while training: train.toml's to say, which is meant to be edited. Said in dataset.toml
# too, it would win there without a word.
_TRAINING: dict[str, tuple[object, str]] = {
    "shuffle_caption": (False, "tags change places, or do not"),
    "caption_dropout_rate": (0.0, "captions are left empty, trigger and all"),
    "caption_dropout_every_n_epochs": (0, "all captions are left empty in some epochs"),
    "caption_tag_dropout_rate": (0.0, "tags are left out at random"),
    "token_warmup_min": (1, "captions grow from other lengths"),
    "token_warmup_step": (0, "captions grow as training goes on"),
    "color_aug": (False, "colours vary, so that no latents can be kept"),
    "random_crop": (False, "pictures are cut at random, so that no latents can be kept"),
}


@dataclass(frozen=True)
class Subset:
    """One folder of pictures, with every option that holds for it."""

    folder: Path
    repeats: int
    class_tokens: str
    is_reg: bool
    options: Mapping[str, Any]  # sd-scripts' names, also those of the whole data set
    data_set: int = 0  # which of the file's: each has its own buckets and counts its own class pictures

    @property
    def caption_suffix(self) -> str:
        """Of caption files, with its dot."""
        suffix = str(self.options.get("caption_extension") or ".caption")
        return suffix if suffix.startswith(".") else f".{suffix}"

    def held_back(self, pictures: int) -> int:
        """How many of its pictures are set aside for validation: which ones, a draw decides."""
        share = float(self.options.get("validation_split", 0.0))
        if self.is_reg or not 0 < share <= 1:
            return 0
        return pictures - math.ceil(pictures * (1 - share))

    @property
    def name(self) -> str:
        """Its folder, as people know it."""
        return f"{self.folder.parent.name}/{self.folder.name}"


@dataclass(frozen=True)
class Configuration:
    """What sd-scripts is told."""

    subsets: tuple[Subset, ...]
    given: Mapping[str, Any]  # the options of train.toml
    problems: tuple[Difference, ...] = ()
    starts: bool = True  # False: sd-scripts refuses the files


def read_dataset(root: Path, family: Family) -> Configuration:
    """dataset.toml over train.toml.

    Args:
        root: the prepared folder, absolute.
        family: of the base model.
    Raises:
        InputError: dataset.toml is missing or not readable.
    """
    document = _toml(root / "dataset.toml")
    given = _given(root)
    datasets: Any = document.get("datasets")
    # One without folders is passed over, if another has some.
    folders = [each["subsets"] for each in datasets if each.get("subsets")] if _are_tables(datasets) else []
    if not folders or not all(map(_are_tables, folders)):
        raise InputError(
            f"{root / 'dataset.toml'}: cannot be read: no [[datasets]] with [[datasets.subsets]] in it; "
            "delete it, and `dataprep run` writes it anew"
        )
    general = document.get("general", {})
    if any("metadata_file" in subset for each in folders for subset in each):
        said = _said(
            "metadata_file: captions and sizes come from that file, not from the folders planned here"
        )
        return Configuration((), given, (said,), starts=False)
    if refused := _refused(document):
        return Configuration((), given, tuple(refused), starts=False)
    subsets: list[Subset] = []
    problems: list[Difference] = []
    if len(datasets) > 1:
        what = "each has buckets and batches of its own and counts its own class pictures"
        problems.append(_said(f"{len(datasets)} data sets, planned 1: {what}"))
    for number, own in enumerate(datasets):
        # Of whole sets train.toml's options hold last, as flags of the command line would.
        of_set = given | general | {name: value for name, value in own.items() if name != "subsets"}
        if stop := _no_buckets(of_set, family):
            return Configuration((), given, (stop,), starts=False)
        subsets += _folders(own.get("subsets", ()), of_set, number, problems)
    problems += _twice(subsets)
    return Configuration(tuple(subsets), given, tuple(problems))


def _folders(
    tables: Sequence[Mapping[str, Any]], of_set: Mapping[str, Any], number: int, problems: list[Difference]
) -> list[Subset]:
    """The folders that one data set reads; what it passes over is added to the problems."""
    found: dict[str, Subset] = {}
    for own in tables:
        subset = _subset(Path(own["image_dir"]), {**of_set, **own}, number)
        if subset.repeats < 1:
            problems.append(_said(f"num_repeats = {subset.repeats}: sd-scripts ignores {subset.name}"))
        elif own["image_dir"] in found:
            problems.append(_said(f"{subset.name} is named twice: sd-scripts ignores the second"))
        else:
            found[own["image_dir"]] = subset
    return list(found.values())


def read_arguments(root: Path, family: Family) -> Configuration:
    """train.toml with the folders img/ and reg/, as --train_data_dir and --reg_data_dir.

    Raises:
        InputError: train.toml is missing, or not readable, or does not say what dataset.toml would.
    """
    path = root / "train.toml"
    given = _flat(_toml(path))
    if "resolution" not in given:
        raise InputError(f"{path}: has no resolution, which sd-scripts wants without dataset.toml")
    try:
        given["resolution"] = _pair(given["resolution"])
    except ValueError as error:
        raise InputError(f"{path}: resolution = {given['resolution']!r} cannot be read") from error
    if stop := _no_buckets(given, family):
        return Configuration((), given, (stop,), starts=False)
    subsets = []
    for parent, is_reg in (("img", False), ("reg", True)):
        for folder in sorted((root / parent).glob("*/")):
            if found := folder_subset(folder.name):
                own = {"num_repeats": found[0], "class_tokens": found[1], "is_reg": is_reg}
                subsets.append(_subset(folder, given | own))
    return Configuration(tuple(subsets), given)


def grid(options: Mapping[str, Any]) -> BucketGrid | None:
    """The buckets that options allow, None where there is one of the resolution's size.

    Raises:
        ValueError: sd-scripts refuses them.
    """
    if not options.get("enable_bucket", False):
        return None
    steps = options.get("bucket_reso_steps", 64)
    if steps < 1:
        raise ValueError(f"bucket_reso_steps = {steps}")
    low, high = options.get("min_bucket_reso", 256), options.get("max_bucket_reso", 1024)
    return BucketGrid(area(options), low, high, steps).adjusted()


def area(options: Mapping[str, Any]) -> Size:
    """Width and height of the training area, px."""
    resolution = options["resolution"]
    return (resolution, resolution) if isinstance(resolution, int) else (resolution[0], resolution[1])


def changes(
    subsets: Sequence[Subset], given: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Difference]:
    """Options that make other samples than the run planned, one line each.

    Args:
        subsets: as read from dataset.toml.
        given: the options of train.toml.
        settings: of the last run's stages, by stage.
    """
    train = settings.get("export", {}).get("train", {})
    latents = settings.get("latents", {})
    planned = {"flip_aug": latents.get("flip", False), "alpha_mask": latents.get("alpha_mask", False)} | train
    found = []
    for name, (default, what) in (_MEANS | _TRAINING).items():
        plan = given if name in _TRAINING else planned
        other: dict[str, list[str]] = {}
        for subset in subsets:
            wanted = 0 if name == "keep_tokens" and subset.is_reg else plan.get(name, default)
            value = subset.options.get(name, default)
            if not _is_same(value, wanted) and (latents or name not in ("flip_aug", "alpha_mask")):
                other.setdefault(f"{name} = {value!r}, planned {wanted!r}", []).append(subset.name)
        for text, folders in other.items():
            found.append(_said(f"{text}, in {', '.join(folders)}: {what}"))
    return found


def _is_same(value: object, wanted: object) -> bool:
    return value == wanted or (not value and not wanted)  # "", 0, {} and nothing are one


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read: {error!r}; delete it, and `dataprep run` writes it anew"
        ) from error


def _given(root: Path) -> dict[str, Any]:
    """The options of train.toml, which hold where dataset.toml says nothing."""
    try:
        given = _flat(_toml(root / "train.toml"))
        if "resolution" in given:
            given["resolution"] = _pair(given["resolution"])
    except (InputError, ValueError):
        return {"cache_latents_to_disk": True}  # dataset.toml is used with flags, as its first lines say
    # Of one folder each; the command line has them for none.
    return {name: value for name, value in given.items() if name not in ("image_dir", "class_tokens")}


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in document.items():
        settings |= value if isinstance(value, dict) else {name: value}
    return settings


def _pair(text: object) -> list[int]:
    width, _, height = str(text).partition(",")
    return [int(width), int(height or width)]


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _subset(folder: Path, options: Mapping[str, Any], number: int = 0) -> Subset:
    tokens, is_reg = options.get("class_tokens") or "", bool(options.get("is_reg", False))
    return Subset(folder, options.get("num_repeats", 1), tokens, is_reg, options, number)


def _twice(subsets: Sequence[Subset]) -> Iterable[Difference]:
    seen: dict[Path, Subset] = {}
    for subset in subsets:
        first = seen.setdefault(subset.folder.resolve(), subset)
        if first.data_set != subset.data_set:
            yield _said(f"{subset.name} is in two data sets: sd-scripts trains its pictures in both")
        elif first is not subset:
            yield _said(f"{subset.name} is named in two spellings: sd-scripts trains its pictures twice")


def _refused(document: Mapping[str, Any]) -> list[Difference]:
    """What sd-scripts' schema does not take; it stops at any of it."""
    found = [f"{name} is no part of such a file" for name in document if name not in ("general", "datasets")]
    general = document.get("general", {})
    if not isinstance(general, dict):
        found.append("general is no table")
    else:
        found += _misfits("[general]", general, OF_SETS)
    for dataset in document["datasets"]:
        found += _misfits("[[datasets]]", dataset, OF_SETS | {"subsets": (list,)})
        for subset in dataset.get("subsets", ()):
            found += _misfits("[[datasets.subsets]]", subset, OF_FOLDERS)
            if "image_dir" not in subset:
                found.append("[[datasets.subsets]] without image_dir")
    return [Difference(f"dataset.toml: {text}: sd-scripts stops", STOPS) for text in found]


def _misfits(where: str, table: Mapping[str, Any], keys: Mapping[str, tuple[type, ...]]) -> list[str]:
    found = []
    for name, value in table.items():
        if name not in keys:
            found.append(f"{where} {name} is no setting that may stand there")
        elif not _fits(name, value, keys[name]):
            wanted = " or ".join(_WORDS[kind] for kind in keys[name])
            found.append(f"{where} {name} = {value!r}, wanted {wanted}")
    return found


def _fits(name: str, value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, list) and name in _ITEMS:
        return len(value) == 2 and all(isinstance(item, _ITEMS[name]) for item in value)
    return isinstance(value, kinds) and not (name == "subsets" and not isinstance(value, list))


def _no_buckets(options: Mapping[str, Any], family: Family) -> Difference | None:
    """Why sd-scripts makes no buckets of these options, None if it does."""
    file = "dataset.toml"
    if options.get("resolution") is None:
        return Difference(f"{file}: no resolution: sd-scripts stops", STOPS)
    step, least = options.get("bucket_reso_steps", 64), CACHE_STYLES[family].step
    try:
        if min(area(options)) < 1:
            raise ValueError(f"resolution = {options['resolution']}")
        if grid(options) is not None and step % least:
            raise ValueError(f"bucket_reso_steps = {step}, wanted a multiple of {least} for {family}")
    except ValueError as error:
        return Difference(f"{file}: {error}: sd-scripts stops", STOPS)
    return None


def _said(text: str) -> Difference:
    return Difference(f"dataset.toml: {text}", OPTIONS)
