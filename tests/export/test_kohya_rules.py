from __future__ import annotations

import numpy as np
import pytest

from dataprep.export.kohya_rules import folder_subset, latent_arrays, latents_name, reg_uses


# Names and counts that sd-scripts 48d368fa was seen to accept, ignore and use.
@pytest.mark.parametrize(
    ("name", "subset"),
    [
        ("5_a b_c", (5, "a b_c")),
        ("3", (3, "")),
        (" 4 _w", (4, "w")),
        ("sks", None),
        ("1.5_z", None),
        ("0_x", None),
        ("-2_y", None),
    ],
)
def test_folder_names_are_read_as_sd_scripts_reads_them(name: str, subset: tuple[int, str] | None) -> None:
    assert folder_subset(name) == subset


@pytest.mark.parametrize(
    ("samples", "repeats", "uses"),
    [
        (24, [1] * 5, [5, 5, 5, 5, 4]),
        (4, [1] * 7, [1, 1, 1, 1, 0, 0, 0]),
        (5, [3, 3, 3], [3, 3, 0]),
        (5, [], []),
        (0, [1], [0]),
    ],
)
def test_class_pictures_are_used_as_often_as_sd_scripts_uses_them(
    samples: int, repeats: list[int], uses: list[int]
) -> None:
    assert reg_uses(samples, repeats) == uses


@pytest.mark.parametrize(
    ("family", "name"),
    [("sd1", "a_0064x1024_sd.npz"), ("sdxl", "a_0064x1024_sdxl.npz"), ("flux", "a_0064x1024_flux.npz")],
)
def test_latents_are_named_by_the_pictures_size(family: str, name: str) -> None:
    assert latents_name("a", 64, 1024, family) == name  # type: ignore[arg-type]


def test_both_key_styles_are_there_for_sd_and_one_for_flux() -> None:
    latents = np.zeros((4, 8, 16), np.float32)
    arrays = latent_arrays(latents, (256, 128), (128, 64), "key", "sd1", flipped=latents)
    names = ["latents", "original_size", "crop_ltrb", "latents_flipped"]
    assert set(arrays) == {*names, *(f"{name}_8x16" for name in names), "fingerprint"}
    assert arrays["original_size"].tolist() == [256, 128]
    assert (arrays["original_size"].dtype, arrays["crop_ltrb"].dtype) == (np.int64, np.float64)
    assert set(latent_arrays(latents, (256, 128), (128, 64), "key", "flux")) == {
        "latents_8x16", "original_size_8x16", "crop_ltrb_8x16", "fingerprint",
    }  # fmt: skip
