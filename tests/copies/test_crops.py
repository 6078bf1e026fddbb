from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.corpus import corpus
from dataprep.copies.crops import features, find_crops


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    pictures = [
        p for p in corpus(6, 3) if p.edit in ("original", "sibling") and p.kind in ("photo", "drawing")
    ]
    return [picture.image for picture in pictures]


def cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round(right * width), round(bottom * height))
    )


def test_cut_outs_of_any_shape_and_size_are_found_and_nothing_else(originals: list[Image.Image]) -> None:
    assert find_crops([features(image) for image in originals]) == []
    parts = [cut(image, 0.2, 0.1, 0.9, 0.7) for image in originals]
    parts = [part.resize((part.width // 2, part.height // 2)) for part in parts]
    found = find_crops([features(image) for image in [*originals, *parts]])
    assert all(crop.row == crop.of + len(originals) for crop in found)
    assert all(crop.share == pytest.approx(0.42, abs=0.05) for crop in found)
    assert len(found) >= 0.6 * len(originals)


@pytest.mark.slow
def test_cut_outs_of_text_pages_are_found_and_other_pages_of_the_layout_are_not() -> None:
    pages = [p.image for p in corpus(30, 9) if p.kind == "page" and p.edit in ("original", "sibling")]
    parts = [cut(page, 0.15, 0.1, 0.95, 0.75) for page in pages]
    found = find_crops([features(image) for image in [*pages, *parts]])
    assert all(crop.of == crop.row - len(pages) for crop in found)
    assert len(found) >= 4


def test_flat_and_tiny_pictures_have_no_features_and_do_no_harm() -> None:
    flat = Image.new("RGB", (300, 300), "grey")
    tiny = Image.fromarray(np.zeros((2, 2, 3), np.uint8))
    assert find_crops([features(flat), features(tiny), features(flat)]) == []
    assert find_crops([]) == []
