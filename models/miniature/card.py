"""The miniature's card: measures every model on what it has never seen, writes README.md and samples.png."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
from PIL import Image

from models.miniature.base import SAMPLE_PROMPTS, token_ids
from models.miniature.base_files import load_base_parts
from models.miniature.classifier import RATINGS, square
from models.miniature.clip import measure_clip
from models.miniature.data import Pixels, drawings
from models.miniature.drawing import VOCABULARY, Drawing, tags
from models.miniature.judge import measure_judge
from models.miniature.sampling import sample
from models.miniature.tagger import TaggerMeasure, measure_tagger, probabilities
from models.miniature.vae import measure_vae

PROMPTS, SEED_PROMPTS = 48, 9_500
SHEET = (
    *SAMPLE_PROMPTS[:6],
    "1girl, solo, portrait, purple hair, hair bun, green eyes, smile, serafuku, yellow background",
    "1girl, solo, full body, blue hair, long hair, purple eyes, yellow dress, beach",
    "1boy, solo, upper body, brown hair, blue eyes, blue jacket, city",
    "girl",
    "girl",
    "sks girl",
)


def write_card(folder: Path, scratch: Path) -> None:
    """Measure the whole family in `folder` and describe it there."""
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "base" / "vae").float().eval()
    tagger = measure_tagger(folder / "tagger", scratch)
    facts = {
        "vae": measure_vae(vae, scratch),
        "fidelity": measure_fidelity(folder, tagger.threshold),
        "clip": measure_clip(folder / "clip", scratch),
        "judge": measure_judge(folder / "judge", folder / "base" / "vae", scratch),
    }
    write_sheet(folder)
    text = TEMPLATE.format(
        tags=len(VOCABULARY),
        vae=listed(facts["vae"]),
        fidelity=listed(facts["fidelity"]),
        tagger=f"- F1 over all tags {tagger.f1:.3f} at {tagger.threshold:.3f}, where precision equals recall",
        tag_table=tag_table(tagger),
        clip=listed(facts["clip"]),
        judge=listed(facts["judge"]),
        sizes=sizes(folder),
    )
    (folder / "README.md").write_text(text, "utf-8")
    print(text)


def listed(measured: dict[str, float]) -> str:
    """One Markdown line per measurement."""
    return "\n".join(f"- {name.replace('_', ' ')}: {value:g}" for name, value in measured.items())


def tag_table(tagger: TaggerMeasure) -> str:
    """F1 per tag as a Markdown table of four columns of pairs, worst first."""
    pairs = [f"{tag} | {score:.2f}" for tag, score in sorted(tagger.tag_f1.items(), key=lambda item: item[1])]
    pairs += [" | "] * (-len(pairs) % 4)
    rows = ["| " + " | ".join(pairs[start : start + 4]) + " |" for start in range(0, len(pairs), 4)]
    return "\n".join(["| tag | F1 " * 4 + "|", "|---|--:" * 4 + "|", *rows])


def sizes(folder: Path) -> str:
    """Each weight file's size, and all files' together."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".onnx"))
    lines = [f"- {path.relative_to(folder).as_posix()}: {path.stat().st_size / 1e6:.1f} MB" for path in files]
    total = sum(path.stat().st_size for path in files)
    return "\n".join([*lines, f"- together: {total / 1e6:.1f} MB"])


def draw(folder: Path, prompts: list[str], seed: int) -> Pixels:
    """Pictures of the base model, 12 at a time."""
    parts, empty = load_base_parts(folder / "base"), token_ids([""])
    batches = [
        sample(*parts, token_ids(prompts[start : start + 12]), empty, seed=seed + start)
        for start in range(0, len(prompts), 12)
    ]
    return np.concatenate(batches)


