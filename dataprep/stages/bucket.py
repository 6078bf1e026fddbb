"""Decide each picture's bucket and the box that is cut for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from dataprep.class_plan import bucket_of, in_proportion
from dataprep.errors import ConfigError
from dataprep.framing.boxes import Box, around, box_within, cut, overlap
from dataprep.framing.bucket_plan import Costs, area_costs, assign, candidates, fits, ragged_buckets
from dataprep.framing.buckets import BucketGrid, Size, bucket_sizes, place
from dataprep.manifest import ACTIVE, BOX, QUARANTINED
from dataprep.stage import Context, Row, Stage, TableFunction

_SUBJECT_CUT = 2.0  # cost of a subject that is wholly cut away, against 1 for the whole picture
_SAME_LOSS = 1e-9  # mean share of the pixels
_TOO_SMALL = 1e3  # cost of a bucket for which a picture would be enlarged too much


class Bucket(Stage, frozen=True):
    """Settings of the buckets.

    `crop_loss` is the share of a picture's pixels that is cut away, `kohya_crop_loss` what kohya's list and
    choice would cut, `subject_cut` the share of the subject that is cut away: 0 if it is whole, null where no
    subject is known, because nothing stood out or because nobody looked (crop.focus center).

    The plan counts each picture once: repeats are decided later (reg), of the pictures that are left by then,
    and may be anything. Buckets of whole batches stay so whatever they are. Where they are known to be a
    multiple of the batch, no bucket can be ragged: batch_size = 1 here then cuts less, and costs nothing.
    """

    name: ClassVar[str] = "bucket"
    version: ClassVar[int] = 6
    scope = "table"
    needs: ClassVar[pa.Schema] = pa.schema(
        [
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("subject", BOX),
            ("subject_may_be_cut", pa.bool_()),
            ("focus_x", pa.float32()),
            ("focus_y", pa.float32()),
            ("hand_box", BOX),
            ("region", BOX),
        ]
    )
    adds: ClassVar[pa.Schema] = pa.schema(
        [
            ("bucket_width", pa.int32()),
            ("bucket_height", pa.int32()),
            ("box", BOX),  # px of the upright original
            ("crop_loss", pa.float32()),  # share of the pixels that is cut away, 0 to 1
            ("kohya_crop_loss", pa.float32()),  # what kohya's own list and choice would cut away
            ("subject_cut", pa.float32()),  # share of the subject that is cut away, null if none is known
            ("scale", pa.float32()),  # bucket px per source px; over 1 is upscaling
        ]
    )

    resolution: Annotated[
        int, Field(ge=64, le=4096, description="a bucket's area is at most the square of it, px")
    ] = 512
    min_side: Annotated[
        int | None, Field(ge=8, le=4096, description="least bucket side, px; default: resolution / 2")
    ] = None
    max_side: Annotated[
        int | None, Field(ge=64, le=8192, description="greatest bucket side, px; default: 2 * resolution")
    ] = None
    step: Annotated[int, Field(ge=8, le=256, multiple_of=8, description="sides are multiples of it, px")] = 64
    plan: Annotated[
        Literal["best", "kohya"],
        Field(
            description="best: whole batches in every bucket, then least is cut; kohya: its list and choice"
        ),
    ] = "best"
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="buckets of the best plan hold multiples of it, though more may be cut for that: "
            "up to whole_batch_cost; 1 cuts the least",
        ),
    ] = 2
    whole_batch_cost: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of the pixels that whole batches may cost; beyond it as few buckets as "
            "possible end in a part of one",
        ),
    ] = 0.04
    max_upscale: Annotated[
        float, Field(ge=1, le=16, description="pictures that would be enlarged more are set aside")
    ] = 2.0

    def grid(self) -> BucketGrid:
        """The buckets that may be used. Raises ConfigError."""
        low = self.min_side if self.min_side is not None else self.resolution // 2
        high = self.max_side if self.max_side is not None else 2 * self.resolution
        try:
            return BucketGrid((self.resolution, self.resolution), low, high, self.step).adjusted()
        except ValueError as error:
            raise ConfigError(f"[bucket]: {error}") from error

    def open(self, context: Context) -> TableFunction:
        """Training rows choose the buckets; class images go into the buckets that training rows use."""
        grid = self.grid()

        def bucket(table: pa.Table) -> pa.Table:
            rows = table.to_pylist()
            for row in rows:
                row.update(dict.fromkeys(self.adds.names))
            train = [row for row in rows if row["role"] == "train" and row["state"] == ACTIVE]
            reg = [row for row in rows if row["role"] == "reg" and row["state"] == ACTIVE]
            used = self._place(train, candidates(grid), grid)
            # Class images share the buckets in the training set's proportion, so that every batch can pair
            # the two. A training picture without a bucket was set aside.
            like = Counter(bucket_of(row) for row in train if row["bucket_width"] is not None)
            self._place(reg, used or candidates(grid), grid, like)
            columns = [*self.adds, table.schema.field("state"), table.schema.field("reason")]
            return pa.table(
                {field.name: pa.array([row[field.name] for row in rows], field.type) for field in columns}
            )

        return bucket

    def _place(
        self, rows: list[Row], sizes: list[Size], grid: BucketGrid, like: Counter[Size] | None = None
    ) -> list[Size]:
        """Fill the rows in, in the proportion of `like` where given; returns the buckets in use, by shape."""
        if self.plan == "kohya":
            sizes = sorted(set(sizes) & set(bucket_sizes(grid)), key=_shape) or sizes
        fit = _Fit.of(rows, sizes)
        if not rows:
            return []
        if self.plan == "kohya":  # which has but one bucket for a picture
            only = np.array([sizes.index(place(*region(row), sorted(sizes)).bucket) for row in rows])
            small = fit.scales[np.arange(len(rows)), only] > self.max_upscale
        else:
            only = fit.costs.argmin(axis=1)
            small = fit.scales.min(axis=1) > self.max_upscale
        for i in np.flatnonzero(small):
            _set_aside(rows[i], sizes[only[i]], float(fit.scales[i, only[i]]), self.max_upscale)
        rows = [row for row, too_small in zip(rows, small, strict=True) if not too_small]
        if not rows:
            return []
        fit = fit.only(~small)
        theirs = [place(*region(row), bucket_sizes(grid)).bucket for row in rows]
        if self.plan == "kohya":
            chosen = [sizes[at] for at in only[~small]]
        else:
            chosen = self._proportional(fit, sizes, like) if like else self._planned(fit, sizes, grid, theirs)
        for row, size, their in zip(rows, chosen, theirs, strict=True):
            _fill(row, size, their)
        return sorted(Counter(chosen), key=_shape)

    def _proportional(self, fit: _Fit, sizes: list[Size], like: Counter[Size]) -> list[Size]:
        """In the proportion of `like`, except where that would enlarge a picture too much."""
        places = np.array([sizes.index(size) for size in in_proportion(fit.aspects, like)])
        bad = fit.scales[np.arange(len(places)), places] > self.max_upscale
        own = (fit.costs + np.where(fit.scales > self.max_upscale, _TOO_SMALL, 0.0)).argmin(axis=1)
        return [sizes[at] for at in np.where(bad, own, places)]

    def _planned(self, fit: _Fit, sizes: list[Size], grid: BucketGrid, theirs: list[Size]) -> list[Size]:
        """The best plan with the fewest ragged buckets that `whole_batch_cost` pays for.

        Where that neither has fewer ragged batches nor cuts less than kohya's choice, `theirs`, it is theirs.
        """
        costs = fit.costs + np.where(fit.scales > self.max_upscale, _TOO_SMALL, 0.0)
        costs = costs + area_costs(sizes, grid.area)
        rows = np.arange(len(costs))
        alone = costs[rows, assign(costs, fit.aspects, 1)].mean()
        places = assign(costs, fit.aspects, self.batch_size, float(alone) + self.whole_batch_cost)
        # Pictures that whole batches would enlarge too much go to their own best bucket.
        bad = fit.scales[rows, places] > self.max_upscale
        places = np.where(bad, costs.argmin(axis=1), places)
        return theirs if self._dominated(fit, places, sizes, theirs) else [sizes[at] for at in places]

    def _dominated(self, fit: _Fit, places: NDArray[np.int64], sizes: list[Size], theirs: list[Size]) -> bool:
        """Whether kohya's choice is no worse in anything, better in something, and open to every picture."""
        if not set(theirs) <= set(sizes):
            return False
        index = {size: at for at, size in enumerate(sizes)}
        other = np.array([index[size] for size in theirs])
        rows = np.arange(len(places))
        if (fit.scales[rows, other] > self.max_upscale).any():
            return False
        ragged = ragged_buckets(other, self.batch_size) - ragged_buckets(places, self.batch_size)
        loss = float(fit.costs[rows, other].mean() - fit.costs[rows, places].mean())
        return ragged <= 0 and loss < _SAME_LOSS and (ragged < 0 or loss < -_SAME_LOSS)


