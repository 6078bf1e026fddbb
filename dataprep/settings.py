"""The one place of settings: dataprep.toml and flags become frozen pydantic models, or an error that helps.

The project's own settings stand at the top of the file, each stage's in a table of its name:

    trigger = "sks"
    models = "miniature"
    [dedup]
    max_distance = 6
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from dataprep.classes import GENERATE
from dataprep.curate.encodings import EncodingName
from dataprep.errors import ConfigError
from dataprep.stage import Stage
from dataprep.toml import read_toml, value_of

PROJECT_FILE = "dataprep.toml"
M = TypeVar("M", bound=BaseModel)


class Project(BaseModel, frozen=True, extra="forbid", str_strip_whitespace=True):
    """Settings of the whole data set; a stage that has a field of the same name is given the value."""

    trigger: Annotated[
        str | None,
        Field(min_length=1, description="word that the LoRA will answer to; rare, first in captions"),
    ] = None
    class_word: Annotated[
        str | None, Field(min_length=1, description="what the subject is one of, such as girl, dog, car")
    ] = None
    purpose: Annotated[
        Literal["character", "style", "outfit", "pose", "object"],
        Field(
            description="what the LoRA shall learn; decides which tags the trigger absorbs; a concept is an "
            "outfit, pose or object; all but character lower the tagger's own threshold by a quarter"
        ),
    ] = "character"
    models: Annotated[str, Field(description="family of models, see `dataprep models list`")] = "sd15"
    reg: Annotated[
        str | None,
        Field(
            description="folder of class images, relative to the file that names it; or generate: the base "
            "model draws them; in a file with a table [reg]: source = ... in it"
        ),
    ] = None
    batch_size: Annotated[
        int | None, Field(ge=1, le=256, description="pictures a training step; buckets are planned for it")
    ] = None
    crops: Annotated[
        bool | None, Field(description="also find pictures that are cut out of others, and drop them")
    ] = None
    resolution: Annotated[
        int | None,
        Field(
            ge=64, le=4096, multiple_of=8, description="px; training area is its square; default: the model's"
        ),
    ] = None
    caption_encoding: Annotated[
        EncodingName,
        Field(
            description="encoding of caption files that are not UTF-8, such as cp1251 or shift_jis; default: "
            "told by their bytes, and a file that they leave in doubt does not count"
        ),
    ] = None
    waive: Annotated[
        tuple[str, ...], Field(description="findings that `dataprep check` shall leave out, by their codes")
    ] = ()

    @field_validator("trigger", "class_word")
    @classmethod
    def _one_tag(cls, word: str | None) -> str | None:
        if word is not None and ("," in word or "\n" in word):
            raise ValueError(
                f"{word!r} has a comma or a line break, at which trainers part tags; what stands first in "
                "captions is one tag: the trigger word, and the class word behind it"
            )
        return word

    @field_validator("purpose", mode="before")
    @classmethod
    def _which_concept(cls, purpose: object) -> object:
        if purpose == "concept":
            raise ValueError(
                "a concept is one of three here, by what the trigger word may absorb: outfit (clothes, "
                "accessories), pose (poses, expressions) or object (any other thing)"
            )
        return purpose


@dataclass(frozen=True)
class Settings:
    """Checked project settings and the stages' own sections, with where each came from for error messages."""

    project: Project
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: str = "settings"
    base_folder: Path = field(default_factory=Path)  # relative folders in settings start here
    told: Mapping[str, str] = field(default_factory=dict)  # "stage.setting" -> the flag that gave it

    def reg_folder(self) -> Path | None:
        """The class-image folder, or None. Raises ConfigError if it is named but not there."""
        if self.project.reg is None or self.project.reg == GENERATE:
            return None
        folder = (self.base_folder / self.project.reg).resolve()
        if not folder.is_dir():
            start = "" if Path(self.project.reg).is_absolute() else f"; it starts at {self.base_folder}"
            raise ConfigError(f"{self.told.get('reg', self.origin)}: reg: {folder} is not a folder{start}")
        return folder


