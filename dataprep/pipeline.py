"""The chain, in order. A new stage is one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from dataprep.errors import ConfigError, StageError
from dataprep.stage import Stage
from dataprep.stages.bucket import Bucket
from dataprep.stages.caption import Caption
from dataprep.stages.clip import Clip
from dataprep.stages.crop import Crop
from dataprep.stages.curate import Curate
from dataprep.stages.dedup import Dedup
from dataprep.stages.export import Export
from dataprep.stages.fingerprint import Fingerprint
from dataprep.stages.latents import Latents
from dataprep.stages.mask import Mask
from dataprep.stages.prune import Prune
from dataprep.stages.reg import Reg
from dataprep.stages.scan import Scan
from dataprep.stages.split import Split
from dataprep.stages.tag import Tag
from dataprep.stages.texts import Texts

STAGES: tuple[type[Stage], ...] = (
    Scan,
    Curate,
    Fingerprint,
    Dedup,
    Crop,
    Split,
    Bucket,
    Tag,
    Clip,
    Caption,
    Prune,
    Reg,
    Texts,
    Latents,
    Export,
    Mask,
)

# What a chain that stops early still needs so that its folder can be looked at and edited by hand.
_ALWAYS_AFTER = {
    **dict.fromkeys(("tag", "clip", "caption"), ("prune", "reg")),
    "prune": ("reg",),
}


@dataclass(frozen=True)
class Chain:
    """The stages of one run, checked: every needed column is there, with its type, before any work."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        have: dict[str, pa.DataType] = {}
        for stage in self.stages:
            for field in stage.needs:
                if field.name not in have:
                    raise StageError(
                        f"{stage.name}: needs column {field.name!r}, which no earlier stage adds"
                    )
                if have[field.name] != field.type:
                    raise StageError(
                        f"{stage.name}: needs column {field.name!r} as {field.type}, it is {have[field.name]}"
                    )
            have.update({field.name: field.type for field in stage.adds})

    def until(self, name: str | None) -> tuple[Stage, ...]:
        """The stages up to and including `name`, then those a folder for hand editing needs, then the sinks.

        Pruning that lies beyond `name` only assembles captions: it absorbs nothing.

        Raises:
            ConfigError: no stage of this name.
        """
        if name is None:
            return self.stages
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise ConfigError(f"--until {name}: there is no such stage; the stages are {', '.join(names)}")
        cut = names.index(name)
        later = _ALWAYS_AFTER.get(name, ())
        chosen = list(self.stages[: cut + 1])
        for stage in self.stages[cut + 1 :]:
            if stage.name in later:
                chosen.append(
                    stage.model_copy(update={"absorbing": False}) if stage.name == "prune" else stage
                )
            elif stage.scope == "sink":
                chosen.append(stage)
        return tuple(chosen)
