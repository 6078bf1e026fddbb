from __future__ import annotations

from dataprep.training.kohya_args import known_names
from dataprep.training.kohya_names import ALIKE, FROM_FOLDER, OURS, RENAMED


def test_each_of_sd_scripts_names_is_read_in_one_way() -> None:
    tables = [set(RENAMED), FROM_FOLDER, OURS, ALIKE]
    assert sum(map(len, tables)) == len(set().union(*tables))
    assert not ALIKE & known_names()
