from __future__ import annotations

import cv2
import numpy as np
import pytest

from dataprep.copies.light import Grid, are_lit_alike, brightened, local, patches, relit

LIMIT = 10.0


def scene(seed: int = 1) -> Grid:
    """Soft shapes with a hard edge, 0 to 255, shape (48, 48)."""
    rng = np.random.default_rng(seed)
    grid = cv2.resize(rng.uniform(20, 230, (8, 8)).astype(np.float32), (48, 48))
    grid[:, 30:] = 255 - grid[:, 30:]
    return grid.clip(0, 255).astype(np.float32)


def lit(grid: Grid, gain: float, offset: float = 0.0) -> Grid:
    return (gain * grid + offset).clip(0, 255).astype(np.float32)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.7, 0.0), (1.3, 0.0), (0.8, 25.0), (1.4, -50.0)])
def test_light_contrast_and_clipped_levels_are_forgiven_either_way(gain: float, offset: float) -> None:
    first, second = scene(), lit(scene(), gain, offset)
    assert are_lit_alike(first, second, LIMIT) or are_lit_alike(second, first, LIMIT)


def test_a_picture_most_of_which_is_clipped_is_told_by_its_darker_cells() -> None:
    first = lit(scene(), 0.5, 120)
    second = lit(first, 1.4)
    assert (second == 255).mean() > 0.25
    assert are_lit_alike(first, second, LIMIT)
    assert brightened(first, second) == pytest.approx(1.4, abs=0.05)


@pytest.mark.parametrize("gain", [1.0, 0.8, 1.25])
def test_a_dark_spot_that_came_is_a_change_in_any_light(gain: float) -> None:
    first, other = lit(scene(), 1.0), lit(scene(), 1.0)
    first[20:24, 10:15], other[20:24, 10:15] = 190, 60
    assert not are_lit_alike(first, lit(other, gain), LIMIT)
    assert not are_lit_alike(lit(other, gain), first, LIMIT)


def test_what_was_sampled_anew_differs_at_edges_only_and_is_forgiven() -> None:
    first = scene()
    softer = cv2.GaussianBlur(first, (0, 0), 0.5)
    assert float(patches(local(softer - first, softer)).max()) > LIMIT
    assert are_lit_alike(first, softer, LIMIT)


def test_gain_and_offset_are_found_beside_another_content() -> None:
    first = scene()
    second = lit(first, 0.7, 30)
    second[5:10, 5:10] = 255
    apart = np.abs(relit(first, second) - second)
    assert np.median(apart) < 2


def test_nothing_is_said_of_how_bright_a_black_picture_became() -> None:
    black = np.zeros((48, 48), np.float32)
    assert brightened(black, scene()) == 1.0
    assert not are_lit_alike(black, scene(), LIMIT)


def figure(hair: float, gain: float = 1.0) -> Grid:
    """Long hair, a face, a pale dress, small dark eyes and shoes, on a light ground."""
    grid = np.full((48, 48), 208, np.float32)
    grid[6:34, 14:34] = hair
    grid[10:20, 18:30], grid[24:40, 16:32] = 218, 230
    grid[14:16, 20:22] = grid[14:16, 26:28] = 35
    grid[43:45, 18:22] = grid[43:45, 26:30] = 53
    return lit(grid, gain)


@pytest.mark.parametrize(("one", "other"), [(60, 120), (60, 95), (30, 75), (90, 165)])
def test_dark_hair_that_alone_became_lighter_is_no_other_light(one: float, other: float) -> None:
    assert not are_lit_alike(figure(one), figure(other), LIMIT)
    assert not are_lit_alike(figure(other), figure(one), LIMIT)


@pytest.mark.parametrize("gain", [0.8, 1.15, 1.3])
def test_the_same_figure_in_another_light_is_the_same(gain: float) -> None:
    first, second = figure(60), figure(60, gain)
    assert are_lit_alike(first, second, LIMIT) or are_lit_alike(second, first, LIMIT)
    assert not are_lit_alike(first, figure(120, gain), LIMIT)
    assert not are_lit_alike(figure(120, gain), first, LIMIT)
