"""The pictures kept so far of a group of near ones, and which of them another picture is a copy of.

A hash that is near makes a candidate; the second measure decides: the coarse thumb, and for pages of text
where their ink lies. What passes is compared in every part, lest another expression be taken for a copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprep.copies.fine import CHANGED, SAME, SAME_CUT, Fines
from dataprep.copies.likeness import PAGE, PAGE_DISTANCE, PAGE_TRIMMED, TRIMMED, WHOLE, Limits, Thumbs
from dataprep.copies.neighbours import Hashes, hamming
from dataprep.copies.pages import PERHAPS_SAME_PAGE, SAME_PAGE, Pages

Row = dict[str, Any]
Indices = NDArray[np.int64]

NONE = (65, -1)  # further than any distance, and no picture
# Of more candidates than this the second measure looks at the likeliest only, so that thousands of different
# screenshots of one hash stay linear.
MOST_COMPARED = 256
SAME_FRAMING = 0.02  # difference of the shares within the borders up to which two copies lie alike
_FRAMED = 0.9  # share within the borders from which there are none to speak of


@dataclass(frozen=True)
class Hashed:
    """The hashes of N pictures, shape (N,) each; the mirrored ones only where they are compared."""

    whole: Hashes
    trimmed: Hashes
    mirrored: tuple[Hashes, Hashes] | None = None

    def of(self, members: list[int]) -> Hashed:
        """Those of some of the pictures."""
        mirrored = self.mirrored and (self.mirrored[0][members], self.mirrored[1][members])
        return Hashed(self.whole[members], self.trimmed[members], mirrored)


@dataclass(frozen=True)
class Looks:
    """One way to look at N pictures: hash and what the other measures are taken from."""

    hashes: Hashes
    thumbs: Thumbs
    pages: Pages
    fines: Fines

    @cached_property
    def sketches(self) -> Hashes:
        """64 bits of the second measure, of which copies have most in common."""
        return np.where(self.pages.known, self.pages.sketches, self.thumbs.sketches)


@dataclass(frozen=True)
class View:
    """One way to compare: a picture with the kept ones, how alike they must be, pages of text among them.

    Where `shares` is given, pictures that keep the same share of their area within plain borders are framed
    alike, and what lies `within` has to be alike too: else one figure in other clothes passes, as most of the
    picture is ground. Where `uncut` is given, pictures with and without their borders are compared: what is
    the same but for some part as a `uncut` pair is no copy, however its borders are cut.
    """

    ours: Looks
    kept: Looks
    limits: Limits
    page_limits: Limits
    shares: NDArray[np.float64]
    within: tuple[Thumbs, Thumbs] | None = None
    uncut: tuple[Looks, Looks] | None = None

    @cached_property
    def borderless(self) -> NDArray[np.bool_]:
        """Which pictures are the same with and without borders, shape (N,); of `uncut` views."""
        if self.uncut is None:
            return np.zeros(len(self.shares), np.bool_)
        same = (self.ours.hashes == self.uncut[0].hashes) & (self.kept.hashes == self.uncut[1].hashes)
        borderless: NDArray[np.bool_] = same & (self.shares == 1)
        return borderless


def views_of(rows: list[Row], hashed: Hashed) -> list[View]:
    """Whole, without borders and, where asked for, mirrored: a pair has to agree in one.

    Args:
        rows: with the columns of fingerprint.
        hashed: their hashes.
    """
    thumbs, inner = ([row[name] for row in rows] for name in ("thumb", "trim_thumb"))
    edges, pages, fines = ([row[name] for row in rows] for name in ("edges", "page", "fine"))
    shares = np.array([row["trim_share"] for row in rows], np.float64)
    views: list[View] = []

    def add(mirror: bool, whole_hashes: Hashes, trimmed_hashes: Hashes) -> None:
        whole = Looks(
            whole_hashes,
            Thumbs(thumbs, edges, mirror=mirror),
            Pages(pages, mirror=mirror),
            Fines(fines, mirror=mirror),
        )
        trimmed = Looks(
            trimmed_hashes,
            Thumbs(inner, mirror=mirror),
            Pages(pages, trimmed=True, mirror=mirror),
            Fines(fines, trimmed=True, mirror=mirror),
        )
        ours = (views[0].ours, views[1].ours) if mirror else (whole, trimmed)
        views.append(View(ours[0], whole, WHOLE, PAGE, shares, within=(ours[1].thumbs, trimmed.thumbs)))
        views.append(View(ours[1], trimmed, TRIMMED, PAGE_TRIMMED, shares, uncut=(ours[0], whole)))

    add(False, hashed.whole, hashed.trimmed)
    if hashed.mirrored is not None:
        add(True, *hashed.mirrored)
    return views


def pages_among(views: list[View]) -> NDArray[np.bool_]:
    """Which pictures look like pages of text: light, in one tint, full of detail."""
    whole, trimmed, *_ = views
    pages: NDArray[np.bool_] = whole.ours.thumbs.is_full() & trimmed.ours.thumbs.is_paper()
    return pages


class Kept:
    """The pictures kept so far of one group, in one view.

    Flat pictures, which may have one hash and thousands of colours, are looked up by colour, and of many
    candidates the likeliest are looked at; so the search is linear in them.

    Args:
        view: how to compare.
        pages: which pictures are pages of text, shape (N,).
        max_distance: Hamming distance of copies, bits.
        lenient: whether pages that are perhaps the same count too, and pictures that differ in some part.
    """

    def __init__(
        self, view: View, pages: NDArray[np.bool_], max_distance: int, *, lenient: bool = False
    ) -> None:
        self._view, self._pages = view, pages
        self._max_distance, self._lenient = max_distance, lenient
        self._flat = view.kept.thumbs.flat & ~view.kept.pages.known
        self._by_colour: dict[tuple[int, ...], list[int]] = defaultdict(list)  # flat ones
        self._patterned = np.empty(8, np.int64)  # the others; grows
        self._count = 0

    def add(self, i: int) -> None:
        """Keep picture i."""
        if self._flat[i]:
            self._by_colour[tuple(self._view.kept.thumbs.cells[i].tolist())].append(i)
            return
        if self._count == len(self._patterned):
            self._patterned = np.concatenate([self._patterned, np.empty_like(self._patterned)])
        self._patterned[self._count] = i
        self._count += 1

    def near(self, i: int) -> tuple[int, int]:
        """Distance and number of the nearest kept picture that picture i is a copy of; NONE if of none."""
        view, others = self._view, self._candidates(i)
        distances = hamming(view.kept.hashes[others], view.ours.hashes[i])
        close = np.flatnonzero(distances <= self._max_distance)
        if len(close) > MOST_COMPARED:
            apart = hamming(view.kept.sketches[others[close]], view.ours.sketches[i])
            close = close[np.argsort(apart, kind="stable")[:MOST_COMPARED]]
        if not len(close):
            return NONE
        others, distances = others[close], distances[close]
        if view.borderless[i] and not self._pages[i]:
            # Of two such pictures the other view knows: it is less strict but for pages.
            new = ~view.borderless[others] | self._pages[others]
            others, distances = others[new], distances[new]
        found = self._agree(i, others, distances)
        return min(zip(distances[found].tolist(), others[found].tolist(), strict=True), default=NONE)

    def _candidates(self, i: int) -> Indices:
        """Kept pictures that can be alike: flat ones of a near colour, and those that are not flat."""
        flat = list(self._flat_near(i)) if self._by_colour else []
        return np.concatenate([np.array(flat, np.int64), self._patterned[: self._count]])

    def _flat_near(self, i: int) -> Iterator[int]:
        near = ((side - 1, side, side + 1) for side in self._view.ours.thumbs.cells[i].tolist())
        for cell in product(*near):
            yield from self._by_colour.get(cell, ())

    def _agree(self, i: int, others: Indices, distances: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of some kept pictures the second measure takes for copies of picture i."""
        ours, kept = self._view.ours, self._view.kept
        found = ours.thumbs.alike(i, kept.thumbs, others, self._view.limits)
        found[found] = self._agree_within(i, others[found])
        paged = self._pages[others] | self._pages[i]
        if not self._lenient:
            one = found & ~paged & kept.fines.known[others] & ours.fines.known[i]
            found[one] = self._agree_in_parts(i, others[one])
        if not paged.any():
            return found
        inked = paged & kept.pages.known[others] & ours.pages.known[i]
        if inked.any():
            limits = PERHAPS_SAME_PAGE if self._lenient else SAME_PAGE
            found[inked] = ours.pages.same(i, kept.pages, others[inked], limits)
        if not self._lenient and not inked[paged].all():
            # One of the two is not measured as a page: only what is all but equal.
            sure = ours.thumbs.alike(i, kept.thumbs, others, self._view.page_limits)
            found &= ~paged | inked | (sure & (distances <= PAGE_DISTANCE))
        return found

    def _agree_within(self, i: int, others: Indices) -> NDArray[np.bool_]:
        """Which of some kept pictures are not another figure on the same plain ground."""
        shares, within = self._view.shares, self._view.within
        agree = np.ones(len(others), np.bool_)
        if within is None or shares[i] > _FRAMED:
            return agree
        framed = np.flatnonzero(np.abs(shares[others] - shares[i]) <= SAME_FRAMING)
        agree[framed] = within[0].alike(i, within[1], others[framed], WHOLE)
        return agree

    def _agree_in_parts(self, i: int, others: Indices) -> NDArray[np.bool_]:
        """Which of some kept pictures are alike in every part, not only at a glance."""
        if not len(others):
            return np.zeros(0, np.bool_)
        view = self._view
        shifted = (np.abs(view.shares[others] - view.shares[i]) > SAME_FRAMING) & (view.uncut is not None)
        seen = _seen(view.ours, view.kept, i, others, shifted)
        agree: NDArray[np.bool_] = (seen == SAME) | (seen == SAME_CUT)
        if view.uncut is not None:
            cut = np.flatnonzero(seen == SAME_CUT)
            agree[cut] = _seen(*view.uncut, i, others[cut], np.zeros(len(cut), np.bool_)) != CHANGED
        return agree


def _seen(ours: Looks, kept: Looks, i: int, others: Indices, shifted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """How some kept pictures compare with picture i in every part, colours included."""
    if not len(others):
        return np.zeros(0, np.uint8)
    seen = ours.fines.compare(i, kept.fines, others, shifted)
    same = np.flatnonzero(seen == SAME)
    if len(same):
        recoloured = same[ours.thumbs.recoloured(i, kept.thumbs, others[same])]
        here = np.array([i])
        changed = [k for k in recoloured if kept.thumbs.recoloured(others[k], ours.thumbs, here)[0]]
        seen[changed] = CHANGED
    return seen
