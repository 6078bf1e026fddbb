"""Makes objective.json: loss weights and thresholds of Stable Diffusion's schedule by their papers' formulas.

Plain Python in double precision, apart from the trainer's torch code: `python tests/golden/objective.py`.
"""

import json
import math
from pathlib import Path

BETAS = [(0.00085**0.5 + i / 999 * (0.012**0.5 - 0.00085**0.5)) ** 2 for i in range(1000)]
ALPHAS = [math.prod(1 - beta for beta in BETAS[: t + 1]) for t in range(1000)]
STEPS = [0, 1, 100, 500, 900, 999]
GAMMA, C = 5.0, 0.1


def rows() -> list[dict[str, float]]:
    first, last = math.sqrt(ALPHAS[0]), math.sqrt(ALPHAS[999])
    found = []
    for t in STEPS:
        a = ALPHAS[t]
        snr = a / (1 - a)
        capped = min(snr, 1000)
        sigma = math.sqrt((1 - a) / a)
        found.append(
            {
                "t": t,
                "alpha_bar": a,
                "snr": snr,
                "min_snr_eps": min(snr, GAMMA) / snr,
                "min_snr_v": min(snr, GAMMA) / (snr + 1),
                "debiased_eps": 1 / math.sqrt(capped),
                "debiased_v": 1 / (capped + 1),
                "v_to_noise": capped / (capped + 1),
                "huber_snr": (1 - C) / (1 + sigma) ** 2 + C,
                "huber_exponential": math.exp(math.log(C) / 1000 * t),
                "zero_terminal": ((math.sqrt(a) - last) * first / (first - last)) ** 2,
            }
        )
    return found


def elements() -> list[dict[str, float]]:
    found = []
    for d, c in ((0.5, 0.1), (-2.0, 0.1), (0.03, 1.0)):
        root = math.sqrt(d * d + c * c) - c
        found.append(
            {"d": d, "c": c, "l2": d * d, "l1": abs(d), "huber": 2 * c * root, "smooth_l1": 2 * root}
        )
    return found


if __name__ == "__main__":
    document = {"gamma": GAMMA, "c": C, "timesteps": rows(), "elements": elements()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
