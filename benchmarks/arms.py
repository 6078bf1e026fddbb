"""`make proof`, second part: is it the data that decides? Four arms of one training, over several seeds.

    python -m benchmarks.arms [OUT] [--seeds 5] [--steps 1220]

All arms have the same pictures, settings, steps and seeds, and differ in one thing:

- **full recipe**: pruned captions and class images, as `make demo` trains.
- **no class images**: the same batches with the class images taken out, hence half the batch size: as many
  steps, and each training picture as often, so that neither more nor fewer updates explain a drift.
- **unpruned captions**: the trigger absorbs nothing, and no overlap, blacklist or contradiction takes a tag
  away: every tag from the tagger's threshold on is in the caption.
- **random captions**: the full recipe's captions dealt out anew, none to its own picture. Dealing keeps each
  caption plausible, every tag as frequent, and the trigger first; only the bond of words and picture is
  gone. Tags drawn one by one would destroy more, and make the comparison too easy to win.

What counts as holding stands at the head of `benchmarks/claims.py`, written before the first run. Each run's
findings, picture by picture, its LoRA and its contact sheets stay under OUT/runs; a killed proof goes on
where it stood, and only what models, pictures, captions or settings changed is done again. Started twice with
OMP_NUM_THREADS=1, the two share the runs between them, which two cores do in less time than one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from rich.console import Console

from benchmarks.claims import (
    ALONE,
    BASE,
    CLASS,
    CONSTANTS,
    FULL,
    WITH,
    WITHOUT,
    Run,
    Seen,
    Sets,
    claims_table,
    measured_table,
)
from benchmarks.proof import JUDGE, ROOT, SHOWN, class_prompts, prompts, sheet
from dataprep.digest import digest, file_sha256
from dataprep.inference.base import Base, load_base
from dataprep.inference.sampling import sample_images
from dataprep.inference.tagger import Tagger, open_tagger, read_labels
from dataprep.models import find
from dataprep.progress import Observer
from dataprep.run import Job, read_manifest, run
from dataprep.store import write_bytes
from dataprep.training.terminal import train_folder

RAW = ROOT / "sample_data" / "raw"
OUT = ROOT / "build" / "proof"
TRIGGER, CLASS_WORD = "sks", "girl"
STEPS = 1220  # as `make demo`; with 840 one seed in two taught the trigger too little
CLASS_SAMPLES, ALONE_SAMPLES = 32, 16
Lines = dict[str, list[str]]  # prompt lines of each set
QUIET = ("samples=false", "save_every_epochs=100000", "checkpoint_every=100", "keep_checkpoints=1")


@dataclass(frozen=True)
class Arm:
    """One way of preparing and training.

    Attributes:
        chain: of `dataprep run`, as --set.
        training: of `dataprep train`, as --set.
        dealt: whether the captions are dealt out anew.
    """

    name: str
    chain: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    dealt: bool = False


def arms(batch_size: int) -> tuple[Arm, ...]:
    """The four arms.

    Args:
        batch_size: of the full recipe, half of it class images.
    """
    tags = read_labels(find("tagger", "miniature").path).tags
    unpruned = ("prune.absorbing=false", f"prune.keep={json.dumps(list(tags))}")
    return (
        Arm(FULL),
        Arm("no class images", training=("use_reg=false", f"batch_size={max(1, batch_size // 2)}")),
        Arm("unpruned captions", chain=unpruned),
        Arm("random captions", dealt=True),
    )


# --- folders ---


def prepare(arm: Arm, out: Path) -> Path:
    """The arm's prepared folder under OUT; one for all with the same chain; a second call does nothing."""
    folder = out / "prepared" / _slug(arm.name if arm.chain else FULL)
    job = Job(RAW, folder, flags={"trigger": TRIGGER}, overrides=arm.chain)
    run(job, Observer(), threads=os.cpu_count() or 1)
    return folder


def deal_captions(folder: Path, seed: int) -> None:
    """Give every training picture another's caption, in one round through all of them."""
    files = sorted((folder / "img").glob("*/*.txt"))
    texts = [file.read_bytes() for file in files]
    order = np.random.default_rng(seed).permutation(len(files)).tolist()
    for to, taken in zip(order, [*order[1:], *order[:1]], strict=True):
        write_bytes(files[to], texts[taken])


