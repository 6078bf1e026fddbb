"""Which raw file inherits what was decided by hand on one that is gone. Owns when two files are one picture.

A file that was saved again under its own name or with another ending, one that looks the same under any
name, and the copy of a picture that is gone. What nothing inherits is remembered, so that it can be told of
by name, and so that the picture is known when it comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.copies.likeness import alike
from dataprep.curate.decisions import Event, Hand, Image, decision
from dataprep.folders import STATE_FOLDER
from dataprep.store import write_bytes

Row = dict[str, Any]
Look = Callable[[Row], tuple[str, str] | None]  # a row's phash and thumb, None: it cannot be decoded

_COLUMNS: Final = ("id", "path", "role", "sha256", "width", "height", "phash", "thumb", "duplicate_of")
_SAME: Final = 4  # Hamming distance, bits of 64: saving a picture again, also smaller, changes no more
_SAME_SHAPE: Final = 0.02  # share by which width / height may differ
_MOST: Final = 1000  # new pictures that are looked at
_NAMED: Final = 5


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
    return Before(rows, gone_pictures(out))


def gone_pictures(out: Path) -> list[Row]:
    """Pictures that are gone and whose decisions nothing inherited, as `remember` wrote them."""
    try:
        rows = json.loads(_gone_file(out).read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return [{"role": "train"} | row for row in rows]


def remember(out: Path, lost: Iterable[str], known: Before) -> None:
    """Note where pictures were whose decisions nothing holds. Raises DiskError.

    Args:
        out: the prepared folder.
        lost: their sha256.
        known: where they were.
    """
    rows: dict[str, Row] = {sha256: {"sha256": sha256, "path": _unknown(sha256)} for sha256 in lost}
    for row in reversed(known.rows):
        if row["sha256"] in rows:
            rows[row["sha256"]] = {name: row.get(name) for name in _COLUMNS}
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
        rows: of now, with path, role and sha256.
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
            others = stems.get((row["role"], _stem(row["path"])), [])
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
    old = {row["sha256"]: row for row in known.rows if row["sha256"] in wanted and row.get("phash")}
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
    lost: Iterable[str], known: Before, rows: Sequence[Row], hands: Mapping[Image, Hand]
) -> list[tuple[Row, Row, Event]]:
    """Gone rows whose copy is still there, that row, and the decision that gives it what it lacks.

    Args:
        lost: sha256 of what is gone.
        known: what there was, with what was a copy of what.
        rows: of now.
        hands: all decisions.
    """
    ids = {row["id"]: row for row in rows if row.get("id") and row["sha256"]}
    copies = {row["duplicate_of"]: row["id"] for row in reversed(known.last) if row.get("duplicate_of")}
    found = []
    for sha256 in lost:
        old = next((row for row in known.last if row["sha256"] == sha256), None)
        names = [] if old is None else [old.get("duplicate_of"), copies.get(old.get("id"))]
        heir = next((ids[name] for name in names if name in ids), None)
        if old is None or heir is None:
            continue
        event = _inheritance(old, heir, hands)
        found.append((old, heir, event))
    return found


def _inheritance(old: Row, heir: Row, hands: Mapping[Image, Hand]) -> Event:
    """The decision that gives a copy those on a picture that is gone; newer ones stand for its own."""
    image = heir["sha256"], heir.get("view") or ""
    own, gone = hands.get(image, Hand()), hands.get((old["sha256"], ""), Hand())
    what = {} if old["sha256"] in own.copies else own.lacks(gone)
    if not same_shape(old, heir) or old.get("width") != heir.get("width"):
        what.pop("box", None)
    if heir["sha256"] in gone.copies:  # what is gone had its decisions, and was edited since
        what = {"instead": True} | {name: box for name, box in what.items() if name == "box"}
    copies = sorted({*gone.copies, old["sha256"]} - {heir["sha256"]})
    return decision(image, "file", heir_of=old["sha256"], file=heir["path"], copies=copies, **what)


def lost_edits(hands: Mapping[Image, Hand], passed_on: Iterable[str], now: Iterable[str]) -> list[str]:
    """Sha256 of contents that are nowhere and whose decisions, other than to leave them out, nothing holds.

    Args:
        hands: all decisions.
        passed_on: contents whose decisions went over to others.
        now: contents that there are.
    """
    held = {*passed_on, *now}
    return list(
        dict.fromkeys(sha for (sha, _), hand in hands.items() if sha not in held and hand.says_something)
    )


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
