from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub.errors import RepositoryNotFoundError

from dataprep.errors import ConfigError, MachineError
from dataprep.export.prepared import Prepared
from dataprep.export.push import ask, data_set_card, plan_push, push
from dataprep.model_files import http_error


def httpx_module() -> Any:
    """The HTTP client of this version of the hub."""
    return importlib.import_module(http_error().__module__.partition(".")[0])


class FakeHub:
    """Stands for the Hub: remembers what it is sent."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.repo: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.there: list[str] | None = None  # files of a repository that exists
        self.private: bool | None = True

    def dataset_info(self, repo_id: str) -> SimpleNamespace:
        if self.error:
            raise self.error
        if self.there is None:
            response = httpx_module().Response(404, request=httpx_module().Request("GET", "https://hub"))
            raise RepositoryNotFoundError(repo_id, response=response)
        return SimpleNamespace(
            private=self.private, siblings=[SimpleNamespace(rfilename=file) for file in self.there]
        )

    def create_repo(self, repo_id: str, **options: Any) -> None:
        if self.error:
            raise self.error
        self.repo = {"id": repo_id, **options}

    def upload_folder(
        self, *, folder_path: str, ignore_patterns: list[str], delete_patterns: list[str], **options: Any
    ) -> None:
        assert ignore_patterns == [".dataprep/*"]
        assert delete_patterns == ["train/*", "class/*"]
        for path in Path(folder_path).rglob("*"):
            if path.is_file() and ".dataprep" not in path.parts:
                self.files[path.relative_to(folder_path).as_posix()] = path.read_bytes()


def test_a_plan_sends_nothing_and_says_what_would_be_sent(prepared: Prepared) -> None:
    text = str(plan_push(prepared.directory, "me/set"))
    assert "private data set me/set: 3 training pictures, 2 class pictures" in text
    assert "PUBLIC" in str(plan_push(prepared.directory, "me/set", public=True))


def test_an_imagefolder_with_a_card_arrives_in_a_private_repository(prepared: Prepared) -> None:
    hub = FakeHub()
    address = push(plan_push(prepared.directory, "me/set"), hub)
    assert address.endswith("/me/set")
    assert (hub.repo["private"], hub.repo["repo_type"]) == (True, "dataset")
    assert set(hub.files) == {
        "README.md", "train/a.png", "train/b.x.png", "train/星.png", "train/metadata.jsonl",
        "class/c.png", "class/dd.png", "class/metadata.jsonl",
    }  # fmt: skip
    front = yaml.safe_load(hub.files["README.md"].decode().split("---")[1])
    assert front["configs"][0]["data_files"][0] == {"split": "train", "path": "train/**"}


@pytest.mark.parametrize(
    ("pictures", "said"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (10_000, "10K<n<100K"), (100_000, "100K<n<1M"), (10**6, "1M<n<10M")],
)
def test_the_card_says_how_many_pictures_there_are_in_the_hubs_words(
    prepared: Prepared, pictures: int, said: str
) -> None:
    many = replace(prepared, pictures=prepared.pictures[:1] * pictures)
    assert f"size_categories: [{said}]" in data_set_card(many, {})


def test_a_refusal_says_what_to_check(prepared: Prepared) -> None:
    with pytest.raises(MachineError, match="hf auth whoami"):
        push(plan_push(prepared.directory, "me/set"), FakeHub(OSError("no network")))


@pytest.mark.parametrize("repo", ["set", "a/b/c", "/x", "x/"])
def test_a_repository_needs_owner_and_name(prepared: Prepared, repo: str) -> None:
    with pytest.raises(ConfigError, match="owner/name"):
        plan_push(prepared.directory, repo)


@pytest.mark.parametrize(("private", "public"), [(False, False), (None, False), (True, True)])
def test_a_repository_of_another_visibility_is_told_and_nothing_is_sent(
    prepared: Prepared, private: bool | None, public: bool
) -> None:
    hub = FakeHub()
    hub.there, hub.private = [], private
    plan = plan_push(prepared.directory, "me/set", public=public)
    told = ask(plan, hub).there
    assert f"me/set is on the Hub and is {'private' if private else 'PUBLIC'}" in told
    assert "it would be refused" in told
    with pytest.raises(ConfigError, match=r"nothing was sent.*--public"):
        push(plan, hub)
    assert (hub.repo, hub.files) == ({}, {})


def test_a_repository_of_the_wanted_visibility_is_filled(prepared: Prepared) -> None:
    hub = FakeHub()
    hub.there, hub.private = [], False
    push(plan_push(prepared.directory, "me/set", public=True), hub)
    assert "train/a.png" in hub.files


def test_the_dry_run_names_files_that_would_be_deleted_and_only_ours(prepared: Prepared) -> None:
    hub = FakeHub()
    plan = plan_push(prepared.directory, "me/set")
    assert "not on the Hub yet" in ask(plan, hub).there
    hub.there = [
        "README.md",
        ".gitattributes",
        "notes/mine.txt",
        "train/a.png",
        "train/gone.png",
        "class/old.png",
    ]
    asked = ask(plan, hub)
    assert asked.remote is not None
    assert asked.remote.obsolete == ("class/old.png", "train/gone.png")
    assert "2 files there would be deleted: class/old.png, train/gone.png" in asked.there
    assert hub.files == {}
