"""Which raw file inherits what was decided by hand on one that is gone. Owns when two files are one picture.

A file that was saved again under its own name or with another ending, one that looks the same under any
name, and the copy of a picture that is gone. What nothing inherits is remembered, so that it can be told of
by name, and so that the picture is known when it comes back.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.copies.likeness import alike
from dataprep.curate.captions import tag_key
from dataprep.curate.decisions import Event, Hand, History, Image, base_view, decision
from dataprep.curate.raw_captions import with_edits
from dataprep.folders import STATE_FOLDER
from dataprep.store import write_bytes

Row = dict[str, Any]
Look = Callable[[Row], tuple[str, str] | None]  # a row's phash and thumb, None: it cannot be decoded

_COLUMNS: Final = (
    *("id", "path", "role", "sha256", "view", "width", "height", "phash", "thumb"),
    *("duplicate_of", "distance", "trim_share", "raw_caption"),
    *("hand_added", "hand_removed", "hand_order", "hand_caption"),
)
_SAME: Final = 4  # Hamming distance, bits of 64: saving a picture again, also smaller, changes no more
_SAME_SHAPE: Final = 0.02  # share by which width / height may differ
_SAME_TRIM: Final = 0.02  # share of the area within uniform borders by which two copies may differ
_MOST: Final = 1000  # new pictures that are looked at
_NAMED: Final = 5
_DECIDED: Final = {"added", "removed", "order", "caption", "box", "state"}


@dataclass(frozen=True)
class Before:
    """What raw files there were.

    Attributes:
        last: rows of the last manifest.
        gone: rows of pictures with decisions that were gone before that.
    """

    last: Sequence[Row] = ()
    gone: Sequence[Row] = ()

    @property
    def rows(self) -> list[Row]:
        """All, the last manifest's first."""
        return [*self.last, *self.gone]


def before(out: Path) -> Before:
    """What is known of raw files, from the last manifest and of pictures that are gone.

    Args:
        out: the prepared folder; may not exist yet.
    """
    manifest = out / "manifest.parquet"
    try:
        names = [name for name in _COLUMNS if name in pq.read_schema(manifest).names]
        rows = pq.read_table(manifest, columns=names).to_pylist()
    except (pa.ArrowInvalid, OSError):
        rows = []  # none yet; a damaged one is reported by those who need it
    return Before(rows, _gone(out))


def gone_pictures(out: Path) -> list[Row]:
    """Pictures that are gone, whose edits nothing inherited, as `remember` wrote them."""
    return [row for row in _gone(out) if row.get("edited", True)]


