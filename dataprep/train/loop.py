"""The training loop: from a prepared folder to a LoRA file, read top to bottom.

All randomness hangs on (seed, step), so a checkpoint holds only step, trained tensors and optimizer, and
a resumed run on a CPU is bit for bit the run that was never interrupted.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dataprep.errors import DiskError, UserError
from dataprep.export.lora_metadata import Run, file_facts
from dataprep.inference.base import Base, Prediction, load_base
from dataprep.inference.sampling import Sampler, added_conditions, parse_prompt, save_png
from dataprep.inference.torch_compat import prepare_torch
from dataprep.interrupts import interruptible
from dataprep.store import write_whole
from dataprep.train.captions import Captions
from dataprep.train.checkpoint import (
    LastGood,
    check_same_run,
    latest_checkpoint,
    proven,
    refuse_to_lose,
    remove_checkpoints,
    save_checkpoint,
)
from dataprep.train.config import TrainConfig
from dataprep.train.data import Batch, Prepared, seed_of
from dataprep.train.network import TRAINABLE
from dataprep.train.objective import Objective
from dataprep.train.optimizers import lr_at, make_optimizer
from dataprep.training.base_fits import check_base, fingerprint
from dataprep.training.briefing import check_early, compiler_found, default_prompts, start_notes
from dataprep.training.cached import base_path
from dataprep.training.log import Log
from dataprep.training.watch import DIVERGED, NO_NUMBER, OnProgress, Progress, Rise, diverged, stopped

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
READ_EVERY = 10  # steps; reading a loss back waits for the GPU. On a CPU it is read at each step.
SMOOTHING = 0.98


def train(
    directory: Path,
    config: TrainConfig,
    *,
    resume: bool,
    restart: bool = False,
    device: str,
    on_progress: OnProgress | None = None,
) -> Path:
    """Train on a prepared folder.

    Writes DIR/model/NAME.safetensors, checkpoints and sample pictures beside it, and DIR/log/train.jsonl.

    Args:
        directory: what `dataprep run` left.
        config: the settings.
        resume: go on from the last checkpoint, if there is one; else earlier checkpoints are removed.
        restart: remove those of an unfinished training too, which is otherwise refused.
        device: torch device name, such as "cpu" or "cuda".
        on_progress: called after each step whose loss was read.
    Returns:
        The file.
    Raises:
        InputError: not a prepared folder, or its latents are stale.
        ModelError: the base model cannot be loaded.
        ConfigError: settings that do not fit this folder, model, machine or checkpoint; neither resume nor
            restart where a training was stopped.
        UserError: the loss stopped being a number.
        DiskError: the result cannot be written; a checkpoint that cannot be is only noted.
        KeyboardInterrupt: after Ctrl-C, once the step is saved.
    """
    prepare_torch()
    check_early(config, device)
    if not (resume or restart):
        refuse_to_lose(directory / "model" / "checkpoints")
    data = Prepared(directory, config)
    if config.embedding_init is None and data.meta.get("class_word"):
        config = config.model_copy(update={"embedding_init": data.meta["class_word"]})
    # Full fine-tuning keeps its weights in float32, since a step of 1e-5 vanishes in bf16.
    dtype = DTYPES[config.precision] if config.method == "network" and device != "cpu" else torch.float32
    path = base_path(config.base, data.meta)
    found = latest_checkpoint(directory / "model" / "checkpoints", mapped=True) if resume else None
    if found is not None:
        check_same_run(found, config, data.manifest_sha256)
    check_base(path, config, data, found)
    base = load_base(path, device, dtype)
    return Trainer(directory, config, data, base, device, on_progress).run(resume=resume)


class Trainer:
    """One run: models, data, optimizer, and the step that joins them."""

    def __init__(
        self,
        directory: Path,
        config: TrainConfig,
        data: Prepared,
        base: Base,
        device: str,
        on_progress: OnProgress | None,
    ) -> None:
        """Put everything together, all of it on the device; nothing is written yet."""
        self.directory, self.config, self.data = directory, config, data
        self.device, self.on_progress = device, on_progress
        self.target: Prediction = base.prediction if config.target == "auto" else config.target
        data.to(device, base.vae.config.scaling_factor)
        self.steps = config.steps or math.ceil(config.epochs * data.batches_per_epoch / config.accumulation)
        self.name = config.output_name or str(data.meta.get("trigger") or "lora")
        self.folder = directory / "model"
        self.network = TRAINABLE[config.method](base, config, data.meta.get("trigger"))
        # With the new word in it, where one is learned, and drawn by the rule it is trained by.
        self.base = replace(self.network.base, prediction=self.target)
        self.models = (base.unet, *base.text_encoders)
        self.dtype = base.unet.dtype  # asking for it each step goes through every module
        self.groups = self.network.groups()
        self.parameters = [parameter for group in self.groups for parameter in group["params"]]
        self.optimizer = make_optimizer(config, self.groups)
        self.objective = Objective(config, self.target, base.scheduler.alphas_cumprod)
        self.captions = Captions(self.base, config, self.steps)
        self.scaler = torch.amp.GradScaler(enabled=config.precision == "fp16")
        self.log = Log(directory / "log" / "train.jsonl", tensorboard=config.tensorboard)
        self.facts = Run(self.name, time.time(), self.steps, self.target, fingerprint(base.path))
        self.step, self.smoothed, self.rise = 0, math.nan, Rise()
        # All weights of a model, twice more, would be too much memory: there the checkpoints have to do.
        self.good = LastGood({} if config.method == "full" else self.network.state())
        self.unread: list[tuple[int, Tensor, Tensor, Tensor, float]] = []
        self._arrange_kernels()

    def _arrange_kernels(self) -> None:
        unet, config = self.base.unet, self.config
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or CUDA's matrix products refuse
            torch.use_deterministic_algorithms(True)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        if config.channels_last:
            unet.to(memory_format=torch.channels_last)
        if config.compile and compiler_found():
            unet.compile_repeated_blocks(fullgraph=True, dynamic=True)  # 3 graphs for any number of buckets

    # --- the run ---

    def run(self, *, resume: bool) -> Path:
        """Train from the start or the last checkpoint to the end; returns the LoRA file."""
        self._begin(resume=resume)
        self._training_mode()
        started, first = time.monotonic(), self.step
        with interruptible() as interrupted:
            while self.step < self.steps:
                self._one_step()
                self.step += 1
                if self.device == "cpu" or self.step == self.steps or len(self.unread) >= READ_EVERY:
                    self._read_losses()
                    self._report((self.step - first) / max(1e-9, time.monotonic() - started))
                self._keep()
                if interrupted.is_set() and self.step < self.steps:
                    self._checkpoint()
                    raise KeyboardInterrupt(stopped(self.step, self.steps, self.directory, self.device))
        path = self._save(self.name)
        self._unless_full("sample pictures", lambda: self._sample("end"))
        self._unless_full("log", self.log.close)
        return path

    def _begin(self, *, resume: bool) -> None:
        notes = start_notes(self.data, self.captions, self.steps, self.device)
        found = latest_checkpoint(self.folder / "checkpoints") if resume else None
        if found is None:
            remove_checkpoints(self.folder / "checkpoints")
            self.log.start(self.config, self.name, self.steps, self.base.path, self.facts.fingerprint)
        else:
            self.network.load(found["network"])
            self.optimizer.load_state_dict(found["optimizer"])
            self.scaler.load_state_dict(found["scaler"])
            self.step, self.smoothed = found["step"], found["smoothed"]
            self.log.cut(self.step)
            self.good.turn(self.step)
            notes.append(f"goes on after step {self.step}")
        self._report(0.0, *notes)

    def _training_mode(self) -> None:
        for model in self.models:
            model.train()

    # --- the step ---

    def _one_step(self) -> None:
        """Forward and backward over `accumulation` batches, then one optimizer step."""
        config = self.config
        factor = lr_at(config, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        total, blank = torch.zeros(2, device=self.device)
        for number in self._batches_of(self.step):
            # Dropout inside the models draws from torch's own generator.
            torch.manual_seed(seed_of(config.seed, "step", number))
            draw = torch.Generator().manual_seed(seed_of(config.seed, "noise", number))
            batch = self.data.batch(self.data.rows(number), draw)
            loss, of_zeros = self._loss(batch, number, draw)
            loss = loss / config.accumulation
            self.scaler.scale(loss).backward()
            total += loss.detach()
            blank += of_zeros / config.accumulation
        self.unread.append((self.step, total, blank, self._step_optimizer(), factor))

    def _batches_of(self, step: int) -> range:
        """Numbers, in the whole run, of the batches whose gradients make one step."""
        return range(step * self.config.accumulation, (step + 1) * self.config.accumulation)

    def _loss(self, batch: Batch, number: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean loss of one batch, and what answering nothing but zeros would have cost; scalars."""
        noised = self.objective.noise(batch.latents, draw)
        mixed, kind = DTYPES[self.config.precision], self.device.split(":")[0]
        with torch.autocast(kind, dtype=mixed, enabled=mixed != torch.float32 and kind != "cpu"):
            told = self.captions.conditions(batch, self.step, number // self.data.batches_per_epoch, number)
            extra = added_conditions(told, batch.time_ids, self.device)
            inputs = noised.inputs.to(self.dtype)
            answer = self.base.unet(inputs, noised.timesteps, told.context, added_cond_kwargs=extra).sample
        losses, zeros = self.objective.losses, torch.zeros_like(noised.answer)
        blank = losses(zeros, noised, batch.weights, batch.masks).mean()
        return losses(answer, noised, batch.weights, batch.masks).mean(), blank  # of (B,)

    def _step_optimizer(self) -> Tensor:
        """Clip, step and clear; returns the gradients' norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        most = self.config.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, most, foreach=True)
        if self.device == "cpu" and not torch.isfinite(norm):
            raise self._diverged(self.step, NO_NUMBER)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.network.constrain()
        return norm

    def _diverged(self, step: int, what: str) -> UserError:
        """The error for a loss or gradient that is lost at a step (from 0); saves the last good weights."""
        rows = [row for number in self._batches_of(step) for row in self.data.rows(number)]
        kept = str(proven(self.folder / "checkpoints", step) or "none: it was lost at once")
        if self.good.state and self.good.step:
            self.good.restore()
            self.step = self.good.step
            try:
                kept = str(self._save(f"{self.name}-step{self.step:08d}"))
            except DiskError as error:
                kept = str(error)
        return diverged(step, [self.data.images[row].file for row in rows], what, kept)

    # --- what is seen ---

    def _read_losses(self) -> None:
        """Take the losses of the last steps from the device, look at them, and note them."""
        if not self.unread:
            return
        for step, loss, of_zeros, norm, factor in self.unread:
            value, length, blank = loss.item(), norm.item(), of_zeros.item()
            # fp16's scaler skips steps whose gradients overflow; a loss that is no number is another matter.
            if not math.isfinite(value) or not (math.isfinite(length) or self.scaler.is_enabled()):
                raise self._diverged(step, NO_NUMBER)
            if value > DIVERGED * blank:
                raise self._diverged(step, f"the loss is {value:.3g}, over {DIVERGED} times a blank answer's")
            older = SMOOTHING * self.smoothed + (1 - SMOOTHING) * value  # NaN at the first step
            self.smoothed = value if math.isnan(older) else older
            self.log.add(
                step=step + 1,
                epoch=self._epoch(step),
                loss=value,
                smoothed=self.smoothed,
                norm=length,
                rates={group["part"]: group["initial_lr"] * factor for group in self.groups},
            )
            if climbed := self.rise.look(step, value, blank):
                self._report(0.0, climbed)
        self.unread.clear()
        self.good.turn(self.step)

    def _epoch(self, step: int) -> int:
        return step * self.config.accumulation // self.data.batches_per_epoch + 1

    def _report(self, steps_per_s: float, *notes: str) -> None:
        memory = torch.cuda.max_memory_allocated() if self.device.startswith("cuda") else 0
        epoch = self._epoch(max(0, self.step - 1))
        if self.on_progress is not None:
            self.on_progress(
                Progress(self.step, self.steps, epoch, self.smoothed, steps_per_s, memory, notes)
            )

    # --- what is kept ---

    def _keep(self) -> None:
        """Checkpoint, save and draw where this step calls for it."""
        config, step = self.config, self.step
        per, each = self.data.batches_per_epoch, config.accumulation
        ended = range((step - 1) * each // per + 1, step * each // per + 1)  # epochs, counted from 1

        def due(steps: int | None, epochs: int | None = None) -> bool:
            return bool(steps and step % steps == 0) or any(epochs and done % epochs == 0 for done in ended)

        if due(config.checkpoint_every) or step == self.steps:
            self._checkpoint()
        if step == self.steps:
            return
        if due(config.save_every_steps):
            self._unless_full("file", lambda: self._save(f"{self.name}-step{step:08d}"))
        if due(None, config.save_every_epochs):
            self._unless_full("file", lambda: self._save(f"{self.name}-{ended[-1]:06d}"))
        if due(config.sample_every_steps, config.sample_every_epochs):
            self._unless_full("sample pictures", lambda: self._sample(f"{step:06d}"))

    def _unless_full(self, what: str, write: Callable[[], object]) -> None:
        """Write something on the way; hours of training are worth more, so a full disk is only noted."""
        try:
            write()
        except DiskError as error:
            self._report(0.0, f"no {what} at step {self.step}, and training goes on: {error}")

    def _checkpoint(self) -> None:
        self._read_losses()
        state = {
            "step": self.step,
            "steps": self.steps,
            "smoothed": self.smoothed,
            "config": self.config.model_dump_json(),
            "base": str(self.base.path.resolve()),
            "fingerprint": self.facts.fingerprint,
            "manifest": self.data.manifest_sha256,
            "network": self.network.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        self._unless_full("log", self.log.flush)
        folder, keep = self.folder / "checkpoints", self.config.keep_checkpoints
        self._unless_full("checkpoint", lambda: save_checkpoint(folder, state, keep))  # the last one stays

    def _save(self, name: str) -> Path:
        """Write what has been learned, with everything it says of itself."""
        epoch = self._epoch(self.step - 1)
        facts = file_facts(self.config, self.base, self.data, self.facts, self.step, epoch)
        path: Path = self.folder / (name + self.network.suffix)
        self.network.save(path, facts, DTYPES[self.config.save_precision])
        return path

    def _sample(self, when: str) -> None:
        """Draw the prompts with what has been learned so far, into model/samples/."""
        config, folder = self.config, self.folder / "samples"
        if not config.samples:
            return
        for model in self.models:
            model.eval()
        sampler = Sampler(
            self.base,
            config.sampler,
            zero_snr=config.zero_terminal_snr,
            clip_skip=config.clip_skip,
            weighted=config.weighted,
        )
        prompts = [parse_prompt(line) for line in config.sample_prompts]
        pictures = sampler.draw(prompts or default_prompts(self.data))
        self._training_mode()
        for i, picture in enumerate(pictures):
            path = folder / f"{self.name}-{when}-{i:02d}.png"
            write_whole(path, partial(save_png, picture))
