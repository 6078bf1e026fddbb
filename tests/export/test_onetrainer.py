from __future__ import annotations

import json
from pathlib import Path

from dataprep.export.prepared import Prepared
from dataprep.export.targets import export_to

# OneTrainer's rules: ConceptConfig version 1 (unknown names are dropped, types are checked),
# pictures by suffix in the concept's folder, captions from the .txt of the same stem (its first line)
# when prompt_source is "sample".
TYPES = {
    "__version": int, "name": str, "path": str, "enabled": bool, "include_subdirectories": bool,
    "balancing": float, "balancing_strategy": str, "loss_weight": float, "image": dict, "text": dict,
}  # fmt: skip
SUFFIXES = {".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".png", ".webp"}


def read(file: Path) -> list[tuple[str, float, dict[str, str]]]:
    concepts = []
    for concept in json.loads(file.read_text("utf-8")):
        assert {name: type(value) for name, value in concept.items()} == TYPES
        assert concept["balancing_strategy"] in ("REPEATS", "SAMPLES")
        assert concept["text"]["prompt_source"] == "sample"
        folder = Path(concept["path"])
        pictures = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
        captions = {
            path.stem: path.with_suffix(".txt").read_text("utf-8").splitlines()[0] for path in pictures
        }
        concepts.append((concept["name"], concept["balancing"], captions))
    return concepts


def test_onetrainer_reads_both_concepts_balanced(prepared: Prepared, tmp_path: Path) -> None:
    export_to(prepared.directory, "onetrainer", tmp_path / "export")
    train, reg = read(tmp_path / "export" / "concepts.json")
    assert train == ("sks", 2.0, {picture.stem: picture.caption for picture in prepared.train})
    assert reg == ("girl (class)", 3.0, {"c": "girl", "dd": "girl"})
    assert train[1] * len(train[2]) == reg[1] * len(reg[2])
