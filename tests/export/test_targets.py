from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.export.prepared import Prepared
from dataprep.export.targets import TARGETS, export_to


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_writes_once_and_says_how_to_go_on(
    prepared: Prepared, tmp_path: Path, name: str
) -> None:
    report, usage = export_to(prepared.directory, name, tmp_path / "export")
    assert report.written
    assert usage
    again, _ = export_to(prepared.directory, name, tmp_path / "export")
    assert (again.written, again.removed, again.edited) == ([], [], [])


def test_an_edited_configuration_is_kept(prepared: Prepared, tmp_path: Path) -> None:
    export_to(prepared.directory, "onetrainer", tmp_path / "export")
    (tmp_path / "export" / "concepts.json").write_text("[]")
    report, _ = export_to(prepared.directory, "onetrainer", tmp_path / "export")
    assert report.edited == ["concepts.json"]


def test_an_unknown_target_is_named_with_the_known_ones(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"known are onetrainer, ai-toolkit"):
        export_to(prepared.directory, "nothing", tmp_path / "export")
