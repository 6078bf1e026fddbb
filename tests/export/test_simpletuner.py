from __future__ import annotations

import json
from pathlib import Path

from dataprep.export.prepared import Prepared
from dataprep.export.targets import export_to


def test_simpletuner_reads_its_backends(prepared: Prepared, tmp_path: Path) -> None:
    export_to(prepared.directory, "simpletuner", tmp_path / "export")
    backends = json.loads((tmp_path / "export" / "multidatabackend.json").read_text("utf-8"))
    assert len({backend["id"] for backend in backends}) == 3
    train, reg, texts = backends
    # One text_embeds backend is the default; a repeats of 0 means once; caches are no two backends' own.
    assert (texts["dataset_type"], texts["default"]) == ("text_embeds", True)
    assert (train["repeats"], reg["repeats"]) == (1, 2)
    assert train["cache_dir_vae"] != reg["cache_dir_vae"]
    for backend, pictures in ((train, prepared.train), (reg, prepared.reg)):
        assert (backend["type"], backend["dataset_type"], backend["caption_strategy"]) == (
            "local",
            "image",
            "textfile",
        )
        # Its rule: each line of the .txt beside a picture is one caption.
        found = {
            path.stem: path.with_suffix(".txt").read_text("utf-8").splitlines()
            for path in Path(backend["instance_data_dir"]).glob("*.png")
        }
        assert found == {picture.stem: [picture.caption] for picture in pictures}
