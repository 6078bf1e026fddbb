"""Makes noise.json: what each kind of noise makes of given latents and draws, by its published formula.

NumPy in double precision, apart from the trainer's code; torch only draws, in the order of the formulas:
`python tests/golden/noise.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]
SHAPE = (2, 2, 6, 8)
SEED = 11
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
LATENTS = np.sin(np.arange(np.prod(SHAPE), dtype=np.float64)).reshape(SHAPE) + 0.5
CASES: list[dict[str, Any]] = [
    {},
    {"noise_offset": 0.1},
    {"multires_iterations": 3, "multires_discount": 0.4},
    {"input_perturbation": 0.1},
]


def enlarged(layer: Array, height: int, width: int) -> Array:
    """Bilinear, sampled at pixel centres, edges repeated: layer (B, C, h, w)."""

    def weights(small: int, large: int) -> Array:
        at = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, small - 1)
        found = np.zeros((large, small))
        for i in range(large):
            found[i, low[i]] += 1 - (at[i] - low[i])
            found[i, high[i]] += at[i] - low[i]
        return found

    rows, columns = weights(layer.shape[2], height), weights(layer.shape[3], width)
    return np.asarray(np.einsum("yh,bchw,xw->bcyx", rows, layer, columns))


def case(settings: dict[str, Any]) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(SEED)

    def normal(*shape: int) -> Array:
        return np.asarray(torch.randn(shape, generator=draw).numpy(), np.float64)

    noise = normal(*SHAPE)
    if "noise_offset" in settings:
        noise = noise + settings["noise_offset"] * normal(*SHAPE[:2], 1, 1)
    if "multires_iterations" in settings:
        height, width = SHAPE[2:]
        for i in range(settings["multires_iterations"]):
            factor = (2 + 2 * float(torch.rand((), generator=draw))) ** i
            h, w = max(1, int(height / factor)), max(1, int(width / factor))
            noise = noise + settings["multires_discount"] ** i * enlarged(
                normal(*SHAPE[:2], h, w), height, width
            )
            if 1 in (h, w):
                break
        noise = noise / noise.std(ddof=1)
    t = torch.randint(0, 1000, (SHAPE[0],), generator=draw).numpy()
    mixed = noise
    if "input_perturbation" in settings:
        mixed = noise + settings["input_perturbation"] * normal(*SHAPE)
    a = ALPHAS[t][:, None, None, None]
    inputs = np.sqrt(a) * LATENTS + np.sqrt(1 - a) * mixed
    return {
        "settings": settings,
        "timesteps": t.tolist(),
        "inputs": np.round(inputs, 6).ravel().tolist(),
        "answer": np.round(noise, 6).ravel().tolist(),
    }


if __name__ == "__main__":
    document = {"seed": SEED, "latents": np.round(LATENTS, 9).tolist(), "cases": [case(c) for c in CASES]}
    Path(__file__).with_suffix(".json").write_text(json.dumps(document) + "\n", "utf-8")
