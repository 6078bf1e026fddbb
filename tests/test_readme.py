"""The README cannot drift from the program: its commands, stages and settings are the real ones."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataprep.cli import app
from dataprep.pipeline import STAGES
from dataprep.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_opens_with_the_two_commands_that_the_makefile_has() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    first_block = README.split("```")[1]
    for target in re.findall(r"make (\S+)", first_block):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make demo" in first_block
    assert "make test" in first_block


def test_every_stage_stands_in_the_readmes_table_in_order() -> None:
    rows = re.findall(r"^\| (\w+) \|", README, re.MULTILINE)
    names = [stage.name for stage in STAGES]
    assert [row for row in rows if row in names] == names


def test_every_command_of_the_readme_exists_and_every_command_is_there() -> None:
    listed = CliRunner().invoke(app, ["--help"]).output
    commands = set(re.findall(r"^│ (\w+) ", listed, re.MULTILINE))
    named = set(re.findall(r"^dataprep (\w+)", README, re.MULTILINE))
    assert named == commands


def test_the_readmes_settings_are_accepted(tmp_path: Path) -> None:
    text = next(block for block in README.split("```toml")[1:]).split("```")[0]
    (tmp_path / "dataprep.toml").write_text(text, encoding="utf-8")
    settings = load_settings(tmp_path, None, {}, (), STAGES)
    assert settings.project.trigger == tomllib.loads(text)["trigger"]


@pytest.mark.parametrize("path", re.findall(r"^- `([\w/.]+\.md)`", README, re.MULTILINE))
def test_the_files_that_the_readme_points_to_exist(path: str) -> None:
    assert (ROOT / path).is_file()


ROOMS = (
    "pictures",
    "copies",
    "framing",
    "curate",
    "training",
    "lora",
)  # whose files the map names one by one


def test_every_room_and_file_stands_on_the_houses_map() -> None:
    package = ROOT / "dataprep"
    house = (package / "README.md").read_text(encoding="utf-8").split("```")[1]
    files = [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    rooms = [f"{path.parent.name}/" for path in package.glob("*/__init__.py")]
    assert [name for name in files + rooms if not re.search(rf"(?m)(^|\W){re.escape(name)}", house)] == []
    for room in ROOMS:
        told = re.search(rf"(?m)^{room}/ (.*\n( .*\n)*)", house)
        names = [path.stem for path in (package / room).glob("*.py") if path.name != "__init__.py"]
        assert told
        assert [name for name in names if not re.search(rf"\b{name}\b", told[1])] == []
