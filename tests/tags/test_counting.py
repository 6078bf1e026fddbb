from __future__ import annotations

import pyarrow as pa

from dataprep.manifest import BOX, SCORE
from dataprep.tags.columns import entries
from dataprep.tags.counting import counts_of, rows_of


def test_a_tag_is_counted_once_a_picture_and_only_where_one_subject_is() -> None:
    box = {"left": 0, "top": 0, "right": 1, "bottom": 1}
    people = [["1girl", "hat"], ["1girl", "hat"], ["2girls", "hat"], ["1girl"]]
    scores = [[{"tag": tag, "score": 0.9, "category": "general"} for tag in tags] for tags in people]
    table = pa.table(
        {
            "state": ["active"] * 4,
            "role": ["train"] * 4,
            "region": pa.array([None, box, None, None], BOX),  # the second is cut out of the first
            "tag_scores": pa.array(scores, pa.list_(SCORE)),
            "clip_scores": pa.array([None] * 4, pa.list_(SCORE)),
        }
    )
    found = entries(table["tag_scores"], table["clip_scores"])
    above = found.score > 0.5
    counts = counts_of(found, above, rows_of(table, found, above), {})
    hat = counts[found.tags.index("hat")]
    assert (hat.hits, hat.total) == (1, 2)
