from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dataprep.export.lora_metadata import (
    Run,
    bucket_info,
    file_bytes,
    modelspec,
    tag_frequency,
    training_metadata,
)
from dataprep.inference.base import load_base
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared

GOLDEN = json.loads(
    gzip.decompress((Path(__file__).parent.parent / "golden" / "lora_metadata.json.gz").read_bytes())
)


@pytest.fixture
def prepared(tmp_path: Path, base_path: Path) -> Path:
    """A prepared folder: 5 images x 2 and 3 regularization images in two buckets."""
    from tiny import prepare_folder

    return prepare_folder(tmp_path / "set", base_path)


@pytest.fixture
def found(prepared: Path, base_path: Path) -> dict[str, str]:
    config = TrainConfig(
        rank=8, alpha=4, steps=2, min_snr_gamma=5, noise_offset=0.05, shuffle=True, prior_loss_weight=0.7
    )
    base = load_base(base_path, "cpu", torch.float32)
    data, run = Prepared(prepared, config), Run("golden_db", 0.0, 2, "eps", "f" * 64)
    return training_metadata(config, base, data, run) | modelspec(config, base, data, run)


def test_every_name_that_sd_scripts_writes_is_there(found: dict[str, str]) -> None:
    at_saving = {"ss_steps", "ss_epoch", "ss_training_finished_at", "sshs_model_hash", "sshs_legacy_hash"}
    single_file_only = {"ss_sd_model_hash"}  # a folder has no 64 KiB at 1 MiB
    assert set(GOLDEN["metadata"]) - set(found) == at_saving | single_file_only


def test_values_that_do_not_hang_on_the_set_equal_sd_scripts(found: dict[str, str]) -> None:
    own = [
        "ss_session_id",
        "ss_training_started_at",
        "ss_sd_model_name",
        "ss_new_sd_model_hash",
        "ss_sd_scripts_commit_hash",
        "modelspec.date",
        "modelspec.implementation_version",
        "modelspec.resolution",
        "ss_bucket_info",
        "ss_tag_frequency",
        "ss_resolution",
        "ss_dataset_dirs",
        "ss_reg_dataset_dirs",
        "ss_min_bucket_reso",
        "ss_max_bucket_reso",
        "ss_num_train_images",
        "ss_num_reg_images",
        "ss_lr_scheduler",
        "ss_num_batches_per_epoch",
        "ss_batch_size_per_device",
        "ss_total_batch_size",
    ]
    same = {name: value for name, value in GOLDEN["metadata"].items() if name in found and name not in own}
    assert {name: found[name] for name in same} == same


def test_tags_buckets_and_folders_are_counted_from_the_set(prepared: Path, found: dict[str, str]) -> None:
    data = Prepared(prepared, TrainConfig())
    tags = tag_frequency((image.folder, image.lines) for image in data.images)
    assert tags["2_sks girl"]["sks girl"] == 5
    assert tags["1_girl"] == {"girl": 3}
    info = bucket_info(data)
    assert sum(bucket["count"] for bucket in info["buckets"].values()) == 20  # type: ignore[attr-defined]
    assert json.loads(found["ss_dataset_dirs"]) == {"2_sks girl": {"n_repeats": 2, "img_count": 5}}
    assert json.loads(found["ss_reg_dataset_dirs"]) == {"1_girl": {"n_repeats": 1, "img_count": 3}}
    assert found["ss_num_train_images"] == "10"
    assert found["modelspec.trigger_phrase"] == "sks"


def test_hashes_are_of_the_tensors_alone(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(600_000.0), "b": torch.ones(3)}
    one = file_bytes(tensors, {"ss_seed": "1", "modelspec.title": "x"})
    other = file_bytes(tensors, {"ss_seed": "2"})
    (tmp_path / "x.safetensors").write_bytes(one)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        metadata = file.metadata()
    start = 8 + int.from_bytes(one[:8], "little")
    assert metadata["sshs_model_hash"] == hashlib.sha256(one[start:]).hexdigest()
    assert metadata["sshs_model_hash"].encode() in other
    assert len(metadata["sshs_legacy_hash"]) == 8
    assert metadata["modelspec.title"] == "x"


@pytest.mark.parametrize(
    ("network", "module", "args"),
    [
        ("lora", "networks.lora", None),
        ("locon", "networks.lora", {"conv_dim": "8", "conv_alpha": "4.0"}),
        ("lokr", "lycoris.kohya", {"conv_dim": "8", "conv_alpha": "4.0", "algo": "lokr"}),
    ],
)
def test_the_network_names_what_reads_it(
    network: str, module: str, args: dict[str, str] | None, prepared: Path, base_path: Path
) -> None:
    config = TrainConfig(rank=8, alpha=4, network=network)
    base = load_base(base_path, "cpu", torch.float32)
    found = training_metadata(config, base, Prepared(prepared, config), Run("x", 0.0, 2, "eps", "f" * 64))
    assert found["ss_network_module"] == module
    assert json.loads(found.get("ss_network_args", "null")) == args
