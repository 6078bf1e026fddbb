"""Which decisions hold for a picture: its own and those on its copies, one history in the journal's order.

The newest decision on each tag, and the newest caption, order and box, stand, whichever copy they were made
on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.curate.decisions import Hand, History, Image, base_view, read_journal, same_view, summed
from dataprep.manifest import ACTIVE, DROPPED

Row = dict[str, Any]
Copies = Mapping[Image, Sequence[Image]]  # a kept picture -> those dropped as its copies

_COLUMNS: Final = ("id", "path", "sha256", "view", "state", "duplicate_of")
_NAMED: Final = 5


def copies_in(out: Path) -> Copies:
    """Which pictures the last run dropped as copies of which, by path.

    Args:
        out: the prepared folder; may not exist yet.
    """
    return _copies(_rows(out))


def _rows(out: Path) -> list[Row]:
    manifest = out / "manifest.parquet"
    try:
        if not set(_COLUMNS) <= set(pq.read_schema(manifest).names):
            return []
        return pq.read_table(manifest, columns=[*_COLUMNS]).to_pylist()  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, OSError):
        return []  # none yet; a damaged one is reported by those who need it


def _copies(rows: Sequence[Row]) -> Copies:
    dropped = sorted((row for row in rows if row["duplicate_of"]), key=lambda row: str(row["path"]))
    wanted = {row["duplicate_of"] for row in dropped}
    ids = {row["id"]: image_of_row(row) for row in rows if row["id"] in wanted and row["sha256"]}
    copies: dict[Image, list[Image]] = {}
    for row in dropped:
        if row["duplicate_of"] in ids:
            copies.setdefault(ids[row["duplicate_of"]], []).append(image_of_row(row))
    return copies


def image_of_row(row: Mapping[str, Any]) -> Image:
    """Which image view a row is of."""
    return str(row["sha256"]), str(row.get("view") or "")


def in_groups(
    histories: Mapping[Image, History], start: Mapping[Image, Hand], copies: Copies
) -> dict[Image, Hand]:
    """What holds for each picture and each view of it.

    Args:
        histories: of each on its own.
        start: what came with the raw pictures; that of a copy counts where a kept picture has none.
        copies: of kept pictures.
    """
    hands = {image: summed(histories.get(image, {}), start.get(image)) for image in {**start, **histories}}
    views = _views(histories)
    for kept, members in copies.items():
        merged: dict[str, History] = {kept[1]: {}}
        for image in [*members, kept]:
            for view in views[image[0]]:
                if (name := same_view(view, image[1], kept[1])) is not None:
                    merged[name] = merged.get(name, {}) | histories[image[0], view]
        first = next((start[image] for image in [kept, *members] if image in start), None)
        for view, history in merged.items():
            own = hands.get((kept[0], view), Hand())
            hand = summed(history, first if view == kept[1] else None)
            hands[kept[0], view] = replace(hand, state=own.state)
    return hands


def _views(histories: Iterable[Image]) -> Mapping[str, list[str]]:
    views: dict[str, list[str]] = defaultdict(list)
    for sha256, view in histories:
        views[sha256].append(view)
    return views


def without_place(out: Path) -> list[str]:
    """Names of pictures and views that were edited and are not in training, though their file is there.

    Raises:
        InputError: the journal cannot be read.
    """
    histories = read_journal(out).histories()
    rows = _rows(out) if histories else []
    by_image = {image_of_row(row): row for row in reversed(rows)}
    dropped = {row["id"] for row in rows if row["state"] == DROPPED}
    copies, views, held = _copies(rows), _views(histories), set[int]()
    for row in rows:
        if row["state"] == ACTIVE:
            held.update(*_held(image_of_row(row), copies, histories))
    files = {row["sha256"]: str(row["path"]) for row in reversed(rows)}
    named = []
    for sha256, path in files.items():
        for view in views.get(sha256, ()):
            base = by_image.get((sha256, base_view(view)))
            is_copy = base is not None and base["duplicate_of"] and base["duplicate_of"] not in dropped
            left_out = base is not None and base["state"] != ACTIVE and not is_copy
            history = histories[sha256, view]
            if not left_out and not history.keys() <= held and summed(history).says_something:
                named.append(f"{path} ({view})" if view else path)
    return named


def _held(image: Image, copies: Copies, histories: Mapping[Image, History]) -> Iterator[Iterable[int]]:
    """Places of the decisions that a row holds."""
    base = image[0], base_view(image[1])
    for sha256, frame in [base, *copies.get(base, ())]:
        name = same_view(image[1], base[1], frame)
        yield histories.get((sha256, name or ""), {}) if name is not None else ()


def no_place_text(names: Sequence[str]) -> str:
    """For people: that these views have no picture."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"edits of {', '.join(names[:_NAMED])}{more} are held by no picture: no such view is cut of it; they "
        "count again when one is (split.views, split.min_side, scan.frames)"
    )
