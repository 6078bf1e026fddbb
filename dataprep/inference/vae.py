"""The VAE: pictures in, latents out, through diffusers' AutoencoderKL, unscaled.

Owns how fast may be had without getting it wrong: which number format pays, what is done about overflow, how
much is encoded at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Latents = NDArray[np.float32]

_LOG = logging.getLogger(__name__)
MAX_PROBE_ERROR = 0.02  # relative error of the latents; what differs less is below what training notices
_WORTHWHILE = 0.8  # bf16 is taken where it needs less than this share of the time
_PROBE_PX = 256
_WORTH_PROBING = 10_000_000  # parameters
_BATCH_PX = {"cpu": 2**19, "cuda": 2**23}  # at once: two pictures of 512 on a CPU, eight of 1024 on a GPU


class Vae:
    """An encoder that several threads may share; one batch is encoded at a time.

    Args:
        load: makes the model, in float32.
        device: torch device name.
        precision: number format; "auto" takes bf16 with channels_last where a probe on the first picture says
            that it is faster and as good, else fp32. A small model stays in fp32.
        tile_px: pictures with a longer side are encoded in overlapping tiles of this size, to save memory.
    """

    def __init__(
        self,
        load: Callable[[], AutoencoderKL],
        device: str = "cpu",
        precision: Precision = "fp32",
        tile_px: int = 2048,
    ) -> None:
        self._load = load
        self.device = device
        self.precision: Precision = precision
        self._lock = threading.Lock()
        self._model = self._placed(load(), "fp32" if precision == "auto" else precision)
        if precision == "auto" and sum(each.numel() for each in self._model.parameters()) < _WORTH_PROBING:
            self.precision = "fp32"  # quick anyhow, and then no clock decides about the result
        self._exact: AutoencoderKL | None = None  # loaded when something overflows
        self._overflows = 0
        config = self._model.config
        self.channels = int(config.latent_channels)
        self.stride = int(2 ** (len(config.block_out_channels) - 1))  # picture px per latent cell
        self._tile_px = tile_px

    def settle(self, picture: Pixels) -> Precision:
        """The number format; "auto" chooses by a probe on the first picture, (H, W, 3), that it sees."""
        with self._lock:
            if self.precision == "auto":
                self._choose(picture[None])
            return self.precision

    def encode(self, images: Sequence[Pixels], seeds: Sequence[int] | None = None) -> Latents:
        """Latents of a batch.

        Args:
            images: RGB, each (H, W, 3), all of one size, both sides multiples of `stride`.
            seeds: one for each image to draw a sample of the posterior; None takes its mean.
        Returns:
            (B, C, H / stride, W / stride), unscaled. A picture that overflows even in float32 is not finite.
        Raises:
            ValueError: the sizes differ or are no multiples of `stride`.
        """
        if len({image.shape for image in images}) != 1 or any(n % self.stride for n in images[0].shape[:2]):
            raise ValueError(f"a batch needs one size, in multiples of {self.stride} px")
        height, width = images[0].shape[:2]
        at_once = max(1, _BATCH_PX.get(self.device.partition(":")[0], 2**19) // (height * width))
        parts = []
        for start in range(0, len(images), at_once):
            part = np.stack(images[start : start + at_once])  # (b, H, W, 3)
            with self._lock:
                parts.append(self._posterior(part))
        mean, std = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if seeds is None:
            return mean
        # Drawn with NumPy, so that a device does not change what is drawn.
        noise = [np.random.default_rng(seed).standard_normal(mean.shape[1:], np.float32) for seed in seeds]
        return np.asarray(mean + std * np.stack(noise), np.float32)

    def _posterior(self, pixels: Pixels) -> tuple[Latents, Latents]:
        """Mean and standard deviation; what overflows is done again in float32."""
        if self.precision == "auto":
            self._choose(pixels)
        mean, std = self._run_fitting(self._model, pixels)
        bad = [i for i in range(len(mean)) if not (np.isfinite(mean[i]).all() and np.isfinite(std[i]).all())]
        if bad and self.precision != "fp32":
            self._exact = self._exact or self._placed(self._load(), "fp32")
            mean[bad], std[bad] = self._run_fitting(self._exact, pixels[bad])
            self._overflows += 1
            if self._overflows > 2:  # it will not get better: each picture would be encoded twice
                _LOG.warning("the VAE overflows in %s: encoding in fp32 from here on", self.precision)
                self._model, self.precision = self._exact, "fp32"
        return mean, std

    def _run_fitting(self, model: AutoencoderKL, pixels: Pixels) -> tuple[Latents, Latents]:
        """Encode, in halves where the device's memory does not hold it."""
        import torch

        try:
            return self._run(model, pixels)
        except torch.OutOfMemoryError:
            if len(pixels) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(pixels) // 2
        parts = [self._run_fitting(model, part) for part in (pixels[:half], pixels[half:])]
        mean, std = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return mean, std

    def _run(self, model: AutoencoderKL, pixels: Pixels) -> tuple[Latents, Latents]:
        import torch

        tiled = max(pixels.shape[1:3]) > self._tile_px
        model.use_tiling = tiled
        if tiled:
            model.tile_sample_min_size = self._tile_px
            model.tile_latent_min_size = self._tile_px // self.stride
        with torch.inference_mode():
            inputs = self._inputs(model, pixels)  # (b, 3, H, W) in -1..1
            posterior = model.encode(inputs).latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()  # (b, C, H/stride, W/stride)
            return mean.cpu().contiguous().numpy(), std.cpu().contiguous().numpy()

    def _inputs(self, model: AutoencoderKL, pixels: Pixels) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        tensor = tensor.float().div_(127.5).sub_(1.0).to(model.dtype)
        layout = torch.contiguous_format if model.dtype == torch.float32 else torch.channels_last
        return tensor.contiguous(memory_format=layout)

    def _placed(self, model: AutoencoderKL, precision: Precision) -> AutoencoderKL:
        import torch

        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        # Convolutions in half precision are up to a quarter faster with the channels last; in fp32 slower.
        layout = torch.contiguous_format if dtype == torch.float32 else torch.channels_last
        # Not diffusers' own `to`, which prints a warning about layers that this model does not have.
        torch.nn.Module.to(model, device=torch.device(self.device), dtype=dtype)
        torch.nn.Module.to(model, memory_format=layout)  # type: ignore[call-overload]  # missing in torch's types
        return model.eval().requires_grad_(False)

    def _choose(self, pixels: Pixels) -> None:
        """Try fp32 against bf16 on a piece of a real picture, and take what pays."""
        side = [min(n, _PROBE_PX) // self.stride * self.stride for n in pixels.shape[1:3]]
        piece = np.ascontiguousarray(pixels[:1, : side[0], : side[1]])
        half = self._placed(self._load(), "bf16")
        exact, exact_s = self._timed(self._model, piece)
        rough, rough_s = self._timed(half, piece)
        error = float(np.linalg.norm(rough - exact) / max(float(np.linalg.norm(exact)), 1e-12))
        _LOG.info("VAE probe: fp32 %.3f s, bf16 %.3f s, relative error %.4f", exact_s, rough_s, error)
        if error <= MAX_PROBE_ERROR and rough_s < _WORTHWHILE * exact_s:
            self._model, self.precision = half, "bf16"
        else:
            self.precision = "fp32"

    def _timed(self, model: AutoencoderKL, piece: Pixels) -> tuple[Latents, float]:
        self._run(model, piece)  # kernels are chosen at the first call
        started = time.perf_counter()
        latents = self._run(model, piece)[0]
        return latents, time.perf_counter() - started