def load_settings(
    raw: Path,
    config: Path | None,
    flags: Mapping[str, Any],
    overrides: Iterable[str],
    stages: Iterable[type[Stage]],
) -> Settings:
    """Read the project file (RAW/dataprep.toml unless `config` names one), then let flags and --set win.

    Args:
        raw: the raw folder.
        config: a project file named by the user, must exist.
        flags: project settings from the command line; None means not given.
        overrides: texts `stage.setting=value` or `setting=value`, value as in TOML or a bare word; a setting
            that is a table takes `stage.setting.entry=value`.
        stages: the stage classes whose sections are allowed.
    Raises:
        ConfigError: unreadable file, unknown or out-of-range setting (named with its rule and range).
    """
    path = config or raw / PROJECT_FILE
    document: dict[str, Any] = {}
    if config is not None or path.is_file():
        document = _read(path)
    origin = str(path) if document else "settings"
    names = {stage.name: stage for stage in stages}
    sections = {key: dict(value) for key, value in document.items() if isinstance(value, dict)}
    project = {key: value for key, value in document.items() if not isinstance(value, dict)}
    base_folder = path.parent.resolve()
    words = sections.get("clip", {}).get("vocabulary")
    if isinstance(words, str) and words != "tagger":
        sections["clip"]["vocabulary"] = str(base_folder / Path(words).expanduser())
    told: dict[str, str] = {}
    for text in overrides:
        name, value = _override(text)
        _put(project, sections, name, value)
        told[".".join(name[:2])] = "--set"
    if "source" in sections.get("reg", {}):  # a file with a table [reg] has no place for reg = ...
        project["reg"] = sections["reg"].pop("source")
        told |= {"reg": told["reg.source"]} if "reg.source" in told else {}
    for key, value in flags.items():
        if value is not None:
            project[key] = value
            told[key] = f"--{key.replace('_', '-')}"
            if key == "reg" and value != GENERATE:  # a path on the command line starts where the user stands
                project[key] = str(Path(value).resolve())
    _check_names(project, sections, [*names], origin, told)
    return Settings(_validate(Project, project, origin, told, ""), sections, origin, base_folder, told)


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except ConfigError as error:
        if not isinstance(error.__cause__, tomllib.TOMLDecodeError):
            raise
        text = path.read_text(encoding="utf-8-sig")
        if not re.search(r"^\s*reg\s*=", text, re.MULTILINE) or not re.search(
            r"^\s*\[reg\]", text, re.MULTILINE
        ):
            raise
        way = '`reg = "..."` and `[reg]` are one name to TOML: write `source = "..."` under [reg] instead'
        raise ConfigError(f"{error}; {way}") from error


def build_stages(
    settings: Settings, stages: Iterable[type[Stage]], defaults: Mapping[str, Any]
) -> tuple[Stage, ...]:
    """The stages with their settings: the section's, else the project's of the same name, else `defaults`.

    Args:
        settings: as loaded.
        stages: stage classes in order.
        defaults: values that belong to the chosen model family, such as resolution.
    Raises:
        ConfigError: unknown or out-of-range setting.
    """
    shared = {**defaults, **settings.project.model_dump(exclude_none=True)}
    built = []
    for stage in stages:
        values = {key: value for key, value in shared.items() if key in stage.model_fields}
        values |= settings.sections.get(stage.name, {})
        built.append(_validate(stage, values, settings.origin, settings.told, f"{stage.name}."))
    _agree({stage.name: stage for stage in built}, settings)
    return tuple(built)


# A threshold, and the floor under which no score is kept that it could be held against.
_FLOORS = (
    ("prune", "general_threshold", "tag"),
    ("prune", "character_threshold", "tag"),
    ("prune", "clip_threshold", "clip"),
)


