from __future__ import annotations

from dataprep.training.kohya_args import known_names
from dataprep.training.kohya_names import EITHER, FROM_FOLDER, NOT_HERE, OURS, PASSED_OVER, RENAMED


def test_each_of_sd_scripts_names_is_read_in_one_way() -> None:
    tables = [set(RENAMED), FROM_FOLDER, OURS, PASSED_OVER]
    assert sum(map(len, tables)) == len(set().union(*tables))
    assert not PASSED_OVER & known_names()


def test_pairs_that_exclude_each_other_are_of_known_names() -> None:
    assert {name for pair in EITHER for name in pair} <= known_names()
    assert set(NOT_HERE) <= known_names()
