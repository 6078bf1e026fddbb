"""Names of any script reach files and pipes, as on Windows, where these have a small code page."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = "from dataprep.streams import prepare_streams; prepare_streams(); print('星 \\U0001f600 \\udcff')"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_pipe_gets_utf_8_whatever_the_code_page(encoding: str) -> None:
    environment = {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", SAY], capture_output=True, check=True, env=environment)
    assert done.stdout.decode("utf-8").split() == ["星", "\U0001f600", "?"]
