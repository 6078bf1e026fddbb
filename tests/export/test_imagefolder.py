from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataprep.export.prepared import Prepared
from dataprep.export.targets import export_to


def read(folder: Path) -> dict[str, str]:
    """The rules of `datasets`: metadata.jsonl names every picture beside it, and each name exists."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
    assert {row["file_name"] for row in rows} == {path.name for path in folder.glob("*.png")}
    assert len({tuple(sorted(row)) for row in rows}) == 1
    return {row["file_name"]: row["text"] for row in rows}


def test_datasets_reads_training_and_class_pictures_apart(prepared: Prepared, tmp_path: Path) -> None:
    export_to(prepared.directory, "imagefolder", tmp_path / "export")
    assert read(tmp_path / "export" / "train") == {f"{p.stem}.png": p.caption for p in prepared.train}
    assert read(tmp_path / "export" / "class") == {f"{p.stem}.png": p.caption for p in prepared.reg}


@pytest.mark.slow
def test_datasets_itself_loads_it(prepared: Prepared, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export_to(prepared.directory, "imagefolder", tmp_path / "export")
    for folder, pictures in (("train", prepared.train), ("class", prepared.reg)):
        loaded = datasets.load_dataset(
            "imagefolder", data_dir=str(tmp_path / "export" / folder), split="train", cache_dir=str(tmp_path)
        )
        assert sorted(loaded["text"]) == sorted(picture.caption for picture in pictures)
        sizes = {row["text"]: row["image"].size for row in loaded}
        assert sizes == {picture.caption: picture.size for picture in pictures}
        assert set(loaded.column_names) >= {"image", "text", "repeats"}