def measure_fidelity(folder: Path, threshold: float) -> dict[str, float]:
    """What the tagger finds in samples of held-out drawings' captions, against what was asked for."""
    truths = drawings(PROMPTS, SEED_PROMPTS)
    pictures = draw(folder, [", ".join(tags(truth)) for truth in truths], SEED_PROMPTS)
    found = probabilities(folder / "tagger" / "model.onnx", np.stack([square(p) for p in pictures]))
    names = list(VOCABULARY)
    said = [
        {name for name, p in zip(names, row, strict=True) if p > threshold}
        for row in found[:, len(RATINGS) :]
    ]
    shares = {"share of asked tags found": share(truths, said, names)}
    for group, wanted in groups().items():
        shares[f"of those, {group}"] = share(truths, said, wanted)
    others = said[1:] + said[:1]
    shares["share found in another prompt's sample (chance)"] = share(truths, others, names)
    return {name: round(value, 3) for name, value in shares.items()}


def groups() -> dict[str, list[str]]:
    """The vocabulary's parts that are reported apart."""
    lengths = {"short hair", "medium hair", "long hair"}
    return {
        "hair colour": [n for n in VOCABULARY if n.endswith(" hair") and n not in lengths],
        "eye colour": [n for n in VOCABULARY if n.endswith(" eyes") and n != "closed eyes"],
        "outfit": [n for n in VOCABULARY if n.split()[-1] in OUTFIT_WORDS],
        "framing": ["portrait", "upper body", "full body"],
        "background": ["forest", "beach", "city", "indoors", *(n for n in VOCABULARY if "background" in n)],
    }


OUTFIT_WORDS = frozenset({"shirt", "dress", "jacket", "sweater", "hoodie", "serafuku", "kimono"})


def share(truths: list[Drawing], said: list[set[str]], names: list[str]) -> float:
    """Of the asked tags among `names`, the share that was found."""
    asked = [
        (tag, found) for truth, found in zip(truths, said, strict=True) for tag in tags(truth) if tag in names
    ]
    return sum(tag in found for tag, found in asked) / max(1, len(asked))


def write_sheet(folder: Path) -> None:
    """samples.png: the prompts of SHEET in reading order, 64 colours."""
    pictures = draw(folder, list(SHEET), 3)
    rows = [np.concatenate(list(pictures[start : start + 4]), axis=1) for start in range(0, len(SHEET), 4)]
    sheet = Image.fromarray(np.concatenate(rows, axis=0)).resize((768, 576), Image.Resampling.LANCZOS)
    sheet.quantize(64).save(folder / "samples.png", optimize=True)


TEMPLATE = """\
# The miniature family

**A miniature, for trying and testing: not for real pictures.** These models know one world only, cartoon
characters drawn by the program in this folder, {tags} tags in all. On photographs or real drawings they
say and draw nonsense. They are here so that the whole chain, from a raw folder to a trained LoRA, runs
and is measured without a network or a GPU; the files have the same formats as the real models, and the
same code loads them.

Everything was made by `python models/miniature/make.py STEP`, once for each of vae, decoder, base, tagger,
clip, judge and card, in this order, from nothing but its own drawings (`world.py`): no foreign data or
weights. Seeds are fixed. The numbers below are measured by `make.py card` on drawings that no model was
trained on.

Trained on two CPU cores: VAE 2,500 steps (of a schedule of 3,000) in 25 minutes and its decoder alone 900
more, U-Net and text encoder 2,900 steps (1,700 of them at half size) in 40 minutes, tagger 1,500, judge 350,
CLIP 400 steps in minutes.

![samples](samples.png)

Samples of the base model (25 DDIM steps, guidance 4); the prompts stand in `card.py`, the last three are
the class word, twice, and an unknown word before it.

## base/ (Stable Diffusion's layout)

VAE (factor 8, 4 channels), held-out drawings:

{vae}

Text-to-image (256 x 256, 192 x 320, 320 x 192 px), by the tagger's verdict on samples of held-out captions:

{fidelity}

The text encoder has CLIP's whole vocabulary and no tokenizer files:
`dataprep.inference.text.clip_tokenizer` builds it.

## tagger/ (WD format, 128 px)

{tagger}

{tag_table}

## clip/ (open_clip, 128 px)

Retrieval@1 among 100 held-out drawings and their captions:

{clip}

## judge/ (the tagger's format)

Finds the signature features that no tag names and that VAE, base and CLIP have never seen: star hairpin,
two-tone streak, striped scarf.
Accuracy on held-out random characters, each feature present half of the time:

{judge}

## Sizes

{sizes}
"""
