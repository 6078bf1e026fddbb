"""`dataprep explain`: settings, defaults, ranges and columns, read from the classes that own them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dataprep.errors import ConfigError
from dataprep.manifest import BOX, SCORE, TAG
from dataprep.pipeline import STAGES
from dataprep.settings import Project, describe
from dataprep.stage import Stage

_NAMED_TYPES = {BOX: "box", SCORE: "score", TAG: "tag"}


def explain_text(topic: str | None) -> str:
    """Everything about one stage, about `train`, or (None) the project settings and the chain, as Markdown.

    Raises:
        ConfigError: there is no such topic.
    """
    if topic is None:
        chain = "\n".join(f"- `{stage.name}`: {_first_line(stage)}" for stage in STAGES)
        return (
            f"## Settings of the project\n\n{settings_table(Project)}\n"
            f"## The chain\n\n{chain}\n\nMore: dataprep explain STAGE, dataprep explain train\n"
        )
    if topic == "train":
        from dataprep.train.config import TrainConfig

        return f"## train.toml\n\n{settings_table(TrainConfig)}"
    for stage in STAGES:
        if stage.name == topic:
            return stage_text(stage)
    names = ", ".join([*(stage.name for stage in STAGES), "train"])
    raise ConfigError(f"explain {topic}: no such topic; there are {names}")


def stage_text(stage: type[Stage]) -> str:
    """One stage: what it does, its settings, the columns it reads and adds."""
    return (
        f"## {stage.name}\n\n{inspect.cleandoc(stage.__doc__ or '')}\n\n"
        f"{settings_table(stage)}\n"
        f"Reads: {_columns(stage.needs)}\n\nAdds: {_columns(stage.adds)}\n"
    )


def settings_table(model: type[BaseModel]) -> str:
    """A Markdown table of a settings class: name, type, default, meaning with range."""
    if not model.model_fields:
        return "No settings.\n"
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        lines.append(f"| `{name}` | {_type(info.annotation)} | {_default(info)} | {describe(info)} |")
    return "\n".join(lines) + "\n"


def _first_line(stage: type[Stage]) -> str:
    return inspect.cleandoc(stage.__doc__ or "").split("\n")[0]


def _columns(schema: Iterable[pa.Field]) -> str:
    return ", ".join(f"`{field.name}` {_arrow_type(field.type)}" for field in schema) or "nothing"


def _arrow_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_arrow_type(kind.value_type)}"
    return _NAMED_TYPES.get(kind, str(kind))


def _type(annotation: Any) -> str:  # noqa: ANN401 - a type expression
    if get_origin(annotation) is Literal:
        return " or ".join(str(value) for value in get_args(annotation))
    arguments = get_args(annotation)
    if arguments and type(None) in arguments:
        return " or ".join(_type(a) for a in arguments if a is not type(None)) + " or none"
    if arguments:
        origin = getattr(get_origin(annotation), "__name__", str(annotation))
        return f"{origin} of {', '.join(_type(a) for a in arguments if a is not Ellipsis)}"
    return getattr(annotation, "__name__", str(annotation))


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True) if info.default_factory is None else "computed"
    if value is None or value == "" or value == () or value == []:
        return "none"
    return f"`{value}`" if not isinstance(value, bool) else f"`{str(value).lower()}`"
