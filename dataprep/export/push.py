"""Put a prepared folder on the Hugging Face Hub: as an imagefolder with a data set card, private unless told.

Nothing leaves the machine before `push` is called with a plan, so that the plan can be shown first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from dataprep.errors import ConfigError, MachineError
from dataprep.export import imagefolder
from dataprep.export.prepared import Prepared, read_prepared, text, write
from dataprep.export.sync import Wanted
from dataprep.model_files import http_error

_EXAMPLE_CAPTIONS = 5
_NAMED = 5  # obsolete files in text
_WRITTEN = ("train/*", "class/*")  # the folders that are ours on the Hub; nothing else there is deleted
_TRY = "Check the network and `hf auth whoami`, then try again"


class About(Protocol):
    """The part of huggingface_hub.DatasetInfo that is used."""

    @property
    def private(self) -> bool | None:
        """Whether only its owner sees it."""

    @property
    def siblings(self) -> Sequence[Sibling] | None:
        """Its files."""


class Sibling(Protocol):
    """A file on the Hub."""

    @property
    def rfilename(self) -> str:
        """Its path in the repository."""


class Hub(Protocol):
    """The part of huggingface_hub.HfApi that is used."""

    def dataset_info(self, repo_id: str) -> About:
        """What is there."""

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> object:
        """Make a repository."""

    def upload_folder(
        self,
        *,
        repo_id: str,
        repo_type: str,
        folder_path: str,
        ignore_patterns: list[str],
        delete_patterns: list[str],
        commit_message: str,
    ) -> object:
        """Upload files."""


@dataclass(frozen=True)
class Remote:
    """What the Hub has under the repository's name."""

    exists: bool
    private: bool = True
    obsolete: tuple[str, ...] = ()  # files of an earlier upload that are no longer wanted, sorted


@dataclass(frozen=True)
class PushPlan:
    """What would be uploaded where."""

    prepared: Prepared
    repo: str  # owner/name
    private: bool
    wanted: tuple[Wanted, ...]
    bytes: int
    remote: Remote | None = None  # None: not asked

    def __str__(self) -> str:
        kind = "private" if self.private else "PUBLIC"
        return (
            f"{len(self.wanted)} files, {self.bytes / 1e6:.1f} MB, to the {kind} data set {self.repo}: "
            f"{len(self.prepared.train)} training pictures, {len(self.prepared.reg)} class pictures with "
            "captions, and a card"
        )

    @property
    def there(self) -> str:
        """What the Hub has already and what becomes of it, "" if it was not asked."""
        if self.remote is None:
            return ""
        if not self.remote.exists:
            return f"{self.repo} is not on the Hub yet: it would be made"
        lines = [f"{self.repo} is on the Hub and is {'private' if self.remote.private else 'PUBLIC'}"]
        if self.remote.private != self.private:
            lines.append(f"it would be refused: {self._mismatch()}")
        if gone := self.remote.obsolete:
            more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
            lines.append(f"{len(gone)} files there would be deleted: {', '.join(gone[:_NAMED])}{more}")
        return "\n".join(lines)

    def _mismatch(self) -> str:
        if self.private:
            return "everybody can see it; add --public if that is meant, or make it private on the Hub first"
        return "it is private and --public was given; leave --public out, or make it public on the Hub first"

    def check_visibility(self) -> None:
        """Raise ConfigError where the repository's visibility is not the wanted one."""
        if self.remote is not None and self.remote.exists and self.remote.private != self.private:
            raise ConfigError(f"{self.repo}: nothing was sent: {self._mismatch()}")


def plan_push(directory: Path, repo: str, *, public: bool = False) -> PushPlan:
    """Look at what would be uploaded; nothing is sent.

    Raises:
        ConfigError: `repo` is not owner/name.
        InputError: the folder is not a prepared one.
    """
    from dataprep.run import read_manifest

    owner, _, name = repo.partition("/")
    if not owner or not name or "/" in name:
        raise ConfigError(f"{repo}: wanted a repository as owner/name")
    table, metadata = read_manifest(directory)
    prepared = read_prepared(directory.resolve(), table, metadata)
    files, _ = imagefolder.files(prepared, Path())
    card = text("README.md", data_set_card(prepared, metadata))
    size = sum(picture.file.stat().st_size for picture in prepared.pictures)
    return PushPlan(prepared, repo, not public, (*files, card), size)


