from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import yaml

from dataprep.export.aitoolkit import files
from dataprep.export.kohya_rules import Family
from dataprep.export.prepared import Prepared
from dataprep.export.targets import export_to

# ai-toolkit's DatasetConfig; other names are ignored there without a word.
KNOWN = {
    "folder_path", "caption_ext", "resolution", "buckets", "bucket_tolerance", "num_repeats", "is_reg",
    "keep_tokens", "shuffle_tokens", "caption_dropout_rate", "cache_latents_to_disk",
}  # fmt: skip


def test_ai_toolkit_reads_the_job(prepared: Prepared, tmp_path: Path) -> None:
    export_to(prepared.directory, "ai-toolkit", tmp_path / "export")
    document = yaml.safe_load((tmp_path / "export" / "job.yaml").read_text("utf-8"))
    assert document["job"] == "extension"
    process = document["config"]["process"][0]
    assert process["type"] == "sd_trainer"
    assert process["train"]["lr"] == 1e-4
    train, reg = process["datasets"]
    assert set(train) == set(reg) == KNOWN
    assert (train["is_reg"], train["num_repeats"]) == (False, 2)
    assert (reg["is_reg"], reg["num_repeats"]) == (True, 3)
    for dataset, pictures in ((train, prepared.train), (reg, prepared.reg)):
        # Its rule: pictures by suffix, the caption in the file of the same path with caption_ext.
        found = {
            path.stem: path.with_suffix(f".{dataset['caption_ext']}").read_text("utf-8").strip()
            for path in Path(dataset["folder_path"]).glob("*.png")
        }
        assert found == {picture.stem: picture.caption for picture in pictures}
        # Sizes that are multiples of the tolerance and no larger than the area are left as they are.
        for picture in pictures:
            assert all(side % dataset["bucket_tolerance"] == 0 for side in picture.size)
            assert picture.size[0] * picture.size[1] <= dataset["resolution"][0] ** 2


@pytest.mark.parametrize("family", get_args(Family))
def test_every_family_names_its_own_model_and_schedule(
    prepared: Prepared, tmp_path: Path, family: Family
) -> None:
    wanted, _ = files(replace(prepared, family=family), tmp_path)
    job = next(item.make() for item in wanted if item.file == "job.yaml")
    process = yaml.safe_load(job)["config"]["process"][0]
    marks = {"sd1": None, "sd2": "is_v2", "sdxl": "is_xl", "sd3": "is_v3", "flux": "is_flux"}
    assert {name for name in process["model"] if name.startswith("is_")} == {marks[family]} - {None}
    flow = family in ("sd3", "flux")
    assert process["train"]["noise_scheduler"] == ("flowmatch" if flow else "ddpm")
    assert process["train"]["train_text_encoder"] is not flow
    assert ("min_snr_gamma" in process["train"]) is not flow
