from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dataprep.inference.torch_compat import prepare_torch
from dataprep.inference.vae import MAX_PROBE_ERROR, Vae


def tiny() -> Any:
    prepare_torch()
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=2,
    )  # fmt: skip


def overflowing() -> Any:
    """Weights that leave the range of float16 and not that of float32."""
    model = tiny()
    model.encoder.conv_in.weight.data *= 1e6
    return model


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def relative(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_latents_have_one_cell_for_each_stride() -> None:
    vae = Vae(tiny)
    latents = vae.encode([noise(16, 32), noise(16, 32)])
    assert latents.shape == (2, vae.channels, 8, 16)
    assert latents.dtype == np.float32
    assert np.array_equal(latents[0], latents[1])


def test_batches_of_unequal_or_odd_sizes_are_refused() -> None:
    vae = Vae(tiny)
    with pytest.raises(ValueError, match="one size"):
        vae.encode([noise(16, 16), noise(16, 32)])
    with pytest.raises(ValueError, match="multiples of 2"):
        vae.encode([noise(15, 16)])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_float32(precision: Any) -> None:
    images = [noise(32, 32)]
    error = relative(Vae(tiny, precision=precision).encode(images), Vae(tiny).encode(images))
    assert 0 < error < MAX_PROBE_ERROR


def test_what_overflows_in_half_precision_is_done_again_in_float32() -> None:
    images = [noise(16, 16, seed) for seed in range(2)]
    vae = Vae(overflowing, precision="fp16")
    exact = Vae(overflowing).encode(images)
    for _ in range(4):
        assert relative(vae.encode(images), exact) < 1e-5
    assert vae.precision == "fp32"  # after a few overflows it is not tried again


def test_only_the_picture_that_overflows_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    vae = Vae(tiny, precision="fp16")
    run: Callable[..., Any] = vae._run

    def spy(model: Any, pixels: np.ndarray) -> Any:
        calls.append((str(model.dtype), len(pixels)))
        mean, std = run(model, pixels)
        if "float16" in str(model.dtype):
            mean[1, 0, 0, 0] = np.nan
        return mean, std

    monkeypatch.setattr(vae, "_run", spy)
    images = [noise(16, 16, seed) for seed in range(3)]
    latents = vae.encode(images)
    assert calls == [("torch.float16", 3), ("torch.float32", 1)]
    assert relative(latents[1], Vae(tiny).encode(images)[1]) < 1e-5


def test_a_sample_is_drawn_from_the_posterior_by_its_seed() -> None:
    vae, images = Vae(tiny), [noise(16, 16), noise(16, 16)]
    mean = vae.encode(images)
    one, other = vae.encode(images, [1, 2])
    assert not np.array_equal(one, other)
    assert np.allclose(vae.encode(images[:1], [1])[0], one, atol=1e-5)
    deviations = [
        (sample - mean[0]) / np.random.default_rng(seed).standard_normal(mean[0].shape, np.float32)
        for sample, seed in ((one, 1), (other, 2))
    ]
    assert np.allclose(*deviations, atol=1e-2)
    assert (deviations[0] > 0).all()


def test_large_batches_are_encoded_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [noise(32, 32, seed) for seed in range(5)]
    whole = Vae(tiny).encode(images)
    monkeypatch.setitem(
        __import__("dataprep.inference.vae", fromlist=["_BATCH_PX"])._BATCH_PX, "cpu", 2 * 32 * 32
    )
    assert relative(Vae(tiny).encode(images), whole) < 1e-5


def test_memory_that_does_not_hold_a_batch_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    vae = Vae(tiny)
    run: Callable[..., Any] = vae._run

    def small(model: Any, pixels: np.ndarray) -> Any:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(model, pixels)

    images = [noise(16, 16, seed) for seed in range(3)]
    whole = vae.encode(images)
    monkeypatch.setattr(vae, "_run", small)
    assert relative(vae.encode(images), whole) < 1e-5


@pytest.mark.slow
def test_long_sides_are_encoded_in_tiles_that_hardly_show() -> None:
    image = np.repeat(np.repeat(noise(4, 8), 16, axis=0), 16, axis=1)  # 64 x 128, blocks of 16
    whole, tiled = Vae(tiny).encode([image]), Vae(tiny, tile_px=64).encode([image])
    assert tiled.shape == whole.shape
    assert 0 < relative(tiled, whole) < 0.3  # the tiles' own normalisation, not their seams


def test_a_small_model_is_not_probed() -> None:
    assert Vae(tiny, precision="auto").precision == "fp32"


@pytest.mark.parametrize(
    ("rough_s", "error", "chosen"), [(0.1, 0.01, "bf16"), (0.9, 0.01, "fp32"), (0.1, 0.05, "fp32")]
)
def test_auto_takes_bf16_where_it_is_faster_and_as_good(
    monkeypatch: pytest.MonkeyPatch, rough_s: float, error: float, chosen: str
) -> None:
    monkeypatch.setattr("dataprep.inference.vae._WORTH_PROBING", 0)
    vae = Vae(tiny, precision="auto")

    def timed(model: Any, piece: np.ndarray) -> tuple[np.ndarray, float]:
        half = "bfloat16" in str(model.dtype)
        return np.array([1 + error if half else 1.0]), rough_s if half else 1.0

    monkeypatch.setattr(vae, "_timed", timed)
    vae.encode([noise(16, 16)])
    assert vae.precision == chosen
