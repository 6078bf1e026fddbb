"""`make proof`: does the LoRA draw the character when, and only when, the trigger is in the prompt?

Samples from a fixed seed are judged by a classifier of the signature features, trained apart from the tagger
on other characters; the tagger measures whether the class word alone keeps its variety.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dataprep.inference.base import Base, load_base
from dataprep.inference.sampling import sample_images
from dataprep.inference.tagger import Tagger, open_tagger
from dataprep.models import find

ROOT = Path(__file__).resolve().parent.parent
JUDGE = ROOT / "models" / "miniature" / "judge"
SITUATIONS = (
    "portrait, smile, white shirt, simple background, white background",
    "upper body, open mouth, red dress, outdoors, forest",
    "upper body, frown, blue jacket, indoors",
    "full body, smile, green sweater, outdoors, beach",
    "portrait, open mouth, black hoodie, simple background, blue background",
    "upper body, waving, serafuku, outdoors, city",
    "upper body, blush, yellow dress, simple background, pink background",
    "portrait, looking to the side, purple kimono, indoors",
    "upper body, arms up, white shirt, outdoors, beach",
    "full body, open mouth, red dress, simple background, yellow background",
    "upper body, smile, black hoodie, outdoors, city, night",
    "portrait, one eye closed, blue jacket, outdoors, forest",
    "upper body, hand on own hip, green sweater, simple background, white background",
    "portrait, blush, smile, serafuku, indoors",
    "upper body, frown, purple kimono, simple background, blue background",
    "upper body, looking to the side, yellow dress, outdoors, forest",
)
CLASS_SAMPLES = 48
OPTIONS = "--w 256 --h 256 --s 25 --l 4"
SHOWN = 0.5  # the judge's probability from which a feature counts as there
MOST_OF_THEM = 2  # features of three that make the character


@dataclass(frozen=True)
class Verdict:
    """What the judge and the tagger say of a set of samples."""

    name: str
    pictures: int
    features: NDArray[np.float64]  # share of pictures with each feature
    shown: float  # share of pictures with most features
    entropy: float  # of the tags, bits summed over the vocabulary

    def row(self, base_entropy: float) -> str:
        """One line of the table."""
        each = " | ".join(f"{share:.0%}" for share in self.features)
        kept = f"{self.entropy:.1f} ({self.entropy / base_entropy:.0%})"
        return f"| {self.name} | {self.pictures} | {each} | {self.shown:.0%} | {kept} |"


def prompts(lead: str) -> list[str]:
    """One prompt a situation, each with its own seed."""
    return [f"{lead}, {situation} {OPTIONS} --d {100 + i}" for i, situation in enumerate(SITUATIONS)]


def class_prompts(word: str) -> list[str]:
    """The class word alone, many seeds."""
    return [f"{word} {OPTIONS} --d {500 + i}" for i in range(CLASS_SAMPLES)]


def tag_entropy(scores: NDArray[np.float32], threshold: float) -> float:
    """Entropy of each tag's presence, bits, summed over the tags; scores (pictures, tags)."""
    share = np.clip((scores >= threshold).mean(axis=0), 1e-9, 1 - 1e-9)
    return float(-(share * np.log2(share) + (1 - share) * np.log2(1 - share)).sum())


def verdict(name: str, pictures: Sequence[Image.Image], judge: Tagger, tagger: Tagger) -> Verdict:
    """Judge a set of pictures."""
    features = judge.scores([judge.prepare(p) for p in pictures])[:, -3:] >= SHOWN  # (N, 3)
    tags = tagger.scores([tagger.prepare(p) for p in pictures])  # (N, tags)
    shown = float((features.sum(axis=1) >= MOST_OF_THEM).mean())
    return Verdict(name, len(pictures), features.mean(axis=0), shown, tag_entropy(tags, 0.5))


def sheet(pictures: Sequence[Image.Image], path: Path) -> None:
    """Eight pictures a row."""
    side = 160
    whole = Image.new("RGB", (8 * side, -(-len(pictures) // 8) * side), "white")
    for i, picture in enumerate(pictures):
        whole.paste(picture.resize((side, side)), (i % 8 * side, i // 8 * side))
    whole.save(path)


def prove(lora: Path, base: Base, trigger: str, class_word: str, out: Path) -> list[Verdict]:
    """All four sets: with the trigger, without it, the class word alone with and without the LoRA."""
    judge = open_tagger(JUDGE, {"format": "wd"})
    tagger_model = find("tagger", "miniature")
    tagger = open_tagger(tagger_model.path, {"format": "wd"})
    sets: dict[str, tuple[Path | None, list[str]]] = {
        "with the trigger": (lora, prompts(f"{trigger} {class_word}")),
        "same prompts without it": (lora, prompts(class_word)),
        "class word alone": (lora, class_prompts(class_word)),
        "class word alone, base model": (None, class_prompts(class_word)),
    }
    out.mkdir(parents=True, exist_ok=True)
    verdicts = []
    for name, (file, lines) in sets.items():
        pictures = sample_images(file, base, lines)
        sheet(pictures, out / f"{name.replace(', ', ' ').replace(' ', '-')}.png")
        verdicts.append(verdict(name, pictures, judge, tagger))
    return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
    """The measured table as Markdown."""
    base_entropy = verdicts[-1].entropy
    head = (
        "| samples | n | star | streak | scarf | two or three of them | tag entropy, bits (of the base's) |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(v.row(base_entropy) for v in verdicts)])


def main() -> None:
    """Judge the newest LoRA of a prepared folder (default: the demo's)."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "sample_data" / "raw-prepared"
    lora = max((directory / "model").glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    base = load_base(find("base", "miniature").path, "cpu", torch.float32)
    verdicts = prove(lora, base, "sks", "girl", directory / "model" / "proof")
    print(table(verdicts))


if __name__ == "__main__":
    main()
