"""Lists of scores as flat columns, tags as numbers, so that 100,000 captions take seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprep.manifest import TAG
from dataprep.tags.aliases import canonical


@dataclass(frozen=True)
class Entries:
    """All scores of a table, flat. Arrays have shape (entries,): the tagger's by row, then CLIP's by row.

    Attributes:
        rows: number of table rows.
        row: row of each entry.
        tag: number of each entry's tag in `tags`.
        score: probability, 0..1.
        clip: True where CLIP, not the tagger, gave it.
        tags: the distinct tags.
        categories: category of each distinct tag.
    """

    rows: int
    row: NDArray[np.int64]
    tag: NDArray[np.int64]
    score: NDArray[np.float32]
    clip: NDArray[np.bool_]
    tags: list[str]
    categories: list[str]


def entries(tag_scores: pa.ChunkedArray, clip_scores: pa.ChunkedArray) -> Entries:
    """The scores of a table: the tagger's, and CLIP's where the tagger has none of that tag in that row.

    Tags get the name in use; of two names for one tag in one row the higher score stays.

    Args:
        tag_scores: list<SCORE> per row.
        clip_scores: list<SCORE> per row, of concepts only.
    """
    tagged, seen = _flat(tag_scores), _flat(clip_scores, only="concept")
    names = pa.concat_arrays([tagged.names, seen.names]).dictionary_encode()
    spelled: list[str] = names.dictionary.to_pylist()
    tags = list(dict.fromkeys(canonical(tag) for tag in spelled))
    number = {tag: i for i, tag in enumerate(tags)}
    renumbered = np.array([number[canonical(tag)] for tag in spelled], dtype=np.int64)
    codes = names.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    codes = renumbered[codes] if len(spelled) else codes
    split = len(tagged.row)
    row = np.concatenate([tagged.row, seen.row])
    score = np.concatenate([tagged.score, seen.score])
    pairs = row * max(len(tags), 1) + codes
    known = pc.is_in(pa.array(pairs[split:]), value_set=pa.array(pairs[:split])) if len(seen.row) else []
    kept = np.append(np.ones(split, dtype=bool), ~np.asarray(known, dtype=bool))
    if len(tags) < len(spelled):
        kept[kept] = _highest(pairs[kept], score[kept])
    return Entries(
        rows=len(tag_scores),
        row=row[kept],
        tag=codes[kept],
        score=score[kept],
        clip=(np.arange(len(row)) >= split)[kept],
        tags=tags,
        categories=_first_categories(codes, pa.concat_arrays([tagged.category, seen.category]), len(tags)),
    )


def _highest(pairs: NDArray[np.int64], score: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which entries have the highest score of their row and tag; the first of equals. Shape (entries,)."""
    order = np.lexsort((-score, pairs))
    first = np.ones(len(order), dtype=bool)
    first[1:] = pairs[order][1:] != pairs[order][:-1]
    mask = np.zeros(len(order), dtype=bool)
    mask[order[first]] = True
    return mask


def _first_categories(codes: NDArray[np.int64], categories: pa.Array, size: int) -> list[str]:
    first = np.zeros(size, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last assignment wins: the first entry
    return [str(category) for category in categories.take(pa.array(first)).to_pylist()]


@dataclass(frozen=True)
class _Flat:
    row: NDArray[np.int64]
    names: pa.Array
    score: NDArray[np.float32]
    category: pa.Array


def _flat(column: pa.ChunkedArray, only: str | None = None) -> _Flat:
    lists = column.combine_chunks()
    values = lists.flatten()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(lists)), lengths)
    if only is not None:
        mask = pc.equal(values.field("category"), only)
        values, row = values.filter(mask), row[mask.to_numpy(zero_copy_only=False)]
    score = values.field("score").to_numpy(zero_copy_only=False)
    return _Flat(row, values.field("tag"), score, values.field("category"))


