"""Steps per CPU second of the bundled trainer against the LoRA loop of diffusers' own examples, step by step.

One thread, and the process's own CPU seconds: what else the machine does at the time hardly moves them.

The other loop is written after `train_text_to_image_lora.py` and `train_dreambooth_lora.py`: accelerate, a
DataLoader, torch's AdamW, diffusers' scheduler, the text encoder at every step. Model, latents (in memory on
both sides), captions, adapted modules and batch size are the same; how a step is made differs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dataprep.inference.base import Base, load_base
from dataprep.inference.torch_compat import prepare_torch
from dataprep.models import find
from dataprep.progress import Observer
from dataprep.run import Job, run
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared
from dataprep.train.loop import Trainer
from dataprep.train.network import inject, text_plan, unet_plan
from models.miniature.world import render, signature_drawing

PICTURES, SIDE = 16, 640
SETTINGS: dict[str, Any] = {"rank": 16, "batch_size": 4, "samples": False, "steps": 100_000, "use_reg": False}
VARIANTS = {"ours": {}, "ours, channels_last": {"channels_last": True}, "ours, compiled": {"compile": True}}
WARM_UP = 3  # steps not counted
Step = Callable[[], None]


def prepared_folder(home: Path) -> Path:
    """Square drawings, so that both loops see batches of one shape."""
    draw = np.random.default_rng(5)
    (home / "raw").mkdir()
    for i in range(PICTURES):
        render(signature_drawing(draw), SIDE, SIDE).save(home / "raw" / f"{i:02d}.png")
    flags = {"trigger": "sks", "class_word": "girl", "models": "miniature"}
    run(Job(home / "raw", home / "out", flags=flags), Observer(), threads=2)
    return home / "out"


def fresh_base() -> Base:
    """The miniature base model, loaded anew for each loop."""
    return load_base(find("base", "miniature").path, "cpu", torch.float32)


class OurLoop:
    """The bundled trainer, its steps made one at a time; counts the seconds spent on data."""

    def __init__(self, directory: Path, config: TrainConfig) -> None:
        """Everything that a run does before its first step."""
        self.data_s = 0.0
        data = Prepared(directory, config)
        self.trainer = Trainer(directory, config, data, fresh_base(), "cpu", None)
        self.trainer._training_mode()
        inner = data.batch

        def timed(rows: list[int], draw: torch.Generator) -> Any:  # noqa: ANN401 - a Batch
            start = time.process_time()
            batch = inner(rows, draw)
            self.data_s += time.process_time() - start
            return batch

        data.batch = timed  # type: ignore[method-assign]

    def step(self) -> None:
        """One optimizer step, its loss read and noted as in a run."""
        self.trainer._one_step()
        self.trainer.step += 1
        self.trainer._read_losses()


class Examples(torch.utils.data.Dataset[dict[str, Any]]):
    """Cached latents and token ids, as the examples' loop is handed them."""

    def __init__(self, data: Prepared, base: Base) -> None:
        """Hold the prepared folder's data and the tokenizer's model."""
        self.data, self.base = data, base

    def __len__(self) -> int:
        return len(self.data.images)

    def __getitem__(self, number: int) -> dict[str, Any]:
        image = self.data.images[number]
        told = self.base.tokenizers[0](
            image.lines[0], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        )
        return {"latents": self.data.latents[image.bucket][image.slot], "ids": told.input_ids[0]}


def example_step(directory: Path, config: TrainConfig) -> Step:
    """One optimizer step of the examples' loop, as a function to call again and again."""
    from accelerate import Accelerator  # type: ignore[import-untyped]
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import compute_snr

    accelerator, base = Accelerator(cpu=True), fresh_base()
    data = Prepared(directory, config)
    data.to("cpu", base.vae.config.scaling_factor)
    learning = [base.unet, *(base.text_encoders if config.train_text_encoder else ())]
    inject(base.unet, unet_plan(base.unet, config), config)
    for encoder in learning[1:]:
        inject(encoder, text_plan(encoder, config), config)
    for module in (part for model in learning for part in model.modules()):
        module.__dict__.pop("forward", None)  # ours for the linear layers: the examples have peft's own
    parameters = [p for model in learning for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.unet_rate, weight_decay=0.01)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=0, num_training_steps=100_000)

    loader = torch.utils.data.DataLoader(Examples(data, base), batch_size=config.batch_size, shuffle=True)
    unet, text_encoder, optimizer, loader, schedule = accelerator.prepare(
        base.unet, base.text_encoders[0], optimizer, loader, schedule
    )
    for model in (unet, text_encoder):
        model.train()

    def batches() -> Iterator[dict[str, Any]]:
        while True:
            yield from loader

    endless = batches()

    def step() -> None:
        batch = next(endless)
        with accelerator.accumulate(unet):
            latents = batch["latents"]
            noise = torch.randn_like(latents)
            timesteps = torch.randint(0, 1000, (len(latents),)).long()
            noisy = base.scheduler.add_noise(latents, noise, timesteps)
            context = text_encoder(batch["ids"], return_dict=False)[0]
            answer = unet(noisy, timesteps, context, return_dict=False)[0]
            ratio = compute_snr(base.scheduler, timesteps)
            weights = torch.stack([ratio, 5 * torch.ones_like(timesteps)], dim=1).min(dim=1)[0] / ratio
            loss = F.mse_loss(answer.float(), noise.float(), reduction="none")
            loss = (loss.mean(dim=list(range(1, len(loss.shape)))) * weights).mean()
            accelerator.gather(loss.repeat(config.batch_size)).mean().item()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        loss.detach().item()

    return step


def seconds(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each loop's steps, one of each in turn, so that a busy moment strikes them alike."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + rounds):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number >= WARM_UP:
                taken[name].append(time.process_time() - start)
    return taken


def compared(directory: Path, rounds: int, **settings: object) -> list[str]:
    """Table rows of one comparison: each loop's steps per CPU second, and how many times the example's."""
    config = TrainConfig.model_validate(SETTINGS | {"min_snr_gamma": 5.0} | settings)
    ours = {name: OurLoop(directory, config.model_copy(update=more)) for name, more in VARIANTS.items()}
    steps: dict[str, Step] = {"diffusers' example": example_step(directory, config)}
    steps |= {name: loop.step for name, loop in ours.items()}
    taken = seconds(steps, rounds)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    first = next(iter(middle.values()))
    rows = []
    for name, value in middle.items():
        share = f"{ours[name].data_s / (WARM_UP + rounds) / value:.2%}" if name in ours else ""
        what = "U-Net and text encoder" if config.train_text_encoder else "U-Net alone"
        rows.append(f"| {what} | {name} | {1 / value:.2f} | {first / value:.2f} | {share} |")
    return rows


def main() -> None:
    """Print the table; an argument gives the number of rounds."""
    prepare_torch()
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print("| trained | loop | steps/CPU s | times the example's | data's share of a step |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        directory = prepared_folder(Path(home))
        for text in (False, True):
            print("\n".join(compared(directory, rounds, train_text_encoder=text)), flush=True)


if __name__ == "__main__":
    main()