@dataclass(frozen=True)
class _Fit:
    """How N pictures fit B buckets: cost and scale, shape (N, B), and the pictures' shapes, (N,)."""

    costs: Costs
    scales: NDArray[np.float64]
    aspects: NDArray[np.float64]

    @classmethod
    def of(cls, rows: list[Row], sizes: list[Size]) -> _Fit:
        regions = np.array([region(row) for row in rows], np.float64).reshape(-1, 2)
        box_widths, box_heights = fits(regions[:, 0], regions[:, 1], sizes)
        costs = 1.0 - box_widths * box_heights / (regions[:, 0] * regions[:, 1])[:, None]
        scales = np.array([size[0] for size in sizes]) / box_widths
        for i, row in enumerate(rows):
            hand, subject = _hand(row), _to_keep(row)
            if hand is not None:
                boxes = [around(hand, row["width"], row["height"], size) for size in sizes]
                scales[i] = [size[0] / box.width for size, box in zip(sizes, boxes, strict=True)]
            elif subject is not None:
                kept = np.minimum(1, box_widths[i] / subject.width)
                kept = kept * np.minimum(1, box_heights[i] / subject.height)
                costs[i] += _SUBJECT_CUT * (1 - kept)
        return cls(costs, scales, regions[:, 0] / regions[:, 1])

    def only(self, rows: NDArray[np.bool_]) -> _Fit:
        return _Fit(self.costs[rows], self.scales[rows], self.aspects[rows])