def absorbed(folder: Path) -> list[str]:
    """Those of CONSTANTS that the captions of a prepared folder leave to the trigger."""
    table = read_manifest(folder)[0]
    fates = {(tag["tag"], tag["fate"]) for tags in table["tags"].to_pylist() for tag in tags or ()}
    return [tag for tag in CONSTANTS if (tag, "absorbed") in fates]


def fingerprint(folder: Path, settings: Sequence[str], lines: Lines) -> str:
    """Key of all that decides a run: models, judge, pictures, captions, settings, and what is asked for."""
    models = [find(kind, "miniature").sha256 for kind in ("base", "tagger")]
    files = [folder / "train.toml", *sorted(folder.glob("img/*/*.*")), *sorted(folder.glob("reg/*/*.*"))]
    content = {
        file.relative_to(folder).as_posix(): file_sha256(file) for file in files if file.suffix != ".npz"
    }
    return digest(models, file_sha256(JUDGE / "model.onnx"), content, list(settings), lines)


# --- one run ---


def orders() -> Lines:
    """Prompt lines of each set; noise seeds are the same in every run."""
    alone = [line.replace(CLASS_WORD, f"{TRIGGER} {CLASS_WORD}", 1) for line in class_prompts(CLASS_WORD)]
    return {
        WITH: prompts(f"{TRIGGER} {CLASS_WORD}"),
        WITHOUT: prompts(CLASS_WORD),
        CLASS: class_prompts(CLASS_WORD)[:CLASS_SAMPLES],
        ALONE: alone[:ALONE_SAMPLES],
    }


def asked_tags(line: str) -> tuple[str, ...]:
    """The tags of a prompt line, without trigger, class word and options."""
    return tuple(line.partition(" --")[0].split(", ")[1:])


