"""What a check finds, and what it looks at: a prepared folder, its manifest, what the trainer will read."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.curate.captions import tag_key
from dataprep.curate.edits import Found, Lead
from dataprep.curate.snapshots import edited_files
from dataprep.curate.taken import is_unfinished
from dataprep.errors import InputError, ModelError
from dataprep.export.difference import Difference
from dataprep.export.kohya_reader import KohyaView, differences, read_folder
from dataprep.folders import check_prepared
from dataprep.inference.tagger import read_labels
from dataprep.manifest import ACTIVE, QUARANTINED
from dataprep.tags.tokens import BUDGETS

Severity = Literal["serious", "warning", "note"]
Row = dict[str, Any]

_NAMED = 5  # images named in text; JSON has all


@dataclass(frozen=True)
class Finding:
    """One thing that stands between the folder and a good training."""

    code: str  # what `waive` takes
    severity: Severity  # serious: do not train; warning: look first; note: know
    title: str
    images: tuple[str, ...]  # prepared files, or raw paths of pictures that have none
    why: str
    what_to_do: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.severity.upper()} {self.code}: {self.title}"]
        if self.images:
            more = f" and {len(self.images) - _NAMED} more" if len(self.images) > _NAMED else ""
            lines.append(f"  {', '.join(self.images[:_NAMED])}{more}")
        return "\n".join([*lines, f"  why: {self.why}", f"  do: {self.what_to_do}"])


@dataclass(frozen=True)
class Prepared:
    """A prepared folder as the checks see it."""

    directory: Path
    table: pa.Table
    about: Mapping[str, Any]  # the manifest's metadata

    @classmethod
    def read(cls, directory: Path) -> Prepared:
        """Read the manifest. Raises InputError if there is none or it is damaged."""
        path = check_prepared(directory)
        try:
            table = pq.read_table(path)
            return cls(directory, table, json.loads((table.schema.metadata or {})[b"dataprep"]))
        except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: damaged or not a dataprep manifest; run `dataprep run` again"
            ) from error

    @cached_property
    def rows(self) -> list[Row]:
        """All rows."""
        rows: list[Row] = self.table.to_pylist()
        return rows

    @cached_property
    def train(self) -> list[Row]:
        """Pictures to be trained."""
        return [row for row in self.rows if row["role"] == "train" and row["state"] == ACTIVE]

    @cached_property
    def reg(self) -> list[Row]:
        """Class images in use."""
        return [row for row in self.rows if row["role"] == "reg" and row["state"] == ACTIVE]

    @cached_property
    def quarantined(self) -> list[Row]:
        """Files that could not be used."""
        return [row for row in self.rows if row["state"] == QUARANTINED]

    def setting(self, section: str, name: str) -> Any:  # noqa: ANN401 - any setting's value
        """A setting of the last run, None if it had none of this name."""
        return self.about.get("settings", {}).get(section, {}).get(name)

    @property
    def lead(self) -> Lead:
        """What training captions start with."""
        return Lead(self.about.get("trigger"), self.about.get("class_word"))

    @property
    def purpose(self) -> str:
        """What the LoRA shall learn."""
        return self.setting("project", "purpose") or "character"

    @cached_property
    def tagger_tags(self) -> tuple[str, ...]:
        """All tags that the last run's tagger knows; none where it had none, or its files are gone."""
        path = (self.about.get("models", {}).get("tagger") or {}).get("path")
        try:
            return () if path is None else read_labels(Path(path)).tags
        except ModelError:
            return ()

    @cached_property
    def trained_tokens(self) -> int | None:
        """Tokens of a caption that train.toml lets the trainer read, None where there is no such file."""
        try:
            found = tomllib.loads((self.directory / "train.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        flat = {
            **found,
            **{k: v for part in found.values() if isinstance(part, dict) for k, v in part.items()},
        }
        length = flat.get("max_token_length", BUDGETS[0])
        return length if length in BUDGETS else None

    @cached_property
    def view(self) -> KohyaView | InputError:
        """What sd-scripts would train, or why it would train nothing."""
        try:
            return read_folder(self.directory)
        except InputError as error:
            return error

    @cached_property
    def differences(self) -> list[Difference]:
        """What sd-scripts would train otherwise than the manifest says."""
        return [] if isinstance(self.view, InputError) else differences(self.view, self.table)

    @cached_property
    def edits(self) -> list[Found]:
        """What people changed since the last run, and the next one takes over."""
        return [found for found in self._found if found.kind != "unreadable"]

    @cached_property
    def unreadable(self) -> dict[str, str]:
        """Caption files in an encoding that their bytes leave open -> what may be in them."""
        return {found.file: found.note or "" for found in self._found if found.kind == "unreadable"}

    @cached_property
    def _found(self) -> list[Found]:
        return edited_files(self.directory)

    def readable(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the rows whose caption file the trainer can read."""
        known = [row for row in rows if row.get("caption_file") not in self.unreadable]
        return [row for row in known if self.caption(row) or _is_utf8(self.directory, row)]

    @cached_property
    def unfinished(self) -> bool:
        """Whether the last run was killed."""
        return is_unfinished(self.directory)

    @cached_property
    def _trained(self) -> dict[str, str]:
        return {} if isinstance(self.view, InputError) else {p.file: p.caption for p in self.view.pictures}

    def caption(self, row: Row) -> str:
        """The caption that will be trained: the file's, the manifest's where there is no file."""
        return self._trained.get(row.get("image_file") or "", row.get("caption") or "")

    def tags(self, row: Row) -> tuple[str, ...]:
        """Keys of the caption's tags without what this program puts first, in order."""
        keys = tuple(tag_key(tag) for tag in self.lead.tags(self.caption(row), row["role"]))
        alone = self.lead.trigger is None and self.lead.class_word is not None
        return keys[1:] if alone and keys[:1] == (tag_key(self.lead.class_word or ""),) else keys

    @property
    def learned(self) -> str:
        """What training binds the pictures to, in words."""
        return "the trigger word" if self.lead.trigger else "the words of the captions"


def _is_utf8(directory: Path, row: Row) -> bool:
    """Whether a caption file, if there is one, is in the one encoding that trainers read."""
    try:
        (directory / str(row.get("caption_file"))).read_bytes().decode()
    except UnicodeDecodeError:
        return False
    except OSError:
        return True  # told as missing
    return True


def name(row: Row) -> str:
    """How a picture is named to people."""
    return str(row.get("image_file") or row["path"])


def names(rows: Iterable[Row]) -> tuple[str, ...]:
    """How pictures are named to people, sorted."""
    return tuple(sorted(name(row) for row in rows))


def listed(words: Iterable[str], most: int = 8) -> str:
    """Words for a sentence, the first few of them."""
    known = list(words)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def plural(count: int, noun: str) -> str:
    """ "1 caption", "2 captions"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
