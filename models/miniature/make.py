"""Make the miniature again: `python models/miniature/make.py vae`, then decoder, base, tagger, clip, judge,
card.

Seeds are fixed. Pictures and latents are cached in the scratch folder (`--scratch`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "models" / "miniature"
sys.path.insert(0, str(ROOT))

from dataprep.inference.torch_compat import prepare_torch  # noqa: E402

prepare_torch()


def make(step: str, scratch: Path, steps: int | None) -> None:
    """Run one step; heavy modules are imported by the step that needs them."""
    if step == "vae":
        from models.miniature.vae import train_vae

        train_vae(HERE / "base" / "vae", scratch, steps or 2500)
    elif step == "decoder":
        from models.miniature.vae import train_decoder

        train_decoder(HERE / "base" / "vae", scratch, steps or 900)
    elif step == "base":
        from models.miniature.base import train_base

        train_base(HERE / "base", scratch, steps or 2900)
    elif step == "tagger":
        from models.miniature.tagger import train_tagger

        train_tagger(HERE / "tagger", HERE / "base" / "vae", scratch, steps or 1500)
    elif step == "clip":
        from models.miniature.clip import train_clip

        train_clip(HERE / "clip", scratch, steps or 400)
    elif step == "judge":
        from models.miniature.judge import train_judge

        train_judge(HERE / "judge", HERE / "base" / "vae", scratch, steps or 350)
    elif step == "card":
        from models.miniature.card import write_card

        write_card(HERE, scratch)


def main() -> None:
    """Parse the command line and run the step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("vae", "decoder", "base", "tagger", "clip", "judge", "card"))
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "miniature")
    parser.add_argument("--steps", type=int, default=None, help="training steps instead of the card's")
    arguments = parser.parse_args()
    make(arguments.step, arguments.scratch, arguments.steps)


if __name__ == "__main__":
    main()