class Examiner:
    """Draws a LoRA's pictures and has them judged."""

    def __init__(self, lines: Lines) -> None:
        """Open base model, judge and tagger.

        Args:
            lines: prompt lines of each set.
        """
        self.lines = lines
        self.base: Base = load_base(find("base", "miniature").path, "cpu", torch.float32)
        self.judge: Tagger = open_tagger(JUDGE, {"format": "wd"})
        self.tagger: Tagger = open_tagger(find("tagger", "miniature").path, {"format": "wd"})

    def examine(self, lora: Path | None, folder: Path) -> dict[str, list[Seen]]:
        """All sets; their contact sheets are written to `folder`."""
        drawn = iter(sample_images(lora, self.base, [line for lot in self.lines.values() for line in lot]))
        found: dict[str, list[Seen]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for name, lot in self.lines.items():
            pictures = [next(drawn) for _ in lot]
            sheet(pictures, folder / f"{_slug(name)}.png")
            features = self.judge.scores([self.judge.prepare(p) for p in pictures])[:, -3:]  # (N, 3)
            scores = self.tagger.scores([self.tagger.prepare(p) for p in pictures])  # (N, tags)
            found[name] = [
                Seen(
                    (round(float(f[0]), 4), round(float(f[1]), 4), round(float(f[2]), 4)),
                    tuple(t for t, s in zip(self.tagger.labels.tags, row, strict=True) if s >= SHOWN),
                    asked_tags(line),
                )
                for f, row, line in zip(features, scores, lot, strict=True)
            ]
        return found


def trained(source: Path, arm: Arm, seed: int, settings: Sequence[str], folder: Path, key: str) -> Path:
    """Train one run on a copy of its prepared folder, or go on with it; returns the LoRA's file."""
    work, mark = folder / "prepared", folder / "prepared" / "run.key"
    if not (mark.is_file() and mark.read_text() == key):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(source, work, ignore=shutil.ignore_patterns(".dataprep", "model", "log"))
        if arm.dealt:
            deal_captions(work, seed)
        write_bytes(mark, key.encode())
    made = train_folder(work, None, settings, True, "cpu", Console(quiet=True))
    kept = folder / "lora.safetensors"
    made.replace(kept)
    return kept


def one_run(
    source: Path, arm: Arm, seed: int, steps: int, folder: Path, examiner: Examiner
) -> tuple[Run, str]:
    """Train and examine one arm at one seed, unless that is done; with what to say of it."""
    settings = (f"steps={steps}", f"seed={seed}", *QUIET, *arm.training)
    key = fingerprint(source, (*settings, "dealt" if arm.dealt else ""), examiner.lines)
    if (found := recorded(folder, key)) is not None:
        return Run(arm.name, seed, found), "done before"
    started = time.perf_counter()
    lora = trained(source, arm, seed, settings, folder, key)
    drawing = time.perf_counter()
    sets = examiner.examine(lora, folder)
    seconds = {"training": drawing - started, "drawing": time.perf_counter() - drawing}
    record(folder, key, {"arm": arm.name, "seed": seed, "settings": list(settings), "seconds": seconds}, sets)
    shutil.rmtree(folder / "prepared")
    return Run(arm.name, seed, sets), ", ".join(f"{what} {s:.0f} s" for what, s in seconds.items())


# --- what is kept ---


def record(folder: Path, key: str, facts: dict[str, Any], sets: Sets) -> None:
    """Write one run's findings whole."""
    found = {name: [asdict(seen) for seen in lot] for name, lot in sets.items()}
    write_bytes(folder / "record.json", json.dumps({"key": key, **facts, "sets": found}).encode())


def recorded(folder: Path, key: str) -> dict[str, list[Seen]] | None:
    """The findings stored under this key; None if there are none."""
    path = folder / "record.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text("utf-8"))
    if found["key"] != key:
        return None
    return {
        name: [Seen(tuple(one["features"]), tuple(one["tags"]), tuple(one["asked"])) for one in lot]
        for name, lot in found["sets"].items()
    }


def main() -> None:
    """Do what is left to do, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=OUT, help="folder of runs and result.md")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 1 on")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training")
    options = parser.parse_args()
    print(prove_arms(options.out, range(1, options.seeds + 1), options.steps))


def prove_arms(out: Path, seeds: Sequence[int], steps: int) -> str:
    """All arms over all seeds, seed by seed; returns the tables, which also stand in OUT/result.md."""
    from dataprep.training.settings import load_config

    examiner = Examiner(orders())
    (out / "runs").mkdir(parents=True, exist_ok=True)
    with FileLock(out / "runs" / "start.lock"):
        full = prepare(Arm(FULL), out)
        variants = arms(load_config(full / "train.toml")[0].batch_size)
        sources = {arm.name: prepare(arm, out) for arm in variants}
        base = base_sets(examiner, out / "runs" / "base")
    runs: list[Run] = []
    text = ""
    todo = deque((seed, arm) for seed in seeds for arm in variants)
    elsewhere = 0  # runs in a row that another process is at
    while todo:
        seed, arm = todo.popleft()
        folder = out / "runs" / f"{_slug(arm.name)}-{seed}"
        try:
            with FileLock(f"{folder}.lock", timeout=0 if elsewhere < len(todo) else -1):
                done, said = one_run(sources[arm.name], arm, seed, steps, folder, examiner)
        except Timeout:
            todo.append((seed, arm))
            elsewhere += 1
            continue
        elsewhere = 0
        runs.append(done)
        print(f"{len(runs)} of {len(seeds) * len(variants)}: {arm.name}, seed {seed}: {said}", flush=True)
        if whole := _of_whole_seeds(runs, variants):
            text = tables(whole, base, absorbed(full), steps)
            write_bytes(out / "result.md", f"{text}\n".encode())
    return text


def _of_whole_seeds(runs: Sequence[Run], variants: Sequence[Arm]) -> list[Run]:
    """The runs of those seeds of which every arm is done, in order of seed and arm."""
    done = {(run.seed, run.arm): run for run in runs}
    seeds = sorted({run.seed for run in runs})
    return [
        done[seed, arm.name]
        for seed in seeds
        if all((seed, arm.name) in done for arm in variants)
        for arm in variants
    ]


def base_sets(examiner: Examiner, folder: Path) -> Sets:
    """The base model's pictures for the same prompts, drawn once."""
    models = [find(kind, "miniature").sha256 for kind in ("base", "tagger")]
    key = digest(models, file_sha256(JUDGE / "model.onnx"), examiner.lines)
    if (found := recorded(folder, key)) is None:
        found = examiner.examine(None, folder)
        record(folder, key, {"arm": BASE}, found)
    return found


def tables(runs: Sequence[Run], base: Sets, constants: Sequence[str], steps: int) -> str:
    """Claims and measurements as Markdown."""
    left = ", ".join(constants) or "none of them"
    head = f"{steps} steps a run. Of the constant features the full recipe leaves to the trigger: {left}."
    return "\n\n".join((head, claims_table(runs, base, constants), measured_table(runs, base)))


def _slug(name: str) -> str:
    return name.replace(" ", "-")


if __name__ == "__main__":
    main()
