"""Let sd-scripts' own dataset classes load a prepared folder, and compare what they see with the manifest.

    python -m benchmarks.sd_scripts CHECKOUT PREPARED

CHECKOUT is a clone of kohya-ss/sd-scripts; the Python that runs this needs its packages too (toml,
voluptuous, imagesize, einops, accelerate). Nothing is trained: train.toml goes through its argument parser,
dataset.toml (then, in its place, --train_data_dir img --reg_data_dir reg) through its configuration classes,
an epoch through its data set, and its latents cache is run without a VAE. Prints the counts; exit status 1
and the differences if there are any.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

from dataprep.errors import InputError
from dataprep.inference.text import clip_tokenizer
from dataprep.inference.torch_compat import prepare_torch
from dataprep.run import read_manifest

# Pipelines for sample images only; they import names that newer transformers no longer have.
_NOT_NEEDED = {
    "library.lpw_stable_diffusion": "StableDiffusionLongPromptWeightingPipeline",
    "library.sdxl_lpw_stable_diffusion": "SdxlStableDiffusionLongPromptWeightingPipeline",
}
Rows = dict[str, dict[str, Any]]  # absolute picture file -> manifest row


class SdScripts:
    """The parts of a checkout that prepare a training."""

    def __init__(self, checkout: Path, family: str) -> None:
        """Import them. Raises InputError."""
        if not (checkout / "train_network.py").is_file():
            raise InputError(f"{checkout}: no checkout of sd-scripts: train_network.py is not in it")
        prepare_torch()
        sys.path.insert(0, str(checkout))
        for name, pipeline in _NOT_NEEDED.items():
            sys.modules[name] = types.ModuleType(name)
            setattr(sys.modules[name], pipeline, object)
        self.sdxl = family == "sdxl"
        self.script = importlib.import_module("sdxl_train_network" if self.sdxl else "train_network")
        self.util = importlib.import_module("library.train_util")
        self.config = importlib.import_module("library.config_util")
        self.base = importlib.import_module("library.strategy_base")
        own = importlib.import_module("library.strategy_sdxl" if self.sdxl else "library.strategy_sd")
        self.tokenize = own.SdxlTokenizeStrategy if self.sdxl else own.SdTokenizeStrategy
        self.base.TokenizeStrategy._load_tokenizer = lambda *_, **__: clip_tokenizer()  # no network

    def arguments(self, prepared: Path, *, folders: bool) -> Any:  # noqa: ANN401 - its argparse.Namespace
        """train.toml and the data set through its own parser, as the command line would give them."""
        parser = self.script.setup_parser()
        given = ["--config_file", str(prepared / "train.toml"), "--output_dir", str(prepared / "model")]
        if folders:
            given += ["--train_data_dir", str(prepared / "img"), "--reg_data_dir", str(prepared / "reg")]
        else:
            given += ["--dataset_config", str(prepared / "dataset.toml")]
        before, sys.argv = sys.argv, ["train_network.py", *given]  # its reader parses the command line anew
        try:
            args = self.util.read_config_from_file(parser.parse_args(given), parser)
        finally:
            sys.argv = before
        self.util.verify_training_args(args)
        self.util.prepare_dataset_args(args, True)
        return args

    def data_set(self, args: Any) -> tuple[Any, Any]:  # noqa: ANN401 - its own classes
        """The data set and the caching strategy that its training script would make."""
        strategy = importlib.import_module("library.strategy_sd")
        caching = strategy.SdSdxlLatentsCachingStrategy(not self.sdxl, args.cache_latents_to_disk, 4, False)
        for kind in (self.base.TokenizeStrategy, self.base.LatentsCachingStrategy):
            kind._strategy = None  # set once in a process, which trains once
        words = args.max_token_length
        self.base.TokenizeStrategy.set_strategy(
            self.tokenize(words) if self.sdxl else self.tokenize(args.v2, words)
        )
        self.base.LatentsCachingStrategy.set_strategy(caching)
        user = self._by_folders(args)
        if args.dataset_config is not None:
            user = self.config.load_user_config(args.dataset_config)
        sanitizer = self.config.ConfigSanitizer(True, True, args.masked_loss, True)
        blueprint = self.config.BlueprintGenerator(sanitizer).generate(user, args)
        group, _ = self.config.generate_dataset_group_by_blueprint(blueprint.dataset_group)
        group.verify_bucket_reso_steps(32 if self.sdxl else 64)
        group.set_current_strategies()
        return group, caching

    def _by_folders(self, args: Any) -> dict[str, Any]:  # noqa: ANN401 - argparse.Namespace of the checkout
        """What its training scripts make of --train_data_dir and --reg_data_dir."""
        subsets = self.config.generate_dreambooth_subsets_config_by_subdirs
        return {"datasets": [{"subsets": subsets(args.train_data_dir, args.reg_data_dir)}]}


def asked_to_encode(group: Any, caching: Any) -> list[str]:  # noqa: ANN401 - its own classes
    """Pictures whose latents it would compute although the folder brings them."""
    from accelerate import Accelerator  # type: ignore[import-untyped]  # one of sd-scripts' packages

    asked: list[str] = []
    caching.cache_batch_latents = lambda _vae, batch, *_: asked.extend(info.absolute_path for info in batch)
    group.new_cache_latents(None, Accelerator(cpu=True))
    return asked


def epoch(group: Any) -> tuple[int, list[str]]:  # noqa: ANN401 - its own classes
    """Samples of one epoch, and batches whose latents or captions are not as they should be."""
    samples, wrong = 0, []
    group.set_current_epoch(1)
    for data in group.datasets:
        for number in range(len(data)):
            batch = data[number]
            samples += len(batch["captions"])
            bucket = data.bucket_manager.resos[data.buckets_indices[number].bucket_index]
            if tuple(batch["latents"].shape[2:]) != (bucket[1] // 8, bucket[0] // 8):
                wrong.append(f"batch {number}: latents {tuple(batch['latents'].shape)} in bucket {bucket}")
            if not bool(batch["latents"].isfinite().all()):
                wrong.append(f"batch {number}: latents that are not finite")
    return samples, wrong


def differences(group: Any, rows: Rows) -> list[str]:  # noqa: ANN401 - its own classes
    """What it would train otherwise than the manifest says, picture by picture."""
    found = []
    seen = {key: (info, data) for data in group.datasets for key, info in data.image_data.items()}
    found += [f"{file}: not seen" for file in sorted(set(rows) - set(seen))]
    found += [f"{file}: not in the manifest" for file in sorted(set(seen) - set(rows))]
    for file in sorted(set(rows) & set(seen)):
        info, row = seen[file][0], rows[file]
        pairs = (
            ("bucket", tuple(info.bucket_reso), (row["bucket_width"], row["bucket_height"])),
            ("caption", info.caption, row["caption"]),
            ("class image", info.is_reg, row["role"] == "reg"),
        )
        found += [
            f"{file}: {what} {theirs!r}, planned {ours!r}" for what, theirs, ours in pairs if theirs != ours
        ]
        if not info.is_reg and info.num_repeats != row["repeats"]:
            found.append(f"{file}: repeats {info.num_repeats}, planned {row['repeats']}")
    return found


def main(checkout: Path, prepared: Path) -> int:
    """Run everything and print it; the exit status."""
    logging.disable(logging.INFO)
    table, metadata = read_manifest(prepared)
    rows = {str(prepared / row["image_file"]): row for row in table.to_pylist() if row["image_file"]}
    theirs = SdScripts(checkout.resolve(), metadata["settings"]["export"]["family"])
    wrong = 0
    for name, folders in (("--dataset_config dataset.toml", False), ("--train_data_dir img", True)):
        print(f"== {name}")
        wrong += look(theirs, prepared, rows, folders=folders)
    return 1 if wrong else 0


def look(theirs: SdScripts, prepared: Path, rows: Rows, *, folders: bool) -> int:
    """What it sees in the folder, printed; how much of it is not as planned."""
    args = theirs.arguments(prepared, folders=folders)
    group, caching = theirs.data_set(args)
    wrong = differences(group, rows)
    refused = [f"{file}: its latents are not accepted" for file in asked_to_encode(group, caching)]
    samples, bad_batches = (0, refused) if refused else epoch(group)
    infos = [info for data in group.datasets for info in data.image_data.values()]
    buckets = Counter("x".join(map(str, info.bucket_reso)) for info in infos if not info.is_reg)
    reg = [info for info in infos if info.is_reg]
    print(f"train.toml: {args.max_train_epochs} epochs, rank {args.network_dim}, {args.optimizer_type}")
    listed = ", ".join(f"{name} {count}" for name, count in buckets.most_common())
    print(f"{len(infos) - len(reg)} training pictures: {listed}")
    print(f"{len(reg)} class pictures, together {sum(info.num_repeats for info in reg)} times an epoch")
    print(f"{samples} samples an epoch in {len(group)} batches")
    print(f"latents encoded anew: {len(refused)} of {len(infos)}")
    for line in (wrong := wrong + bad_batches):
        print(f"WRONG: {line}")
    return len(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("prepared", type=Path)
    chosen = parser.parse_args()
    sys.exit(main(chosen.checkout, chosen.prepared.resolve()))
