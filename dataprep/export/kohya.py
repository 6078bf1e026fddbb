"""kohya's layout: which files a prepared folder has, and the text of its configuration files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from dataprep.curate.captions import tag_key, tags_of
from dataprep.digest import digest
from dataprep.export.kohya_caches import latents_sha256, texts_sha256
from dataprep.export.kohya_rules import CACHE_STYLES, TEXT_CACHES, Family, is_whole, latents_name
from dataprep.export.names import safe_name, unique_names
from dataprep.export.sync import Wanted
from dataprep.framing.buckets import Size
from dataprep.store import LostBlob

Row = Mapping[str, Any]

CAPTION_SUFFIX = ".txt"
_PNG_LEVEL = 3  # zlib: 6 takes twice as long for 4% smaller files
# Array in a latents file -> the option without which sd-scripts makes no use of it
_EXTRAS = {"latents_flipped": "flip_aug", "alpha_mask": "alpha_mask"}
_ROLE_FOLDERS = {"train": "img", "reg": "reg"}


def folder_name(repeats: int, *words: str | None) -> str:
    """A subset folder such as "10_sks girl"."""
    return safe_name(f"{repeats}_{' '.join(word for word in words if word)}")


def is_placed(row: Row) -> bool:
    """Whether the row has all that a picture file needs."""
    return row["state"] == "active" and row["box"] is not None and row["bucket_width"] is not None


def picture_files(
    rows: Sequence[Row],
    default_folders: Mapping[str, str],
    family: Family,
    *,
    ascii_only: bool,
    retouched: Collection[str] = (),
) -> dict[str, str]:
    """Row id -> path of the picture file, relative to OUT, POSIX, with suffix.

    Args:
        rows: placed rows.
        default_folders: role -> subset folder of rows that have none.
        family: decides the names of caches, by whose beginnings sd-scripts looks for a picture's.
        ascii_only: see names.safe_name.
        retouched: ids of rows whose picture in OUT was changed by hand, and which have no latents for that.
    """
    folders: dict[str, list[Row]] = {}
    for row in rows:
        name = safe_name(row["folder"] or default_folders[row["role"]], ascii_only=ascii_only)
        folders.setdefault(f"{_ROLE_FOLDERS[row['role']]}/{name}", []).append(row)
    files: dict[str, str] = {}
    for folder, members in folders.items():
        stems = [
            PurePosixPath(row["path"]).stem + (f"-{row['view']}" if row["view"] else "") for row in members
        ]
        endings = [
            None
            if row["id"] in retouched
            else latents_name("", row["bucket_width"], row["bucket_height"], family)
            for row in members
        ]
        names = unique_names(stems, [row["id"] for row in members], ascii_only=ascii_only, endings=endings)
        files |= {row["id"]: f"{folder}/{name}.png" for row, name in zip(members, names, strict=True)}
    return files


def caption_file(picture: str) -> str:
    """Path of a picture's caption file."""
    return picture.removesuffix(".png") + CAPTION_SUFFIX


def latents_file(picture: str, row: Row, family: Family) -> str:
    """Path of a picture's latents."""
    return latents_name(picture.removesuffix(".png"), row["bucket_width"], row["bucket_height"], family)


def one_line(text: str | None) -> str:
    """A caption without line breaks, byte order mark or outer space."""
    lines = [line.strip() for line in (text or "").replace("\ufeff", "").splitlines()]
    return " ".join(line for line in lines if line)


def caption_text(row: Row, trigger: str | None, class_word: str | None, purpose: str) -> str:
    """The text of a row's caption file: never empty, since sd-scripts stops at an empty one.

    Args:
        row: with its caption and role.
        trigger: the trigger word.
        class_word: what the subject is one of.
        purpose: stands in where there are no words.
    """
    if own := one_line(row["caption"]):
        return own
    if row["role"] == "reg":
        return class_word or "class"
    return ", ".join(word for word in (trigger, class_word) if word) or purpose


def picture(row: dict[str, Any], file: str, view: Callable[[dict[str, Any]], Image.Image]) -> Wanted:
    """The picture at bucket size, 8-bit RGB."""

    def make() -> bytes:
        buffer = io.BytesIO()
        view(row).convert("RGB").save(buffer, "PNG", compress_level=_PNG_LEVEL)
        return buffer.getvalue()

    key = digest("png", row["pixels_key"], row["box"], row["bucket_width"], row["bucket_height"])
    return Wanted(file, "image", key, make, row)


def caption(row: dict[str, Any], file: str, text: str) -> Wanted:
    """The caption: UTF-8 without mark, one line, one line end."""
    data = (text + "\n").encode("utf-8", "replace")
    return Wanted(file, "caption", digest("txt", text), lambda: data, row, text)


def latents(row: dict[str, Any], file: str, blob: Path, out: Path, family: Family) -> Wanted:
    """The latents, copied: a trainer that adds arrays to the file must not write into the store."""
    bucket = (row["bucket_width"], row["bucket_height"])
    plain = CACHE_STYLES[family].plain_keys
    read = partial(latents_sha256, out, bucket=bucket, plain_keys=plain)
    return Wanted(file, "latents", row["latents_key"], lambda: _whole(blob), row, read=read)


