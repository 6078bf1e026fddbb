"""Class images drawn by the base model: what is ordered, what is still missing, drawing and keeping it.

Each image is kept under a key of all that decides what it shows, so that an interrupted run goes on with the
next image and a changed training set draws only what it lacks; the file itself says how it was made.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from dataprep.class_plan import bucket_of, samples_by_bucket, shares
from dataprep.curate.captions import tag_key, tags_of
from dataprep.digest import digest
from dataprep.export.names import safe_name
from dataprep.folders import STATE_FOLDER
from dataprep.framing.buckets import Size
from dataprep.manifest import ACTIVE
from dataprep.store import disk_faults, write_bytes

if TYPE_CHECKING:
    from dataprep.models import Model
    from dataprep.progress import Observer
    from dataprep.stage import Context
    from dataprep.stages.reg import Reg

GENERATE = "generate"  # in place of a class folder: have the base model draw them
MADE = pa.struct(
    [
        ("prompt", pa.string()),
        ("negative", pa.string()),
        ("sampler", pa.string()),
        ("steps", pa.int32()),
        ("guidance", pa.float32()),
        ("seed", pa.int64()),
        ("model", pa.string()),  # name of the base model
        ("model_sha256", pa.string()),
    ]
)
Made = dict[str, Any]  # one value of MADE
_CHUNK = "dataprep"  # of text in the PNG file
_SUFFIX = ".png"
_AT_ONCE = 4  # images drawn together, and kept when they are done; reg.class_images tells it


@dataclass(frozen=True)
class Order:
    """One class image that should be there. Sides px, a bucket's."""

    prompt: str
    width: int
    height: int
    seed: int
    negative: str
    sampler: str
    steps: int
    guidance: float

    def key(self, model: Model) -> str:
        """Of all that decides what the image shows."""
        return digest("class image", asdict(self), model.sha256)

    def made(self, model: Model) -> Made:
        """The record of how it was drawn."""
        values = {name: value for name, value in asdict(self).items() if name in MADE.names}
        return {**values, "model": model.name, "model_sha256": model.sha256}


def class_folder(out: Path) -> Path:
    """Where the class images that belong to the prepared folder `out` lie."""
    return out / STATE_FOLDER / "class"


def orders(table: pa.Table, reg: Reg) -> list[Order]:
    """The class images for a training set: in its buckets, in its proportion.

    Args:
        table: the manifest after the reg stage.
        reg: its settings.
    """
    columns = ["role", "state", "bucket_width", "bucket_height", "repeats", "caption", "tags"]
    rows = [row for row in table.select(columns).to_pylist() if row["role"] == "train"]
    rows = [row for row in rows if row["state"] == ACTIVE and row["bucket_width"] is not None]
    samples = samples_by_bucket(rows)
    wanted = shares(samples, reg.class_images or samples.total())
    drawn: Counter[tuple[str, Size]] = Counter()
    result = []
    for size, count in sorted(wanted.items()):
        members = [row for row in rows if bucket_of(row) == size]
        for i in range(count):
            prompt = class_prompt(members[i % len(members)], reg)
            result.append(_order(prompt, size, drawn[prompt, size], reg))
            drawn[prompt, size] += 1
    return result


def _order(prompt: str, size: Size, number: int, reg: Reg) -> Order:
    # The same image has the same seed whatever else is ordered.
    seed = int(digest("seed", reg.seed, prompt, size, number)[:8], 16)
    return Order(prompt, size[0], size[1], seed, reg.negative, reg.sampler, reg.steps, float(reg.guidance))


def class_prompt(row: Mapping[str, Any], reg: Reg) -> str:
    """What is drawn for one training picture: never with the trigger, nor with what it shall absorb."""
    word = reg.class_word or "class"
    if reg.prompts == "class":
        return word
    absorbed = {tag_key(tag["tag"]) for tag in row["tags"] or () if tag["fate"] == "absorbed"}
    kept = [tag for tag in map(_without(reg.trigger), tags_of(row["caption"] or "")) if tag]
    tags = [tag for tag in kept if tag_key(tag) not in absorbed and tag_key(tag) != tag_key(word)]
    return ", ".join([word, *tags])


def _without(trigger: str | None) -> Any:  # noqa: ANN401 - a function on texts
    if not trigger:
        return str.strip
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
    return lambda tag: " ".join(word.sub(" ", tag).split())


def missing(wanted: Sequence[Order], context: Context) -> list[Order]:
    """The orders that nothing has been drawn for yet, of one bucket after the other."""
    model = context.models["base"]
    return [order for order in wanted if not context.blobs.has(order.key(model), _SUFFIX)]


def provide(wanted: Sequence[Order], context: Context, observer: Observer) -> bool:
    """Draw what is missing, and fill the class folder with exactly what is wanted.

    Args:
        wanted: the class images.
        context: with the base model among its models.
        observer: is told of every image.
    Returns:
        Whether the class folder changed.
    Raises:
        ModelError: the base model does not load.
        DiskError: an image cannot be written; those before it are kept.
    """
    to_draw = missing(wanted, context)
    if to_draw:
        observer.start("class images", len(to_draw))
        _draw(to_draw, context, observer)
        observer.finish()
    return _fill(class_folder(context.out), wanted, context)


def _draw(wanted: Sequence[Order], context: Context, observer: Observer) -> None:
    import torch

    from dataprep.inference.base import load_base
    from dataprep.inference.sampling import Prompt, Sampler

    model = context.models["base"]
    base = load_base(model.path, context.device, torch.float32 if context.device == "cpu" else torch.float16)
    sampler = Sampler(base, wanted[0].sampler)
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        prompts = [Prompt(o.prompt, o.negative, o.width, o.height, o.steps, o.guidance, o.seed) for o in part]
        for order, image in zip(part, sampler.draw(prompts), strict=True):
            _keep(image, order, context)
        observer.advance(len(part))


def _keep(image: Image.Image, order: Order, context: Context) -> None:
    from dataprep.inference.sampling import PARAMETERS

    model = context.models["base"]
    notes = PngImagePlugin.PngInfo()
    if PARAMETERS in image.info:
        notes.add_itxt(PARAMETERS, image.info[PARAMETERS])
    notes.add_itxt(_CHUNK, json.dumps(order.made(model), ensure_ascii=False))
    context.blobs.put(
        order.key(model), _SUFFIX, lambda path: image.save(path, "PNG", pnginfo=notes, compress_level=3)
    )


def _fill(folder: Path, wanted: Sequence[Order], context: Context) -> bool:
    model = context.models["base"]
    named = {}
    for order in wanted:
        key = order.key(model)
        named[f"{safe_name(order.prompt)[:20].strip()}-{key[:12]}{_SUFFIX}"] = key
    with disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir()}
        for name in there - set(named):
            (folder / name).unlink()
    for name in set(named) - there:
        write_bytes(folder / name, context.blobs.path(named[name], _SUFFIX).read_bytes())
    return there != set(named)


def read_made(path: Path) -> Made | None:
    """How an image was drawn, by its own words; None if it does not say, or not in our words."""
    try:
        with Image.open(path) as image:
            text = image.info.get(_CHUNK)
            record = json.loads(text) if isinstance(text, str) else None
            return pa.scalar(record, MADE).as_py() if isinstance(record, dict) else None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, pa.ArrowException):
        return None