def _gone(out: Path) -> list[Row]:
    try:
        rows = json.loads(_gone_file(out).read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return [{"role": "train"} | row for row in rows]


def remember(out: Path, lost: Mapping[str, bool], known: Before) -> None:
    """Note where pictures were whose decisions nothing holds. Raises DiskError.

    Args:
        out: the prepared folder.
        lost: their sha256 -> whether more was decided than to leave them out, so that people want to know.
        known: where they were.
    """
    rows: dict[str, Row] = {sha256: {"sha256": sha256, "path": _unknown(sha256)} for sha256 in lost}
    for row in reversed(known.rows):
        if row["sha256"] in rows:
            rows[row["sha256"]] = {name: row.get(name) for name in _COLUMNS}
    for sha256, row in rows.items():
        row["edited"] = lost[sha256]
    if rows or _gone_file(out).is_file():
        data = json.dumps([*rows.values()], ensure_ascii=False, indent=0).encode("utf-8", "surrogatepass")
        write_bytes(_gone_file(out), data)


def _unknown(sha256: str) -> str:
    return f"the picture of sha256 {sha256[:12]}"


def _gone_file(out: Path) -> Path:
    return out / STATE_FOLDER / "gone.json"


def by_name(known: Before, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Rows of before and rows of now that have their place: the same path, or one with another ending.

    Content that is still somewhere under RAW, or was there before, was renamed, not rewritten.

    Args:
        known: what there was.
        rows: of now, with path, role, sha256 and width.
    """
    now = {row["sha256"] for row in rows}
    here = {(row["role"], row["path"]) for row in rows}
    contents = {row["sha256"] for row in known.rows}
    places: dict[tuple[str, str], Row] = {}
    stems: dict[tuple[str, str], list[Row]] = {}
    for row in known.rows:
        places.setdefault((row["role"], row["path"]), row)
    for (role, path), row in places.items():
        if row["sha256"] and row["sha256"] not in now and (role, path) not in here:
            stems.setdefault((role, _stem(path)), []).append(row)
    pairs: dict[tuple[str, str], tuple[Row, Row]] = {}
    for row in rows:
        place = row["role"], row["path"]
        if not row["sha256"] or not row["path"] or row["sha256"] in contents:
            continue
        old = places.get(place)
        if old is None:
            is_picture = row.get("width") is not None  # a caption that lost its picture has the stem too
            others = stems.get((row["role"], _stem(row["path"])), []) if is_picture else []
            old = others[0] if len(others) == 1 else None
        if old and old["sha256"] and old["sha256"] not in now:
            pairs.setdefault(place, (old, row))
    return list(pairs.values())


def _stem(path: str) -> str:
    """A path without its ending; `a.b.png` keeps `a.b`."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{PurePosixPath(name).stem}".casefold()


def by_look(lost: Iterable[str], known: Before, rows: Sequence[Row], look: Look) -> list[tuple[Row, Row]]:
    """Gone rows and new ones that show the same picture, where only one of each does.

    Args:
        lost: sha256 of what is gone.
        known: what there was.
        rows: of now, with path, role, sha256, width and height.
        look: measures a new one.
    """
    wanted = set(lost)
    whole = [row for row in known.rows if not row.get("view")]
    old = {row["sha256"]: row for row in whole if row["sha256"] in wanted and row.get("phash")}
    contents = {row["sha256"] for row in known.rows}
    new = {row["sha256"]: row for row in rows if row["sha256"] and row["sha256"] not in contents}
    pairs: dict[str, list[tuple[int, str]]] = {sha256: [] for sha256 in old}
    for sha256, row in [*new.items()][:_MOST]:
        shaped = [o for o in old.values() if o["role"] == row["role"] and same_shape(o, row)]
        seen = look(row) if shaped else None
        for o in shaped if seen else ():
            distance = _distance(o, *seen) if seen else None
            if distance is not None:
                pairs[o["sha256"]].append((distance, sha256))
    nearest = {sha256: min(found) for sha256, found in pairs.items() if found}
    rivals = [found for near in pairs.values() for found in near]
    return [
        (old[sha256], new[best])
        for sha256, (distance, best) in nearest.items()
        if [d for d, _ in pairs[sha256]].count(distance) == 1
        and sorted(d for d, other in rivals if other == best)[:2].count(distance) == 1
        and distance == min(d for d, other in rivals if other == best)
    ]


def same_shape(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows' pictures have the same proportions."""
    sides = [row.get(name) for row in (one, other) for name in ("width", "height")]
    if not all(sides):
        return False
    a, b, c, d = (float(side) for side in sides if side)
    return abs(a * d / (b * c) - 1) <= _SAME_SHAPE


def _distance(old: Row, phash: str, thumb: str) -> int | None:
    """Between two pictures' hashes, in bits; None: they are two pictures."""
    if len(phash) != len(old["phash"]):
        return None
    distance = (int(phash, 16) ^ int(old["phash"], 16)).bit_count()
    agree = not old.get("thumb") or alike(old["thumb"], thumb)
    return distance if distance <= _SAME and agree else None


def by_copy(
    lost: Iterable[Image],
    known: Before,
    rows: Sequence[Row],
    moved: Mapping[str, str],
    raw: Callable[[Row], Hand],
    hands: Mapping[Image, Hand],
) -> list[tuple[Row, Row, Event]]:
    """Gone rows whose copy is still there, that row, and the decision that gives it what it lacks.

    Args:
        lost: what is gone with its decisions.
        known: what there was, with what was a copy of what.
        rows: of now.
        moved: contents that were saved again -> of now.
        raw: what the caption beside a raw picture says.
        hands: all decisions.
    """
    now = {(row["sha256"], row.get("view") or ""): row for row in rows if row["sha256"]}
    there = {sha256 for sha256, _ in now}
    wanted = {(sha256, base_view(view)) for sha256, view in lost}
    names = {row["duplicate_of"] for row in known.last if row.get("duplicate_of")}
    groups: dict[str, list[Row]] = {name: [] for name in names}
    kept = {row["id"]: row for row in known.last if row.get("id") in names}
    for row in known.last:
        for name in {str(row.get("duplicate_of")), str(row.get("id"))} & groups.keys():
            groups[name].append(row)
    found, done = [], set[Image]()
    for name, group in groups.items():
        # The kept one first: whether it stays, counts for its copies; if it is there, it inherits.
        group = sorted(group, key=lambda row: (row.get("id") != name, -_pixels(row)))
        decided = [
            hands[place] for row in group for place in {_place(row), _place_now(row, moved)} & hands.keys()
        ]
        for old in group:
            image = _place(old)
            if old["sha256"] in there or old["sha256"] in moved or image in done:
                continue
            then = next((row for row in group if _place_now(row, moved) in now and row is not old), None)
            heir = {} if then is None else now[_place_now(then, moved)]
            what = {} if then is None else _raw_kept(raw(old), kept.get(name) or {}, decided)
            if then is not None and (image in wanted or what):
                done.add(image)
                found.append((old, heir, _inheritance(old, heir, box_scale(old, then), what)))
    return found


def _pixels(row: Row) -> int:
    return (row.get("width") or 0) * (row.get("height") or 0)


def _place(row: Row) -> Image:
    return row["sha256"], row.get("view") or ""


def _place_now(row: Row, moved: Mapping[str, str]) -> Image:
    return moved.get(row["sha256"], row["sha256"]), row.get("view") or ""


def _raw_kept(raw: Hand, kept: Row, decided: Sequence[Hand]) -> Event:
    """What stood in the caption of a group of copies, and stood beside the raw picture that is gone alone.

    Args:
        raw: what it said there.
        kept: the copy whose caption it was, as the last run had it.
        decided: on each copy, those of this run included, and what stands beside those that are there.
    """
    stood = {tag_key(tag) for tag in kept.get("hand_added") or ()}
    known = {key for hand in decided for key in (*hand.added, *hand.removed)}
    tags = [tag for key, tag in raw.added.items() if key in stood and key not in known]
    if tags and kept.get("hand_caption") is None:
        return {"added": tags, "from_raw": True}
    is_rewritten = any(hand.caption is not None for hand in decided)
    if raw.caption and not is_rewritten and kept.get("hand_caption") == _edited(raw.caption, kept):
        return {"caption": kept["hand_caption"]}
    return {}


def _edited(caption: str, kept: Row) -> str:
    """What a caption beside a raw picture became by the decisions on the tags of the kept copy."""
    added, removed, order = (kept.get(f"hand_{name}") or () for name in ("added", "removed", "order"))
    return with_edits(caption, added, removed, order or None)


def _inheritance(old: Row, heir: Row, scale: Sequence[float] | None, what: Event) -> Event:
    """The decision that makes the history of a picture that is gone that of its copy too."""
    image = heir["sha256"], heir.get("view") or ""
    event = decision(image, "file", heir_of=old["sha256"], file=heir["path"])
    event |= {"heir_view": old["view"]} if old.get("view") else {}
    return event | ({} if scale is None else {"box_scale": list(scale)}) | what


def size_change(old: Row, new: Row) -> Event:
    """What a line of the journal says of a file that holds another picture of the same now.

    Returns:
        Nothing where it is as large as it was, or that is not known; box_scale, None for another shape.
    """
    sides = [row.get(name) for row in (old, new) for name in ("width", "height")]
    if not all(sides) or sides[:2] == sides[2:]:
        return {}
    a, b, c, d = (float(side) for side in sides if side)
    return {"box_scale": [c / a, d / b] if same_shape(old, new) else None}


def box_scale(old: Row, new: Row) -> tuple[float, float] | None:
    """How many times the width and height of one copy are those of the other.

    Args:
        old: width, height, trim_share, duplicate_of and distance of the one.
        new: of the other.
    Returns:
        None if they show different parts of the picture: a box on one means nothing on the other.
    """
    cut_out = any(row.get("duplicate_of") and row.get("distance") is None for row in (old, new))
    trims = [row.get("trim_share") or 1.0 for row in (old, new)]
    if cut_out or abs(trims[0] - trims[1]) > _SAME_TRIM or not same_shape(old, new):
        return None
    return new["width"] / old["width"], new["height"] / old["height"]


def lost_edits(
    histories: Mapping[Image, History],
    passed_on: Mapping[str, str],
    now: Iterable[str],
    known: Iterable[str] | None = None,
) -> list[Image]:
    """Contents that are nowhere and whose decisions nothing holds.

    Args:
        histories: all decisions.
        passed_on: contents whose decisions went over -> to which; these answer for them.
        now: sha256 of contents that there are.
        known: of those that are known by name and look; only they answer for others. None: all.
    """
    now, held = {*now}, defaultdict[str, set[int]](set)
    answering = None if known is None else {*known} | now
    for (sha256, _), history in histories.items():
        held[sha256].update(history)
    here = set[int]().union(*(held[sha256] for sha256 in now if sha256 in held))

    def answered(sha256: str) -> set[int]:
        other = passed_on.get(sha256, "")
        return held.get(other, set()) if answering is None or other in answering else set()

    lost = [
        image
        for image, history in histories.items()
        if image[0] not in now and not _places(history) <= here | answered(image[0])
    ]
    if answering is None:
        return lost
    by_known = set[int]().union(*(held[sha256] for sha256, _ in lost if sha256 in answering))
    return [image for image in lost if image[0] in answering or not _places(histories[image]) <= by_known]


def _places(history: History) -> set[int]:
    """Where something is decided."""
    return {number for number, what in history.items() if _DECIDED & what.keys()}


def lost_text(lost: Sequence[str], known: Before) -> str:
    """For people: whose edits are held by no picture any more."""
    names = {row["sha256"]: str(row["path"]) for row in reversed(known.rows)}
    told = [names.get(sha256, _unknown(sha256)) for sha256 in lost]
    return held_by_none(told)


def held_by_none(told: Sequence[str]) -> str:
    """For people: that edits are lost for now, by the names of their pictures."""
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return (
        f"edits of {', '.join(told[:_NAMED])}{more} are held by no picture any more: the file is gone, and "
        "nothing has its name or looks the same; they count again when it comes back, by any name"
    )
