"""Findings about the pictures: how many, how large, how cut, how buckets and class images work out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from dataprep.checks.finding import Finding, Prepared, listed, names, plural
from dataprep.errors import InputError

CODES = frozenset(
    {
        "too-few-pictures",
        "many-pictures",
        "enlarged",
        "much-cut-off",
        "lone-buckets",
        "no-class-images",
        "few-class-images",
        "unused-class-images",
        "unusable-files",
    }
)
# Rules of thumb, pictures for each purpose: too few to generalize; enough; from here on more bring little.
_COUNTS = {
    "character": (5, 15, 200),
    "style": (10, 30, 2000),
    "outfit": (5, 15, 200),
    "pose": (8, 20, 300),
    "object": (5, 10, 200),
}
_ENLARGED = 1.25  # bucket px per source px
_CUT = 0.35  # share of the pixels
_USES = 10  # of one class image in an epoch


def count(prepared: Prepared) -> Iterator[Finding]:
    """Too few or too many pictures for the purpose."""
    total, purpose = len(prepared.train), prepared.purpose
    least, good, most = _COUNTS.get(purpose, _COUNTS["character"])
    article = "an" if purpose[0] in "aeiou" else "a"
    if total < good:
        yield Finding(
            "too-few-pictures",
            "serious" if total < least else "warning",
            f"{plural(total, 'picture')} for {article} {purpose}; {good} or more work",
            (),
            "with few pictures the training repeats their poses and backgrounds instead of the subject",
            "add pictures that differ in pose, background and light",
        )
    elif total > most:
        yield Finding(
            "many-pictures",
            "note",
            f"{total} pictures for {article} {purpose}; more than {most} rarely help",
            (),
            "training time grows with them; weak pictures pull the result down",
            "keep the best, or lower the repeats",
        )


def enlarged(prepared: Prepared) -> Iterator[Finding]:
    """Pictures smaller than what is trained."""
    rows = [row for row in prepared.train if (row.get("scale") or 0) > _ENLARGED]
    if rows:
        yield Finding(
            "enlarged",
            "warning" if 5 * len(rows) > len(prepared.train) else "note",
            f"{plural(len(rows), 'picture')} enlarged by more than {_ENLARGED:g} times",
            names(rows),
            "the softness of enlarged pictures is learned too",
            "replace them by larger originals, or train at a lower resolution",
        )


def cut(prepared: Prepared) -> Iterator[Finding]:
    """Pictures of which much does not fit their bucket."""
    rows = [row for row in prepared.train if (row.get("crop_loss") or 0) > _CUT]
    if rows:
        yield Finding(
            "much-cut-off",
            "warning",
            f"{plural(len(rows), 'picture')} with more than {_CUT:.0%} cut off",
            names(rows),
            "captions may name what was cut off",
            "look at the prepared pictures; move the crop by hand, or cut the originals into several",
        )


def lone_buckets(prepared: Prepared) -> Iterator[Finding]:
    """Buckets that cannot fill a batch."""
    size = prepared.setting("export", "batch_size") or 1
    uses: Counter[tuple[int, int]] = Counter()
    for row in prepared.train:
        if row.get("bucket_width"):
            uses[row["bucket_width"], row["bucket_height"]] += row.get("repeats") or 1
    small = sorted(bucket for bucket, number in uses.items() if number < size)
    if small:
        rows = [row for row in prepared.train if (row.get("bucket_width"), row.get("bucket_height")) in small]
        yield Finding(
            "lone-buckets",
            "note",
            f"{plural(len(small), 'bucket')} with fewer pictures than a batch ({size}): "
            + listed(f"{width}x{height}" for width, height in small),
            names(rows),
            "batches never mix buckets, so these pictures train in smaller batches and weigh more",
            "crop these pictures to a more common shape, or accept it",
        )


def class_images(prepared: Prepared) -> Iterator[Finding]:
    """Whether prior preservation has what it needs."""
    if isinstance(prepared.view, InputError):
        return
    if not prepared.reg:
        if prepared.lead.class_word is not None and prepared.purpose != "style":
            yield Finding(
                "no-class-images",
                "note",
                f"there are no class images of {prepared.lead.class_word!r}",
                (),
                "without them the class word drifts towards the subject: all of the class will look like it",
                "name a folder of class images with --reg, or train short",
            )
        return
    uses = prepared.view.reg_uses
    often = [file for file, number in uses.items() if number > _USES]
    unused = [file for file, number in uses.items() if number == 0]
    if often:
        yield Finding(
            "few-class-images",
            "warning",
            f"each class image is used up to {max(uses.values())} times in an epoch",
            tuple(sorted(often)),
            "the class word then learns these few pictures by heart",
            "add class images: as many as training pictures times repeats is best",
        )
    if unused:
        yield Finding(
            "unused-class-images",
            "note",
            f"{plural(len(unused), 'class image')} never used",
            tuple(sorted(unused)),
            "sd-scripts takes as many class images as training pictures times repeats",
            "nothing; or raise the repeats",
        )


def unusable(prepared: Prepared) -> Iterator[Finding]:
    """Files that were put aside."""
    rows = sorted(prepared.quarantined, key=lambda row: (str(row["reason"]).split(": ")[0], row["path"]))
    for reason, group in groupby(rows, key=lambda row: str(row["reason"]).split(": ")[0]):
        found = list(group)
        yield Finding(
            "unusable-files",
            "note",
            f"{plural(len(found), 'file')} put aside: {reason}",
            tuple(row["path"] for row in found),
            "they are not trained",
            "`dataprep show` tells more; replace them, or take them out of the raw folder",
        )