def _shape(size: Size) -> tuple[float, int]:
    return size[0] / size[1], -size[0]


def _hand(row: Mapping[str, Any]) -> Box | None:
    """The box that shall be seen: set by hand, else the further view that the row is."""
    wanted = row.get("hand_box") or row.get("region")
    return None if wanted is None else box_within(wanted, row["width"], row["height"])


def _subject(row: Row) -> Box | None:
    return None if row["subject"] is None else box_within(row["subject"], row["width"], row["height"])


def _to_keep(row: Row) -> Box | None:
    """The subject, where it is to be kept whole and not only leaned to."""
    return None if row["subject_may_be_cut"] else _subject(row)


def region(row: Mapping[str, Any]) -> Size:
    """Size of what shall be seen: the box set by hand, else the whole picture."""
    hand = _hand(row)
    return (row["width"], row["height"]) if hand is None else (hand.width, hand.height)


def _set_aside(row: Row, bucket: Size, scale: float, limit: float) -> None:
    whole = f"{row['width']}x{row['height']} px"
    what, remedy = whole, "find a larger copy"
    if (seen := _hand(row)) is not None:
        by_hand = row["hand_box"] is not None
        what = (
            f"{'the box set by hand' if by_hand else 'the view'}, {seen.width}x{seen.height} px of {whole},"
        )
        remedy = "set a larger box or take it back" if by_hand else "find a larger copy"
    row["state"] = QUARANTINED
    row["reason"] = (
        f"bucket:too-small: {what} would be enlarged {scale:.2f} times to {bucket[0]}x{bucket[1]}, more than "
        f"{limit:g} times; {remedy}, lower resolution, or raise bucket.max_upscale"
    )


def _fill(row: Row, bucket: Size, kohya: Size) -> None:
    hand, seen = _hand(row), _subject(row)
    whole = Box(0, 0, row["width"], row["height"])
    box = _box(row, bucket)
    row.update(
        bucket_width=bucket[0],
        bucket_height=bucket[1],
        box=box.as_dict(),
        crop_loss=1.0 - overlap(box, hand or whole) / (hand or whole).area,
        kohya_crop_loss=1.0 - cut(whole.width, whole.height, kohya, (0.5, 0.5), None).area / whole.area,
        subject_cut=None if seen is None else 1.0 - overlap(box, seen) / seen.area,
        scale=bucket[0] / box.width,
    )


def _box(row: Row, bucket: Size) -> Box:
    width, height = row["width"], row["height"]
    hand = _hand(row)
    if hand is not None:
        return around(hand, width, height, bucket)
    return cut(width, height, bucket, (row["focus_x"], row["focus_y"]), _to_keep(row))
