from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from dataprep.manifest import SCORE, TAG
from dataprep.tags.columns import TagColumns, entries, opinions, row_lists


def column(rows: list[list[tuple[str, float, str]] | None]) -> pa.ChunkedArray:
    cells = [
        None if row is None else [{"tag": t, "score": s, "category": c} for t, s, c in row] for row in rows
    ]
    return pa.chunked_array([pa.array(cells[:1], pa.list_(SCORE)), pa.array(cells[1:], pa.list_(SCORE))])


TAGGED = column([[("hat", 0.9, "general"), ("saber", 0.8, "character")], None, [("hat", 0.4, "general")]])
SEEN = column([[("hat", 0.7, "concept"), ("beach", 0.6, "concept"), ("saber", 0.1, "opinion")], [], None])


def test_all_scores_become_flat_columns_with_their_row() -> None:
    found = entries(TAGGED, SEEN)
    names = [found.tags[tag] for tag in found.tag]
    assert list(zip(found.row.tolist(), names, found.clip.tolist(), strict=True)) == [
        (0, "hat", False),
        (0, "saber", False),
        (2, "hat", False),
        (0, "beach", True),
    ]
    np.testing.assert_allclose(found.score, [0.9, 0.8, 0.4, 0.6], rtol=1e-6)


def test_each_distinct_tag_has_the_category_it_was_first_given() -> None:
    found = entries(TAGGED, SEEN)
    categories = dict(zip(found.tags, found.categories, strict=True))
    assert categories["hat"] == "general"
    assert categories["saber"] == "character"
    assert categories["beach"] == "concept"


def test_opinions_stand_beside_the_taggers_entries() -> None:
    found = entries(TAGGED, SEEN)
    np.testing.assert_allclose(opinions(found, SEEN), [0.7, 0.1, np.nan, np.nan], rtol=1e-6)


def test_columns_without_scores_are_fine() -> None:
    nothing = column([None, None])
    found = entries(nothing, nothing)
    assert (found.rows, len(found.tag), found.tags) == (2, 0, [])
    assert len(opinions(found, nothing)) == 0


def tag(name: str, score: float | None = 0.5, rule: str = "r") -> dict[str, Any]:
    return {
        "tag": name,
        "score": score,
        "source": "tagger",
        "category": "general",
        "fate": "kept",
        "rule": rule,
        "frequency": None,
        "bound": 0.5,
    }


def flat(rows: list[list[dict[str, Any]]]) -> TagColumns:
    """Tag columns from structs, through `replaced` of empty ones."""
    numbers = ("score", "frequency", "bound")
    texts = [name for name in TAG.names if name not in numbers]  # type: ignore[attr-defined]
    nothing = np.zeros(0, np.int64)
    empty = TagColumns(
        nothing,
        dict.fromkeys(numbers, np.zeros(0, np.float32)),
        dict.fromkeys(texts, nothing),
        {n: [] for n in texts},
    )
    return empty.replaced(dict(enumerate(rows)))


def test_tag_columns_give_back_the_structs_they_were_made_of() -> None:
    rows = [[tag("a"), tag("b", None)], [], [tag("a", 0.25, "other")]]
    columns = flat(rows)
    assert [columns.of(row) for row in range(3)] == rows
    assert columns.lists(np.array([True, True, True])).to_pylist() == rows
    assert columns.lists(np.array([True, False, True])).to_pylist() == [rows[0], None, rows[2]]


def test_replacing_a_row_leaves_the_others_as_they_are() -> None:
    columns = flat([[tag("a")], [tag("b")], [tag("c")]]).replaced({1: [tag("new"), tag("a")], 2: []})
    assert columns.lists(np.ones(3, bool)).to_pylist() == [[tag("a")], [tag("new"), tag("a")], []]


def test_row_lists_put_values_back_into_their_rows() -> None:
    lists = row_lists(pa.array(["x", "y"]), np.array([0, 2]), np.array([True, False, True, True]))
    assert lists.to_pylist() == [["x"], None, ["y"], []]


def test_two_names_for_one_tag_are_one_entry_with_the_higher_score() -> None:
    tagged = column(
        [[("gray hair", 0.4, "general"), ("grey hair", 0.9, "general")], [("gray hair", 0.3, "general")]]
    )
    seen = column([[("gray hair", 0.7, "opinion")], []])
    found = entries(tagged, seen)
    assert found.tags == ["grey hair"]
    assert found.row.tolist() == [0, 1]
    np.testing.assert_allclose(found.score, [0.9, 0.3], rtol=1e-6)
    np.testing.assert_allclose(opinions(found, seen), [0.7, np.nan], rtol=1e-6)
