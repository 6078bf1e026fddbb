from __future__ import annotations

import subprocess
import sys

from dataprep.train.config import TrainConfig


def test_reading_settings_does_not_import_torch() -> None:
    code = "import sys; import dataprep.training.settings; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_setting_says_what_it_is() -> None:
    assert all(len(info.description or "") > 10 for info in TrainConfig.model_fields.values())


def test_blocks_are_read_by_name_as_a_list_and_as_kohyas_text() -> None:
    ones = ",".join(["1"] * 12 + ["5"] + ["1"] * 12)
    for value in ([1] * 12 + [5] + [1] * 12, ones):
        config = TrainConfig(block_ranks=value)  # type: ignore[arg-type]
        assert config.block_ranks is not None
        assert config.block_ranks["MID"] == 5
        assert config.block_ranks["OUT11"] == 1
