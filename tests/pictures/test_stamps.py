from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from dataprep.errors import RowError
from dataprep.pictures.stamps import Stamps
from dataprep.stage import Context
from dataprep.stages.crop import Crop
from dataprep.stages.scan import Scan


def test_a_file_that_was_never_listed_is_taken_as_it_is(tmp_path: Path) -> None:
    Stamps().check(tmp_path / "nothing.png")


def test_a_listed_file_may_be_read_and_copied_but_not_changed_or_removed(tmp_path: Path) -> None:
    file, stamps = tmp_path / "a.png", Stamps()
    file.write_bytes(b"one")
    stamps.note(file, file.stat())
    (tmp_path / "b.png").hardlink_to(file)
    stamps.check(file)
    file.write_bytes(b"four")
    with pytest.raises(RowError, match="changed") as caught:
        stamps.check(file)
    assert caught.value.transient
    file.unlink()
    with pytest.raises(RowError, match="io"):
        stamps.check(file)


def test_that_a_file_changed_explains_why_it_cannot_be_decoded(tmp_path: Path) -> None:
    file, stamps = tmp_path / "a.png", Stamps()
    file.write_bytes(b"whole")
    stamps.note(file, file.stat())

    def decode() -> Image.Image:
        file.write_bytes(b"half of the next")
        raise RowError("decode", "truncated")

    with pytest.raises(RowError, match="changed"):
        stamps.guarded(file, decode)


def test_results_of_a_picture_saved_over_during_a_run_are_not_stored_as_the_old_ones(
    context: Context, placed_row: Callable[..., dict[str, Any]], as_table: Callable[..., pa.Table]
) -> None:
    placed_row("a.png")
    placed_row("b.png")
    (changed, same) = Scan(min_side=1).open(context)(pa.table({})).to_pylist()
    Image.new("RGB", (128, 64), "red").save(context.raw / "a.png")
    os.utime(context.raw / "a.png", ns=(0, 0))
    found = Crop().open(context)(as_table([changed, same])).to_pylist()
    assert found[0]["error"].startswith("changed: the file changed after it was listed")
    assert [row["transient"] for row in found] == [True, False]
    assert found[1]["error"] is None