def ask(plan: PushPlan, hub: Hub | None = None) -> PushPlan:
    """The plan with what is on the Hub already.

    Raises:
        MachineError: the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    hub = hub or HfApi()
    try:
        about = hub.dataset_info(plan.repo)
    except RepositoryNotFoundError:
        return replace(plan, remote=Remote(exists=False))
    except (http_error(), OSError) as error:
        raise MachineError(f"{plan.repo}: the Hub did not tell what is there: {error}. {_TRY}") from error
    wanted = {item.file for item in plan.wanted}
    there = [sibling.rfilename for sibling in about.siblings or ()]
    ours = [file for file in there if any(fnmatchcase(file, pattern) for pattern in _WRITTEN)]
    obsolete = tuple(sorted(set(ours) - wanted))
    # Where the Hub does not say, everybody may see it: the careful reading.
    return replace(plan, remote=Remote(exists=True, private=bool(about.private), obsolete=obsolete))


def push(plan: PushPlan, hub: Hub | None = None) -> str:
    """Upload.

    Args:
        plan: what and where.
        hub: huggingface_hub.HfApi by default, with the login that `hf auth login` has stored.
    Returns:
        The data set's address.
    Raises:
        ConfigError: the repository is there, and is not as private or public as wanted.
        MachineError: the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    hub = hub or HfApi()
    plan = ask(plan, hub)
    plan.check_visibility()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "set"
        write(plan.prepared, folder, plan.wanted)
        try:
            hub.create_repo(plan.repo, repo_type="dataset", private=plan.private, exist_ok=True)
            hub.upload_folder(
                repo_id=plan.repo,
                repo_type="dataset",
                folder_path=str(folder),
                ignore_patterns=[".dataprep/*"],
                delete_patterns=list(_WRITTEN),  # of these, the Hub deletes what is not sent
                commit_message="Upload the prepared data set",
            )
        except (http_error(), OSError) as error:
            raise MachineError(
                f"{plan.repo}: could not be uploaded: {error}. {_TRY}: what has arrived is not sent twice"
            ) from error
    return f"https://huggingface.co/datasets/{plan.repo}"


def data_set_card(prepared: Prepared, metadata: dict[str, Any]) -> str:
    """README.md of the data set: what it holds, how it was made, how to load it."""
    buckets = Counter(f"{picture.size[0]}x{picture.size[1]}" for picture in prepared.train)
    models = {kind: model.get("name") for kind, model in metadata.get("models", {}).items()}
    examples = [f"- `{picture.caption}`" for picture in prepared.train[:_EXAMPLE_CAPTIONS]]
    return f"""---
task_categories: [text-to-image]
tags: [lora, dreambooth]
size_categories: [{_size_category(len(prepared.pictures))}]
configs:
- config_name: default
  data_files:
  - split: train
    path: train/**
---
# {prepared.name}

{len(prepared.train)} pictures with captions for training a text-to-image model{_trigger(prepared)}.
{len(prepared.reg)} class pictures for prior preservation lie in `class/`.

- buckets: {", ".join(f"{name} ({count})" for name, count in buckets.most_common())}
- repeats: {prepared.repeats}
- made by dataprep {metadata.get("version", "")} with {json.dumps(models)}

Captions, for example:

{chr(10).join(examples)}

Before you publish: see that you may, and say here under which licence.
"""


def _size_category(pictures: int) -> str:
    """In the Hub's words."""
    steps = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    return next((name for limit, name in steps.items() if pictures < limit), "1M<n<10M")


def _trigger(prepared: Prepared) -> str:
    return f"; the trigger word is `{prepared.trigger}`" if prepared.trigger else ""
