from __future__ import annotations

from dataprep.check import CODES
from dataprep.export.difference import CODES as DIFFERENCES
from dataprep.export.difference import OPTIONS, OTHERWISE, Difference


def test_a_difference_is_its_text_and_knows_its_code() -> None:
    found = Difference("dataset.toml: no resolution", OPTIONS)
    assert found == "dataset.toml: no resolution"
    assert found.code == OPTIONS
    assert Difference("a.png: bucket").code == OTHERWISE


def test_every_code_can_be_waived() -> None:
    assert DIFFERENCES <= CODES
