"""report.html: one self-contained page that accounts for every file. No network, no script.

The page is made from the manifest and the prepared pictures alone, so it can be made again at any time.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from dataprep.curate.caption_files import CAPTION_SUFFIXES, pair_captions
from dataprep.errors import InputError, RowError
from dataprep.export.kohya_reader import describe, read_folder
from dataprep.folders import STATE_FOLDER
from dataprep.framing.bucket_words import plan_in_words
from dataprep.manifest import ACTIVE, DROPPED
from dataprep.pictures.walk import walk
from dataprep.run import Job, read_manifest
from dataprep.settings import PROJECT_FILE
from dataprep.store import write_bytes
from dataprep.summary import Summary, summarize

_THUMBNAIL_PX = 176
_PICTURES_SHOWN = 300
_FILES_LISTED = 5000
_TAGS_SHOWN = 60


@dataclass(frozen=True)
class Picture:
    """One tile of the contact sheet."""

    source: str  # data: URL, "" where the file cannot be shown
    title: str
    caption: str
    note: str


@dataclass(frozen=True)
class TagStory:
    """What became of a tag in all kept pictures, and why."""

    tag: str
    fates: list[tuple[str, int]]  # reason, number of pictures


@dataclass(frozen=True)
class Bar:
    """One bar of a plot: label, length 0..1, number, and a word for its colour class."""

    label: str
    share: float
    count: str
    kind: str = "plain"


def write_report(directory: Path) -> Path:
    """Write DIR/report.html and return its path.

    Raises:
        InputError: not a prepared folder.
        DiskError: it cannot be written.
    """
    table, metadata = read_manifest(directory)
    rows = table.to_pylist()
    path = directory / "report.html"
    write_bytes(path, _page(directory, rows, summarize(table), metadata).encode("utf-8"))
    return path


def _page(directory: Path, rows: list[dict[str, Any]], summary: Summary, metadata: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("dataprep", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    train = [row for row in rows if row["role"] == "train"]
    reg = [row for row in rows if row["role"] == "reg" and row["state"] == ACTIVE]
    kept = [row for row in train if row["state"] == ACTIVE]
    return environment.get_template("report.html").render(
        name=directory.name,
        metadata=metadata,
        settings=json.dumps(metadata["settings"], indent=1, ensure_ascii=False),
        summary=summary,
        pictures=[_prepared(directory, row) for row in kept[:_PICTURES_SHOWN]],
        class_pictures=[_prepared(directory, row) for row in reg[:_PICTURES_SHOWN]],
        class_count=len(reg),
        class_drawn=sum(row.get("generated") is not None for row in reg),
        twins=_twins(directory, rows),
        buckets=_bucket_bars(kept),
        plan=plan_in_words(kept, metadata["settings"].get("bucket", {})),
        losses=[*_loss_bars(kept), *_loss_bars(kept, "kohya_crop_loss", "by kohya's own list: ")],
        kohya=_seen_by_kohya(directory),
        tags=_tag_bars(kept),
        tag_stories=_tag_stories(kept),
        files=train[:_FILES_LISTED],
        files_more=max(0, len(train) - _FILES_LISTED),
        companions=_companions(
            directory,
            {row["path"] for row in train},
            metadata["settings"].get("scan", {}).get("caption_encoding"),
        )[:_FILES_LISTED],
        log=_training_log(directory),
        samples=[
            _file_picture(path) for path in sorted((directory / "model" / "samples").glob("*.png"))[-24:]
        ],
    )


def _prepared(directory: Path, row: dict[str, Any]) -> Picture:
    file = row.get("image_file")
    return Picture(
        source=_thumbnail(directory / file) if file else "",
        title=row["path"],
        caption=row.get("caption") or "",
        note=", ".join(_notes(row)),
    )


def _notes(row: dict[str, Any]) -> Iterator[str]:
    """What a person should know of a prepared picture."""
    yield f"{row.get('bucket_width')}x{row.get('bucket_height')}"
    if row.get("crop_loss") is not None:
        yield f"{row['crop_loss']:.0%} cropped away"
    if row.get("subject_cut"):
        yield f"{row['subject_cut']:.0%} of the subject was cut"
    if (row.get("scale") or 0) > 1:
        yield f"enlarged {row['scale']:.1f} times"
    if row.get("generated"):
        yield "drawn by {model}: {prompt}, {steps} steps of {sampler}, seed {seed}".format(**row["generated"])
    if row.get("similar_to"):
        yield f"nearly a copy of another (distance {row['similar_distance']} of 64 bits): look for yourself"


def _file_picture(path: Path) -> Picture:
    source, order = _thumbnail(path), ""
    if source:  # then it opens
        with Image.open(path) as picture:
            order = str(picture.info.get("parameters", ""))
    return Picture(source, path.name, order.split("\n", 1)[0], "")


def _twins(directory: Path, rows: list[dict[str, Any]]) -> list[tuple[Picture, list[Picture]]]:
    """Kept pictures with the copies that were left out in their favour."""
    by_id = {row["id"]: row for row in rows if row["state"] != DROPPED}
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.get("duplicate_of"):
            groups[row["duplicate_of"]].append(row)
    raw = _raw_folder(directory)
    return [
        (
            _prepared(directory, by_id[kept]),
            [
                Picture(
                    _thumbnail(raw / twin["path"]) if raw is not None and twin["role"] == "train" else "",
                    twin["path"],
                    "",
                    _likeness(twin),
                )
                for twin in twins
            ],
        )
        for kept, twins in list(groups.items())[:_PICTURES_SHOWN]
        if kept in by_id
    ]


def _likeness(twin: dict[str, Any]) -> str:
    """How a dropped picture relates to the kept one."""
    if twin["distance"] is not None:
        return f"distance {twin['distance']} of 64 bits"
    return "a cut-out of it" if twin["reason"].startswith("dedup:crop") else "a copy of a cut-out of it"


def _raw_folder(directory: Path) -> Path | None:
    return Job.load(directory).raw if (directory / STATE_FOLDER / "run.json").is_file() else None


def _companions(directory: Path, pictures: set[str], encoding: str | None) -> list[tuple[str, str]]:
    """Files of the raw folder that are no rows of their own, as (name, what it is): captions, settings."""
    raw = _raw_folder(directory)
    if raw is None or not raw.is_dir():
        return []
    found = list(walk(raw, (directory,)))
    captions = (item for item in found if PurePosixPath(item.name).suffix.lower() in CAPTION_SUFFIXES)
    files, _ = pair_captions([*(item for item in found if item.name in pictures), *captions], encoding)
    settings = [(item.name, "settings") for item in found if item.name == PROJECT_FILE]
    return sorted([*settings, *((file.name, file.account) for file in files if file.name not in pictures)])


def _seen_by_kohya(directory: Path) -> str:
    """What sd-scripts makes of the folder as it is, "" where it is not exported or cannot be read."""
    if not (directory / "dataset.toml").is_file():
        return ""
    try:
        return describe(read_folder(directory))
    except InputError as error:
        return str(error)


def _thumbnail(path: Path) -> str:
    from dataprep.pictures.pixels import PixelPolicy, load_rgb

    try:
        image = load_rgb(path, PixelPolicy())
    except RowError:
        return ""
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    data = io.BytesIO()
    image.save(data, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _bucket_bars(kept: list[dict[str, Any]]) -> list[Bar]:
    sizes = Counter(
        (r["bucket_width"], r["bucket_height"]) for r in kept if r.get("bucket_width") is not None
    )
    most = max(sizes.values(), default=1)
    ordered = sorted(sizes.items(), key=lambda item: item[0][0] / item[0][1])
    return [Bar(f"{w}x{h}", count / most, str(count)) for (w, h), count in ordered]


def _loss_bars(kept: list[dict[str, Any]], column: str = "crop_loss", before: str = "") -> list[Bar]:
    losses = [row[column] for row in kept if row.get(column) is not None]
    edges = ((0.0, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.4), (0.4, 1.01))
    counts = [sum(low <= loss < high for loss in losses) for low, high in edges]
    most = max([*counts, 1])
    return [
        Bar(
            f"{before}{low:.0%} to {min(high, 1):.0%}",
            count / most,
            str(count),
            "plain" if not before else "pruned",
        )
        for (low, high), count in zip(edges, counts, strict=True)
    ]


def _tag_bars(kept: list[dict[str, Any]]) -> list[Bar]:
    counts: Counter[tuple[str, str]] = Counter()
    rules: dict[tuple[str, str], str] = {}
    for row in kept:
        for tag in row.get("tags") or ():
            counts[tag["tag"], tag["fate"]] += 1
            rules.setdefault((tag["tag"], tag["fate"]), tag["rule"])
    most = max(counts.values(), default=1)
    return [
        Bar(f"{tag} ({_why(fate, rules[tag, fate])})", count / most, str(count), fate)
        for (tag, fate), count in counts.most_common(_TAGS_SHOWN)
    ]


def _tag_stories(kept: list[dict[str, Any]]) -> list[TagStory]:
    counts: Counter[tuple[str, str]] = Counter()
    for row in kept:
        counts.update((tag["tag"], _why(tag["fate"], tag["rule"])) for tag in row.get("tags") or ())
    fates: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for (tag, why), count in counts.most_common():
        fates[tag].append((why, count))
    return [TagStory(tag, fates[tag]) for tag in sorted(fates)]


def _why(fate: str, rule: str) -> str:
    said = fate.replace("_", " ")
    return rule if rule.startswith(said) else f"{said}: {rule}"


def _loss(line: str) -> tuple[int, float] | None:
    """Step and loss of one line of the log; None for other lines, and for one that a full disk cut short."""
    try:
        entry = json.loads(line)
        return int(entry["step"]), float(entry["loss"])
    except (ValueError, KeyError, TypeError):
        return None


def _training_log(directory: Path) -> str:
    """Points of the loss curve as an SVG polyline in a 600x120 box, "" before any training."""
    path = directory / "log" / "train.jsonl"
    if not path.is_file():
        return ""
    losses = [found for line in path.read_text("utf-8", "replace").splitlines() if (found := _loss(line))]
    if len(losses) < 2:
        return ""
    smooth, points = losses[0][1], []
    for step, loss in losses:
        smooth = 0.95 * smooth + 0.05 * loss
        points.append((step, smooth))
    last, top = points[-1][0] or 1, max(value for _, value in points) or 1.0
    return " ".join(f"{600 * step / last:.1f},{120 - 115 * value / top:.1f}" for step, value in points)