def _agree(stages: Mapping[str, Stage], settings: Settings) -> None:
    """Raise ConfigError where one stage's setting leaves another's without effect."""
    for stage, name, other in _FLOORS:
        threshold, floor = getattr(stages.get(stage), name, None), getattr(stages.get(other), "floor", None)
        if threshold is not None and floor is not None and threshold < floor:
            where = settings.told.get(f"{stage}.{name}", settings.origin)
            raise ConfigError(
                f"{where}: {stage}.{name}: {threshold:g} is below {other}.floor ({floor:g}), under which no "
                f"score is kept; set {other}.floor = {threshold:g} too"
            )


def _override(text: str) -> tuple[list[str], Any]:
    """The setting's name in parts (setting; stage, setting; stage, setting, entry) and its value."""
    name, sign, raw = text.partition("=")
    parts = [part.strip() for part in name.split(".", 2)]
    if not sign or not all(parts):
        raise ConfigError(f"--set {text}: wanted stage.setting=value, such as dedup.max_distance=6")
    return parts, value_of(raw)


def _put(project: dict[str, Any], sections: dict[str, dict[str, Any]], name: list[str], value: Any) -> None:  # noqa: ANN401 - any TOML value
    *tables, setting = name
    place = sections.setdefault(tables[0], {}) if tables else project
    if len(tables) == 2:
        inner = place.get(tables[1], {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {'.'.join(name)}: {'.'.join(tables)} is {inner!r} and has no entries")
        place[tables[1]] = place = dict(inner)
    place[setting] = value


def _check_names(
    project: Iterable[str], sections: Iterable[str], stages: list[str], origin: str, told: Mapping[str, str]
) -> None:
    for name in sections:
        if name not in stages:
            where = next((flag for key, flag in told.items() if key.startswith(f"{name}.")), origin)
            raise ConfigError(f"{where}: [{name}]: there is no such stage{_closest(name, stages)}")
    for name in project:
        if name in stages and name not in Project.model_fields:
            raise ConfigError(
                f"{told.get(name, origin)}: {name}: this is a stage; wanted is one of its settings: "
                f"`dataprep explain {name}` lists them"
            )


def _closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(names))}"


def _validate(
    model: type[M], values: Mapping[str, Any], origin: str, told: Mapping[str, str], prefix: str
) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, e, origin, told, prefix) for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _explain(
    model: type[BaseModel],
    error: Any,  # noqa: ANN401 - pydantic's dict
    origin: str,
    told: Mapping[str, str],
    prefix: str,
) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if not name:  # a rule about several settings together
        return f"{origin}: {prefix.rstrip('.')}: {error['msg'].removeprefix('Value error, ')}"
    head = f"{told.get(prefix + str(error['loc'][0]), origin)}: {prefix}{name}"
    if error["type"] == "extra_forbidden":
        return f"{head}: no such setting{_closest(name, list(model.model_fields))}"
    known = model.model_fields.get(str(error["loc"][0])) if error["loc"] else None
    meaning = f" ({describe(known)})" if known is not None else ""
    if isinstance(error["input"], Mapping):  # a rule about what is in it: the message names that
        return f"{head}: {error['msg'].removeprefix('Value error, ')}{meaning}"
    return f"{head}: {error['input']!r}: {error['msg'].lower()}{meaning}"


def describe(info: Any) -> str:  # noqa: ANN401 - pydantic FieldInfo
    """A setting's meaning and allowed range in words, from its pydantic field."""
    rules = []
    for rule in info.metadata:
        for attribute, word in (
            ("ge", ">="),
            ("gt", ">"),
            ("le", "<="),
            ("lt", "<"),
            ("multiple_of", "multiple of"),
        ):
            limit = getattr(rule, attribute, None)
            if limit is not None:
                rules.append(f"{word} {limit:g}" if isinstance(limit, int | float) else f"{word} {limit}")
    text = info.description or ""
    return f"{text}; {', '.join(rules)}" if rules else text
