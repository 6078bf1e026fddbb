"""The bucket plan in words, beside kohya's own list and choice: what each cuts, and what for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataprep.framing.buckets import Size, bucket_sizes, place
from dataprep.stages.bucket import Bucket, region

_SAME = 0.0005  # mean share of the pixels that is shown as none


@dataclass(frozen=True)
class _Plan:
    """Buckets in use with their pictures, and the mean share of a picture's pixels that is cut away."""

    counts: Counter[Size]
    loss: float

    def ragged(self, batch_size: int, repeats: int = 1) -> int:
        return sum(count * repeats % batch_size != 0 for count in self.counts.values())

    def said(self, batch_size: int) -> str:
        return (
            f"{_counted(len(self.counts), 'bucket')}, {self.ragged(batch_size)} of them ending in a part of "
            f"a batch, {self.loss:.1%} of the pixels cut away"
        )


def plan_in_words(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """What the plan does with the pictures, what kohya's would, and why ours is taken; "" without pictures.

    Args:
        rows: of the manifest, active, role train; those without a bucket are left out.
        settings: of the bucket stage; those it does not know are left out.
    """
    rows = [row for row in rows if row.get("bucket_width") is not None]
    stage = Bucket(**{name: value for name, value in settings.items() if name in Bucket.model_fields})
    if not rows:
        return ""
    ours, theirs = _ours(rows), _kohyas(rows, stage)
    batch = stage.batch_size
    lines = [f"Batches of {batch}: {ours.said(batch)}."]
    if stage.plan == "kohya":
        return f"{lines[0]} It is kohya's own list and choice, as bucket.plan asks."
    if ours.counts == theirs.counts and abs(ours.loss - theirs.loss) < _SAME:
        return f"{lines[0]} kohya's own list and choice is the same."
    lines.append(f"kohya's own list and choice: {theirs.said(batch)}.")
    lines.append(_why(ours, theirs, stage))
    repeats = {row.get("repeats") for row in rows}
    times = repeats.pop() if len(repeats) == 1 else None
    if times and theirs.ragged(batch) > theirs.ragged(batch, times) == 0:
        lines.append(
            f"The {times} repeats, decided after the plan, make whole batches of any number of pictures: "
            "with bucket.batch_size = 1 no more would be cut than is best, and no batch be ragged either."
        )
    return " ".join(lines)


def _ours(rows: Sequence[Mapping[str, Any]]) -> _Plan:
    counts = Counter((int(row["bucket_width"]), int(row["bucket_height"])) for row in rows)
    return _Plan(counts, _mean(rows, "crop_loss"))


def _kohyas(rows: Sequence[Mapping[str, Any]], stage: Bucket) -> _Plan:
    sizes = bucket_sizes(stage.grid())
    counts = Counter(place(*region(row), sizes).bucket for row in rows)
    return _Plan(counts, _mean(rows, "kohya_crop_loss"))


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    """Over whole pictures: of boxes set by hand and of views nothing else was to be seen."""
    whole = [row for row in rows if row.get("hand_box") is None and row.get("region") is None]
    losses = [row[column] for row in whole if row.get(column) is not None]
    return sum(losses) / len(losses) if losses else 0.0


def _why(ours: _Plan, theirs: _Plan, stage: Bucket) -> str:
    more = ours.loss - theirs.loss
    ragged = ours.ragged(stage.batch_size), theirs.ragged(stage.batch_size)
    batches = f"fewer ragged buckets: {ragged[0]} instead of {ragged[1]}"
    if more >= _SAME and ragged[0] < ragged[1]:
        return f"So {more:.1%} more is cut for {batches} (bucket.whole_batch_cost says what they may cost)."
    if more >= _SAME:
        return f"So {more:.1%} more is cut, for subjects kept whole and pictures enlarged less."
    if more <= -_SAME:
        return f"So {-more:.1%} less is cut" + (f", with {batches}." if ragged[0] < ragged[1] else ".")
    return f"As much is cut, with {batches}." if ragged[0] < ragged[1] else "As much is cut."


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
