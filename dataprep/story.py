"""One image's whole story in words, from its manifest row: origin, verdict, view, every tag's fate."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dataprep.errors import InputError

_MARKS = {"kept": "+", "added_by_hand": "+", "absorbed": "*", "pruned": "-", "removed_by_hand": "-"}


def find_row(table: pa.Table, image: str) -> dict[str, Any]:
    """The row that a raw path, prepared file, caption file, stem or id names.

    Raises:
        InputError: none, or several, are named so.
    """
    wanted = image.replace("\\", "/")
    rows: list[dict[str, Any]] = table.to_pylist()
    exact = [row for row in rows if wanted in _names(row)]
    found = exact or [row for row in rows if any(n.endswith(wanted) for n in _names(row))]
    if not found:
        raise InputError(f"{image}: no such image in the manifest; give a raw path such as {_example(table)}")
    if len(found) > 1:
        paths = ", ".join(f"{row['path']} ({row['id']})" for row in found[:5])
        raise InputError(f"{image}: names {len(found)} images: {paths}; give an id")
    return found[0]


def _names(row: dict[str, Any]) -> list[str]:
    files = [row.get(name) for name in ("path", "image_file", "caption_file", "latents_file")]
    stems = [file.rsplit("/", 1)[-1].rsplit(".", 1)[0] for file in files[:2] if file]
    return [row["id"], *(file for file in files if file), *stems]


def _example(table: pa.Table) -> str:
    return table["path"][0].as_py() if table.num_rows else "(the manifest is empty)"


def story(row: dict[str, Any]) -> str:
    """The story as text, one fact a line."""
    lines = [
        f"{row['path']}  ({row['role']}, id {row['id']})",
        f"file     {row['format'] or 'unknown'}, {row['width']}x{row['height']} px, {row['bytes']} bytes",
        f"sha256   {row['sha256']}",
        f"state    {row['state']}" + (f": {row['reason']}" if row["reason"] else ""),
    ]
    if row.get("phash"):
        lines.append(f"phash    {row['phash']}")
    if row.get("duplicate_of"):
        lines.append(f"twin of  {row['duplicate_of']} at distance {row['distance']} of 64 bits")
    if row.get("box"):
        box = row["box"]
        lines.append(
            f"view     left {box['left']} top {box['top']} right {box['right']} bottom {box['bottom']} -> "
            f"{row['bucket_width']}x{row['bucket_height']}, {row['crop_loss']:.1%} cropped away, "
            f"scale {row['scale']:.2f}"
        )
        lines.append(f"subject  {_subject_fate(row.get('subject_cut'))}")
    if row.get("image_file"):
        lines.append(f"written  {row['image_file']}, folder repeats {row.get('repeats')}")
    if row.get("latents_file"):
        lines.append(f"latents  {row['latents_file']} ({row.get('latents_key')})")
    if row.get("raw_caption"):
        lines.append(f"came with caption: {row['raw_caption'].strip()}")
    if row.get("caption"):
        lines.append(f"caption  {row['caption']}")
    if row.get("hand_caption") is not None:
        lines.append("by hand  this whole caption; tags are only counted, and change nothing in it")
    if row.get("sentence"):
        lines.append(f"sentence {row['sentence']}")
    for column, verb in (("clip_agrees", "sees too"), ("clip_disagrees", "does not see")):
        if row.get(column):
            lines.append(f"CLIP     {verb}: {', '.join(row[column])}")
    return "\n".join([*lines, *_tag_lines(row.get("tags") or [])])


def _subject_fate(share_cut: float | None) -> str:
    if share_cut is None:
        return "none was found, or none looked for (crop.focus center)"
    return "whole" if share_cut == 0 else f"{share_cut:.1%} cut away"


def _tag_lines(tags: list[dict[str, Any]]) -> list[str]:
    if not tags:
        return []
    lines = ["tags     (+ in the caption, * absorbed by the trigger, - left out)"]
    for tag in tags:
        score = "     " if tag["score"] is None else f"{tag['score']:.3f}"
        mark = _MARKS.get(tag["fate"], "?")
        lines.append(f"  {mark} {tag['tag']:<24} {score} {tag['source']}, {tag['rule']}")
    return lines
