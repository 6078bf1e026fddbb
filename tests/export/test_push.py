from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dataprep.errors import ConfigError, MachineError
from dataprep.export.prepared import Prepared
from dataprep.export.push import plan_push, push


class FakeHub:
    """Stands for the Hub: remembers what it is sent."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.repo: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}

    def create_repo(self, repo_id: str, **options: Any) -> None:
        if self.error:
            raise self.error
        self.repo = {"id": repo_id, **options}

    def upload_folder(self, *, folder_path: str, ignore_patterns: list[str], **options: Any) -> None:
        assert ignore_patterns == [".dataprep/*"]
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


def test_a_refusal_says_what_to_check(prepared: Prepared) -> None:
    with pytest.raises(MachineError, match="hf auth whoami"):
        push(plan_push(prepared.directory, "me/set"), FakeHub(OSError("no network")))


@pytest.mark.parametrize("repo", ["set", "a/b/c", "/x", "x/"])
def test_a_repository_needs_owner_and_name(prepared: Prepared, repo: str) -> None:
    with pytest.raises(ConfigError, match="owner/name"):
        plan_push(prepared.directory, repo)
