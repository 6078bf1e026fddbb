"""The training loop: from a prepared folder to a LoRA file, read top to bottom.

All randomness hangs on (seed, step), so a checkpoint holds only step, trained tensors and optimizer, and
a resumed run on a CPU is bit for bit the run that was never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataprep.errors import ConfigError, DiskError, ModelError
from dataprep.inference.base import Base, Prediction, load_base
from dataprep.inference.torch_compat import prepare_torch
from dataprep.train import metadata
from dataprep.train.checkpoint import (
    Log,
    check_same_run,
    latest_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from dataprep.train.conditions import Captions
from dataprep.train.config import TrainConfig
from dataprep.train.data import Batch, Prepared, seed_of
from dataprep.train.methods import Embedding, FullModel
from dataprep.train.network import Network
from dataprep.train.objective import Objective
from dataprep.train.optimizers import lr_at, make_optimizer
from dataprep.train.sample import Sampler, added_conditions, parse_prompt
from dataprep.train.telling import (
    OnProgress,
    Progress,
    default_prompts,
    diverged,
    interruptible,
    start_notes,
    stopped,
)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Reading a loss back waits for the GPU: there it is done every so many steps, on a CPU at each.
READ_EVERY = {"cpu": 1}
SMOOTHING = 0.98


def train(
    directory: Path, config: TrainConfig, *, resume: bool, device: str, on_progress: OnProgress | None = None
) -> Path:
    """Train on a prepared folder.

    Writes DIR/model/NAME.safetensors, checkpoints and sample pictures beside it, and DIR/log/train.jsonl.

    Args:
        directory: what `dataprep run` left.
        config: the settings.
        resume: go on from the last checkpoint, if there is one; otherwise earlier checkpoints are removed.
        device: torch device name, such as "cpu" or "cuda".
        on_progress: called after each step whose loss was read.
    Returns:
        The file.
    Raises:
        InputError: not a prepared folder, or its latents are stale.
        ModelError: the base model cannot be loaded.
        ConfigError: settings that do not fit this folder, model, machine or checkpoint.
        UserError: the loss stopped being a number.
        DiskError: the result cannot be written; a checkpoint that cannot be is only noted.
        KeyboardInterrupt: after Ctrl-C, once the step is saved.
    """
    prepare_torch()
    data = Prepared(directory, config)
    if config.embedding_init is None and data.meta.get("class_word"):
        config = config.model_copy(update={"embedding_init": data.meta["class_word"]})
    trainer = Trainer(directory, config, data, _load(config, data, device), device, on_progress)
    return trainer.run(resume=resume)


def _load(config: TrainConfig, data: Prepared, device: str) -> Base:
    if config.precision == "fp16" and device == "cpu":
        raise ConfigError("precision fp16 needs a GPU; use fp32 (or bf16) here")
    # Full fine-tuning keeps its weights in float32, since a step of 1e-5 vanishes in bf16.
    dtype = DTYPES[config.precision] if config.method == "network" and device != "cpu" else torch.float32
    return load_base(_base_path(config, data), device, dtype)


def _base_path(config: TrainConfig, data: Prepared) -> Path:
    """The base model's place: what the settings name, else what the manifest recorded."""
    recorded = data.meta.get("models", {}).get("base", {})
    for name in (config.base, recorded.get("path")):
        if name and Path(name).exists():
            return Path(name)
    name = config.base or recorded.get("name")
    if not name:
        raise ModelError(f"{data.directory}: the manifest names no base model; set base = PATH in train.toml")
    from dataprep.models import find

    return find("base", name).path


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
        """Put everything together; nothing is written yet.

        Args:
            directory: the prepared folder.
            config: the settings.
            data: the folder, read.
            base: the base model, on the device.
            device: torch device name.
            on_progress: called with where training stands.
        """
        self.directory, self.config, self.data, self.base = directory, config, data, base
        self.device, self.on_progress = device, on_progress
        self.target: Prediction = base.prediction if config.target == "auto" else config.target
        if config.zero_terminal_snr and self.target != "v":
            raise ConfigError(
                f"zero_terminal_snr needs a v-prediction model; {base.path.name} predicts {self.target}"
            )
        data.to(device, base.vae.config.scaling_factor)
        self.steps = config.steps or math.ceil(config.epochs * data.batches_per_epoch / config.accumulation)
        self.name = config.output_name or str(data.meta.get("trigger") or "lora")
        self.folder = directory / "model"
        self.network = TRAINABLE[config.method](base, config, data.meta.get("trigger"))
        # With the new word in it, where one is learned, and drawn by the rule it is trained by.
        self.base = replace(self.network.base, prediction=self.target)
        self.groups = self.network.groups()
        self.optimizer = make_optimizer(config, self.groups)
        self.objective = Objective(config, self.target, base.scheduler.alphas_cumprod)
        self.captions = Captions(self.base, config, self.steps)
        self.scaler = torch.amp.GradScaler(enabled=config.precision == "fp16")
        self.log = Log(directory / "log" / "train.jsonl", tensorboard=config.tensorboard)
        self.run_facts = metadata.Run(self.name, time.time(), self.steps, self.target)
        self.step, self.smoothed = 0, math.nan
        self.unread: list[tuple[int, Tensor, Tensor, float, tuple[str, ...]]] = []
        self._order: tuple[int, list[list[int]]] = (-1, [])
        self._prepare_models()

    def _prepare_models(self) -> None:
        unet, config = self.base.unet, self.config
        if config.deterministic:
            torch.use_deterministic_algorithms(True)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        if config.channels_last:
            unet.to(memory_format=torch.channels_last)
        if config.compile:
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
                if self.step == self.steps or len(self.unread) >= READ_EVERY.get(self.device, 10):
                    self._read_losses(started, first)
                self._keep()
                if interrupted.is_set() and self.step < self.steps:
                    self._checkpoint()
                    raise KeyboardInterrupt(stopped(self.directory, self.step, self.steps))
        path = self._save(self.name)
        self._sample("end")
        self.log.close()
        return path

    def _begin(self, *, resume: bool) -> None:
        found = latest_checkpoint(self.folder / "checkpoints") if resume else None
        if found is None:
            remove_checkpoints(self.folder / "checkpoints")
            self.log.start(self.config, self.name, self.steps)
        else:
            check_same_run(found, self.config, self.data.manifest_sha256)
            self.network.load(found["network"])
            self.optimizer.load_state_dict(found["optimizer"])
            self.scaler.load_state_dict(found["scaler"])
            self.step, self.smoothed = found["step"], found["smoothed"]
            self.log.cut(self.step)
        notes = start_notes(self.data, self.captions, self.steps, self.device)
        self._report(0.0, (*notes, *([f"goes on after step {self.step}"] if found else [])))

    def _training_mode(self) -> None:
        for model in (self.base.unet, *self.base.text_encoders):
            model.train()

    # --- the step ---

    def _one_step(self) -> None:
        """Forward and backward over `accumulation` batches, then one optimizer step."""
        config = self.config
        factor = lr_at(config, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        total, files = torch.zeros((), device=self.device), []
        for part in range(config.accumulation):
            number = self.step * config.accumulation + part
            # Dropout inside the models draws from torch's own generator.
            torch.manual_seed(seed_of(config.seed, "step", number))
            draw = torch.Generator().manual_seed(seed_of(config.seed, "noise", number))
            batch = self._batch(number, draw)
            loss = self._loss(batch, number, draw) / config.accumulation
            self.scaler.scale(loss).backward()
            total += loss.detach()
            files += [image.file for image in batch.images]
        norm = self._step_optimizer()
        self.unread.append((self.step, total, norm, factor, tuple(files)))

    def _batch(self, number: int, draw: torch.Generator) -> Batch:
        epoch, i = divmod(number, self.data.batches_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self.data.order(epoch))
        return self.data.batch(self._order[1][i], draw)

    def _loss(self, batch: Batch, number: int, draw: torch.Generator) -> Tensor:
        """Mean loss of one batch, a scalar."""
        noised = self.objective.noise(batch.latents, draw)
        mixed = DTYPES[self.config.precision]
        with torch.autocast(
            self.device.split(":")[0], dtype=mixed, enabled=mixed != torch.float32 and self.device != "cpu"
        ):
            told = self.captions.conditions(batch, self.step, number // self.data.batches_per_epoch, number)
            extra = added_conditions(told, batch.time_ids, self.device)
            inputs = noised.inputs.to(self.base.unet.dtype)
            answer = self.base.unet(
                inputs, noised.timesteps, told.context, added_cond_kwargs=extra
            ).sample  # (B, 4, h, w)
        return self.objective.losses(answer, noised, batch.weights, batch.masks).mean()

    def _step_optimizer(self) -> Tensor:
        """Clip, step and clear; returns the gradients' norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm or math.inf)
        if self.device == "cpu" and not torch.isfinite(norm):
            raise diverged(self.folder, self.step, self._order_files())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.network.constrain()
        return norm

    def _order_files(self) -> tuple[str, ...]:
        per = self.data.batches_per_epoch
        numbers = range(self.step * self.config.accumulation, (self.step + 1) * self.config.accumulation)
        return tuple(
            self.data.images[row].file for n in numbers for row in self.data.order(n // per)[n % per]
        )

    # --- what is seen ---

    def _read_losses(self, started: float, first: int) -> None:
        """Take the losses of the last steps from the device, look at them, and tell."""
        for step, loss, norm, factor, files in self.unread:
            value, length = loss.item(), norm.item()
            # fp16's scaler skips steps whose gradients overflow; a loss that is no number is another matter.
            if not math.isfinite(value) or not (math.isfinite(length) or self.scaler.is_enabled()):
                raise diverged(self.folder, step, files)
            self.smoothed = (
                value if math.isnan(self.smoothed) else SMOOTHING * self.smoothed + (1 - SMOOTHING) * value
            )
            rates = {group["part"]: group["initial_lr"] * factor for group in self.groups}
            self.log.add(
                step=step + 1,
                epoch=self._epoch(step),
                loss=value,
                smoothed=self.smoothed,
                norm=length,
                rates=rates,
            )
        self.unread.clear()
        self._report((self.step - first) / max(1e-9, time.monotonic() - started))

    def _epoch(self, step: int) -> int:
        return step * self.config.accumulation // self.data.batches_per_epoch + 1

    def _report(self, steps_per_s: float, notes: tuple[str, ...] = ()) -> None:
        if self.on_progress is None:
            return
        memory = torch.cuda.max_memory_allocated() if self.device.startswith("cuda") else 0
        remaining = (self.steps - self.step) / steps_per_s if steps_per_s else math.nan
        self.on_progress(
            Progress(
                self.step,
                self.steps,
                self._epoch(max(0, self.step - 1)),
                self._epoch(self.steps - 1),
                self.smoothed,
                self.optimizer.param_groups[0]["lr"],
                steps_per_s,
                remaining,
                memory,
                notes,
            )
        )

    # --- what is kept ---

    def _keep(self) -> None:
        """Checkpoint, save and draw where this step calls for it."""
        config, step = self.config, self.step
        ended = self._epochs_ended()
        if step % config.checkpoint_every == 0 or step == self.steps:
            self._checkpoint()
        if step == self.steps:
            return
        if config.save_every_steps and step % config.save_every_steps == 0:
            self._save(f"{self.name}-step{step:08d}")
        if config.save_every_epochs and any(epoch % config.save_every_epochs == 0 for epoch in ended):
            self._save(f"{self.name}-{ended[-1]:06d}")
        by_step = config.sample_every_steps and step % config.sample_every_steps == 0
        by_epoch = config.sample_every_epochs and any(
            epoch % config.sample_every_epochs == 0 for epoch in ended
        )
        if by_step or by_epoch:
            self._sample(f"{step:06d}")

    def _epochs_ended(self) -> range:
        """Epochs, counted from 1, whose last batch was in the step just made."""
        per, each = self.data.batches_per_epoch, self.config.accumulation
        return range((self.step - 1) * each // per + 1, self.step * each // per + 1)

    def _checkpoint(self) -> None:
        if self.unread:
            self._read_losses(time.monotonic(), self.step)
        state = {
            "step": self.step,
            "smoothed": self.smoothed,
            "config": self.config.model_dump_json(),
            "manifest": self.data.manifest_sha256,
            "network": self.network.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        try:
            self.log.flush()
            save_checkpoint(self.folder / "checkpoints", state, self.config.keep_checkpoints)
        except DiskError as error:
            # Hours of training are worth more than one checkpoint: the one before is still whole.
            self._report(0.0, (f"no checkpoint at step {self.step}: {error}",))

    def _save(self, name: str) -> Path:
        """Write what has been learned, with everything it says of itself."""
        facts = metadata.training_metadata(self.config, self.base, self.data, self.run_facts)
        facts |= metadata.modelspec(self.config, self.base, self.data, self.run_facts)
        facts |= {"ss_steps": str(self.step), "ss_epoch": str(self._epoch(self.step - 1))}
        facts["ss_training_finished_at"] = str(time.time())
        path: Path = self.folder / (name + self.network.suffix)
        self.network.save(path, facts, DTYPES[self.config.save_precision])
        return path

    def _sample(self, when: str) -> None:
        """Draw the prompts with what has been learned so far, into model/samples/."""
        if not self.config.samples:
            return
        models = (self.base.unet, *self.base.text_encoders)
        for model in models:
            model.eval()
        config = self.config
        sampler = Sampler(
            self.base, config.sampler, zero_snr=config.zero_terminal_snr, clip_skip=config.clip_skip
        )
        lines = config.sample_prompts or default_prompts(self.data)
        for i, picture in enumerate(sampler.draw([parse_prompt(line) for line in lines])):
            path = self.folder / "samples" / f"{self.name}-{when}-{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        self._training_mode()


TRAINABLE: dict[str, Callable[[Base, TrainConfig, str | None], Any]] = {
    "network": Network,
    "full": FullModel,
    "embedding": Embedding,
}

__all__ = ["Progress", "Trainer", "train"]
