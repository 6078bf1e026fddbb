from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dataprep.framing.boxes import Box, around, box_within, cut, fitted

SIDES = st.integers(64, 4000)
BUCKETS = st.sampled_from([(512, 512), (320, 704), (704, 320), (128, 512), (576, 448)])


def inside(inner: Box, outer: Box) -> bool:
    return (
        outer.left <= inner.left
        and outer.top <= inner.top
        and inner.right <= outer.right
        and inner.bottom <= outer.bottom
    )


def test_the_box_follows_the_focus_until_the_edge() -> None:
    assert cut(200, 100, (64, 64), (0.5, 0.5), None) == Box(50, 0, 150, 100)
    assert cut(200, 100, (64, 64), (0.0, 0.5), None) == Box(0, 0, 100, 100)
    assert cut(200, 100, (64, 64), (0.9, 0.5), None) == Box(100, 0, 200, 100)


def test_a_subject_at_the_edge_pulls_the_box() -> None:
    assert cut(200, 100, (64, 64), (0.5, 0.5), Box(0, 10, 60, 90)) == Box(0, 0, 100, 100)


def test_a_subject_too_wide_for_the_box_fills_it_around_the_focus() -> None:
    assert cut(300, 100, (64, 64), (0.65, 0.5), Box(100, 0, 280, 100)) == Box(145, 0, 245, 100)
    assert cut(300, 100, (64, 64), (0.1, 0.5), Box(100, 0, 280, 100)) == Box(100, 0, 200, 100)


@given(SIDES, SIDES, BUCKETS, st.floats(0, 1), st.floats(0, 1), st.data())
def test_a_subject_that_fits_is_never_cut(
    width: int, height: int, bucket: tuple[int, int], x: float, y: float, data: st.DataObject
) -> None:
    box_width, box_height = fitted(width, height, bucket)
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    subject = Box(
        left,
        top,
        data.draw(st.integers(left + 1, min(width, left + box_width))),
        data.draw(st.integers(top + 1, min(height, top + box_height))),
    )
    box = cut(width, height, bucket, (x, y), subject)
    assert inside(box, Box(0, 0, width, height))
    assert inside(subject, box)


@given(SIDES, SIDES, BUCKETS)
def test_the_box_is_the_largest_of_its_shape(width: int, height: int, bucket: tuple[int, int]) -> None:
    box_width, box_height = fitted(width, height, bucket)
    assert box_width == width or box_height == height
    assert abs(box_width * bucket[1] - box_height * bucket[0]) <= max(bucket)


@given(SIDES, SIDES, BUCKETS, st.data())
def test_a_hand_box_is_kept_whole_where_the_picture_allows(
    width: int, height: int, bucket: tuple[int, int], data: st.DataObject
) -> None:
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    hand = Box(left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    box = around(hand, width, height, bucket)
    assert inside(box, Box(0, 0, width, height))
    box_width, box_height = fitted(width, height, bucket)
    if hand.width <= box_width and hand.height <= box_height:
        assert inside(hand, box)


def test_a_box_reaching_outside_is_cut_to_the_picture() -> None:
    assert box_within({"left": -5, "top": 3, "right": 500, "bottom": 40}, 100, 50) == Box(0, 3, 100, 40)
    assert box_within({"left": 100, "top": 0, "right": 120, "bottom": 9}, 100, 50) is None