def texts(row: dict[str, Any], file: str, blob: Path, out: Path, family: Family) -> Wanted:
    """The text encoders' outputs, copied like latents."""
    read = partial(texts_sha256, out, family=family)
    return Wanted(file, "texts", row["texts_key"], lambda: _whole(blob), row, read=read)


def texts_file(picture: str, family: Family) -> str:
    """Path of a picture's text-encoder outputs."""
    return picture.removesuffix(".png") + TEXT_CACHES[family].suffix


def _whole(blob: Path) -> bytes:
    data = blob.read_bytes() if blob.is_file() else b""
    if not is_whole(data):
        raise LostBlob(f"{blob}: latents that were encoded earlier are gone or damaged; run again")
    return data


def config(file: str, text: str) -> Wanted:
    """A configuration file."""
    return Wanted(file, "config", digest("config", text), text.encode)


def toml_value(value: object) -> str:
    """A TOML value: bool, int, float, str, or a list of those."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    return repr(value)


def bucket_steps(sizes: Sequence[Size], family: Family) -> int:
    """The largest step (px) that all buckets are multiples of and that the family's trainer can take."""
    common = math.gcd(*(side for size in sizes for side in size))
    return math.gcd(common, 64) if sizes else CACHE_STYLES[family].step


def bucket_settings(sizes: Sequence[Size], resolution: int, family: Family) -> dict[str, object]:
    """The options with which sd-scripts puts every picture into the bucket whose size it has.

    Args:
        sizes: of all buckets, px.
        resolution: px; its square is the training area.
        family: of the base model.
    """
    sides = [side for size in sizes for side in size] or [resolution]
    return {
        "enable_bucket": True,
        "bucket_no_upscale": True,
        "bucket_reso_steps": bucket_steps(sizes, family),
        "min_bucket_reso": min([*sides, resolution]),
        "max_bucket_reso": max([*sides, resolution]),
    }


def cache_options(extras: frozenset[str]) -> dict[str, object]:
    """The options that make use of what the latents files hold besides latents."""
    return {name: True for array, name in _EXTRAS.items() if array in extras}


def dataset_toml(
    out: Path,
    subsets: Mapping[str, tuple[int, bool]],
    sizes: Sequence[Size],
    resolution: int,
    batch_size: int,
    family: Family,
    extras: frozenset[str] = frozenset(),
    keep_tokens: int = 1,
) -> str:
    """The file for sd-scripts' --dataset_config.

    Args:
        out: the prepared folder; the trainer resolves paths from where it is started, so they are absolute.
        subsets: folder relative to OUT -> (repeats, whether it holds class images).
        sizes: of all buckets, px.
        resolution: px; its square is the training area.
        batch_size: pictures a step.
        family: of the base model.
        extras: what the latents files hold besides latents: latents_flipped, alpha_mask.
        keep_tokens: leading tags of training captions that stay first when tags are shuffled.
    """
    general = {
        "resolution": [resolution, resolution],
        "batch_size": batch_size,
        **bucket_settings(sizes, resolution, family),
    }
    # Whether tags are shuffled or dropped is train.toml's to say: what stands here would win over it.
    captions: dict[str, object] = {"caption_extension": CAPTION_SUFFIX, "keep_tokens": keep_tokens}
    captions |= cache_options(extras)
    lines = [
        "# For sd-scripts: --dataset_config. Every picture has its bucket's size already, so",
        "# bucket_no_upscale keeps each one in it. The latents need --cache_latents --cache_latents_to_disk.",
        "",
        "[[datasets]]",
        *(f"{name} = {toml_value(value)}" for name, value in general.items()),
    ]
    for folder, (repeats, is_reg) in sorted(subsets.items(), key=lambda item: (item[1][1], item[0])):
        keys: dict[str, object] = {"image_dir": (out / folder).as_posix(), "num_repeats": repeats}
        keys |= {"class_tokens": folder.rpartition("/")[2].partition("_")[2]}
        keys |= {"is_reg": True, **captions, "keep_tokens": 0} if is_reg else captions
        lines += [
            "",
            "[[datasets.subsets]]",
            *(f"{name} = {toml_value(value)}" for name, value in keys.items()),
        ]
    return "\n".join(lines) + "\n"


def same_tags(
    edited: str, before: str | None, after: str, added: Sequence[str], removed: Sequence[str]
) -> bool:
    """Whether every change that a hand made to a caption has found its way into the caption that follows.

    Args:
        edited: the caption as it is on disk.
        before: as it was written last, None if unknown.
        after: as it would be written now.
        added: tags that count as added by hand.
        removed: tags that count as removed by hand.
    """
    if before is None:
        return False
    old, new, now = (set(map(tag_key, tags_of(text))) for text in (before, edited, after))
    missing = new - old - now - set(map(tag_key, added))
    left = (old - new) & now - set(map(tag_key, removed))
    return not missing and not left