def opinions(found: Entries, clip_scores: pa.ChunkedArray) -> NDArray[np.float32]:
    """What CLIP says of each of the tagger's entries: its probability, NaN where it was not asked.

    Returns:
        Shape (entries,).
    """
    every = _flat(clip_scores)
    number = {tag: i for i, tag in enumerate(found.tags)}
    words = every.names.dictionary_encode()
    known_as = [number.get(canonical(word), -1) for word in words.dictionary.to_pylist()]
    codes = np.array(known_as, dtype=np.int64)
    code = codes[words.indices.to_numpy(zero_copy_only=False)] if len(codes) else codes
    known = code >= 0
    stride = max(len(found.tags), 1)
    keys = every.row[known] * stride + code[known]
    order = np.argsort(keys)
    wanted = found.row * stride + found.tag
    place = np.searchsorted(keys[order], wanted)
    result = np.full(len(wanted), np.nan, dtype=np.float32)
    if len(keys):
        place = np.minimum(place, len(keys) - 1)
        hit = (keys[order][place] == wanted) & ~found.clip
        result[hit] = every.score[known][order][place][hit]
    return result


@dataclass(frozen=True)
class TagColumns:
    """The manifest's `tags`, flat: texts are numbers of words that are kept once.

    Attributes:
        row: row of each tag, ascending; shape (tags,), as all arrays here.
        numbers: score (probability), frequency and bound; NaN where there is none.
        codes: per text column of manifest.TAG, a number in `words`.
        words: per text column, its distinct texts.
    """

    row: NDArray[np.int64]
    numbers: Mapping[str, NDArray[np.float32]]
    codes: Mapping[str, NDArray[np.int64]]
    words: Mapping[str, list[str]]

    def of(self, row: int) -> list[dict[str, Any]]:
        """One row's tags as manifest.TAG structs, in order."""
        start, end = np.searchsorted(self.row, [row, row + 1])
        columns: dict[str, list[Any]] = {
            name: [self.words[name][code] for code in codes[start:end].tolist()]
            for name, codes in self.codes.items()
        }
        for name, values in self.numbers.items():
            columns[name] = [None if np.isnan(value) else float(value) for value in values[start:end]]
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]

    def replaced(self, changed: Mapping[int, Sequence[Mapping[str, Any]]]) -> TagColumns:
        """These with other tags (manifest.TAG structs) in some rows."""
        rest = ~np.isin(self.row, np.fromiter(changed, np.int64))
        new = [(row, tag) for row, tags in changed.items() for tag in tags]
        words = {name: list(known) for name, known in self.words.items()}
        codes = {}
        for name, old in self.codes.items():
            number = {word: i for i, word in enumerate(words[name])}
            fresh = np.zeros(len(new), dtype=np.int64)
            for i, (_, tag) in enumerate(new):
                word = tag[name]
                if word not in number:
                    number[word] = len(words[name])
                    words[name].append(word)
                fresh[i] = number[word]
            codes[name] = np.concatenate([old[rest], fresh])
        row = np.concatenate([self.row[rest], np.array([row for row, _ in new], dtype=np.int64)])
        numbers = {}
        for name, old_values in self.numbers.items():
            given = [np.nan if tag.get(name) is None else tag[name] for _, tag in new]
            numbers[name] = np.concatenate([old_values[rest], np.array(given, dtype=np.float32)])
        order = np.argsort(row, kind="stable")
        return TagColumns(
            row[order],
            {name: values[order] for name, values in numbers.items()},
            {name: code[order] for name, code in codes.items()},
            words,
        )

    def lists(self, active: NDArray[np.bool_]) -> pa.Array:
        """As list<manifest.TAG> per row, null where a row is not active.

        Args:
            active: shape (rows,).
        """
        columns = []
        for field in TAG:
            if field.name in self.numbers:
                values = self.numbers[field.name]
                columns.append(pa.array(values, pa.float32(), mask=np.isnan(values)))
                continue
            words = pa.array(self.words[field.name], pa.string())
            columns.append(words.take(pa.array(self.codes[field.name])))
        tags = pa.StructArray.from_arrays(columns, fields=list(TAG))
        return row_lists(tags, self.row, active)


def row_lists(values: pa.Array, row: NDArray[np.int64], active: NDArray[np.bool_]) -> pa.Array:
    """Values as one list per row, null where a row is not active.

    Args:
        values: ordered by row.
        row: row of each value.
        active: shape (rows,).
    """
    ends = np.append(0, np.cumsum(np.bincount(row, minlength=len(active))))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, mask=pa.array(~active))
