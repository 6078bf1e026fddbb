from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from dataprep.cli import app
from dataprep.errors import InputError
from dataprep.lora.parameters import as_config, save_config

with gzip.open(Path(__file__).parent.parent / "golden" / "lora_metadata.json.gz") as file:
    GOLDEN = json.load(file)["metadata"]  # of a LoRA that sd-scripts 48d368fa trained for two steps


def test_parameters_become_a_training_file() -> None:
    metadata = GOLDEN | {
        "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.01,betas=(0.9, 0.99))",
        "ss_network_args": '{"conv_dim": "4"}',
        "ss_training_comment": 'quote " and\nline',
        "ss_clip_skip": "2",
    }
    text = as_config(metadata)
    config = {name: value for section in tomllib.loads(text).values() for name, value in section.items()}
    assert config["network_dim"] == 8
    assert config["network_alpha"] == 4.0
    assert config["optimizer_type"] == "AdamW8bit"
    assert config["optimizer_args"] == ["weight_decay=0.01", "betas=(0.9, 0.99)"]
    assert config["network_args"] == ["conv_dim=4"]
    assert config["resolution"] == "192,192"
    assert config["shuffle_caption"] is True
    assert config["training_comment"] == 'quote " and\nline'
    assert "scale_weight_norms" not in config  # None: not used


def test_the_bundled_trainer_reads_that_training_file(tmp_path: Path) -> None:
    from dataprep.training.settings import load_config

    (tmp_path / "train.toml").write_text(as_config(GOLDEN), "utf-8")
    config, _ = load_config(tmp_path / "train.toml")
    assert (config.rank, config.alpha, config.min_snr_gamma, config.epochs) == (8, 4.0, 5.0, 1)


def test_a_dataset_config_gives_what_all_its_sets_agree_on() -> None:
    subset = {"shuffle_caption": True, "keep_tokens": 1, "flip_aug": False}
    first = {"batch_size_per_device": 3, "resolution": [192, 192], "enable_bucket": True, "subsets": [subset]}
    other = first | {"resolution": [256, 256], "subsets": [subset, {"keep_tokens": 0, "is_reg": True}]}
    text = as_config({"ss_network_dim": "8", "ss_datasets": json.dumps([first, other])})
    config = {name: value for section in tomllib.loads(text).values() for name, value in section.items()}
    assert config == {
        "network_dim": 8,
        "train_batch_size": 3,
        "enable_bucket": True,
        "flip_aug": False,
        "shuffle_caption": True,
        "keep_tokens": 1,
    }
    assert (
        tomllib.loads(as_config({"ss_datasets": '[1, {"subsets": [2, {"is_reg": 3}]}, {"subsets": 4}]'}))
        == {}
    )


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "(1e999, 512)", "NaN"])
def test_a_value_that_is_no_number_is_told_and_not_set(text: str) -> None:
    written = as_config({"ss_learning_rate": text, "ss_seed": "3"})
    assert "# learning_rate = " in written
    assert "not finite in the file" in written
    assert [*tomllib.loads(written).values()] == [{"seed": 3}, {}]
    assert 'output_name = "nan"' in as_config({"ss_output_name": "nan"})  # a name, and a fine one


def test_a_config_is_written_to_a_new_file_only(tmp_path: Path) -> None:
    assert save_config(GOLDEN, None) == as_config(GOLDEN)
    out = tmp_path / "train.toml"
    assert f"dataprep train DIR --config {out}" in save_config(GOLDEN, out)
    assert out.read_text("utf-8") == as_config(GOLDEN)
    out.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        save_config(GOLDEN, out)
    assert out.read_text() == "mine"


def test_the_command_writes_the_file_that_out_names_and_none_twice(tmp_path: Path) -> None:
    lora, out = tmp_path / "a.safetensors", tmp_path / "train.toml"
    save_file({"x": np.zeros(1, np.float32)}, lora, {"ss_network_dim": "8"})
    results = [CliRunner().invoke(app, ["inspect", str(lora), "--out", str(out)]) for _ in range(2)]
    assert [result.exit_code for result in results] == [0, 2]
    assert "network_dim = 8" in out.read_text("utf-8")
    assert "network_dim = 8" in CliRunner().invoke(app, ["inspect", str(lora), "--as-config"]).output


def flat(text: str) -> dict[str, object]:
    return {name: value for section in tomllib.loads(text).values() for name, value in section.items()}


@pytest.mark.parametrize(
    "metadata",
    [
        {"ss_v2": "True", "ss_base_model_version": "sd_v2_v"},
        {"modelspec.prediction_type": "v"},
        {"ss_v_parameterization": "True"},
    ],
)
def test_what_predicts_v_is_trained_on_v_again(metadata: dict[str, str], tmp_path: Path) -> None:
    from dataprep.training.settings import load_config

    text = as_config(GOLDEN | {"modelspec.prediction_type": "epsilon"} | metadata)
    assert flat(text)["v_parameterization"] is True
    (tmp_path / "train.toml").write_text(text, "utf-8")
    assert load_config(tmp_path / "train.toml")[0].target == "v"
    assert "v_parameterization" not in as_config(GOLDEN | {"modelspec.prediction_type": "epsilon"})


@pytest.mark.parametrize(
    "metadata",
    [
        {"ss_base_model_version": "sd_v2_v"},
        {"ss_base_model_version": "sd_v2", "ss_v2": "None"},
        {"modelspec.architecture": "stable-diffusion-v2-768-v/lora"},
    ],
)
def test_what_is_of_stable_diffusion_2_is_trained_as_such_without_ss_v2(metadata: dict[str, str]) -> None:
    golden = {name: text for name, text in GOLDEN.items() if name != "ss_v2"}
    assert flat(as_config(golden | metadata))["v2"] is True
    assert flat(as_config(golden | metadata | {"ss_v2": "False"}))["v2"] is False
    assert "v2" not in flat(as_config(golden))


def test_an_architecture_of_stable_diffusion_2_at_768_predicts_v() -> None:
    golden = {name: text for name, text in GOLDEN.items() if name != "modelspec.prediction_type"}
    told = {"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}
    assert flat(as_config(golden | told))["v_parameterization"] is True
    assert "v_parameterization" not in as_config(golden | told | {"modelspec.prediction_type": "epsilon"})
    assert "v_parameterization" not in as_config(
        golden | {"modelspec.architecture": "stable-diffusion-v2-512"}
    )


@pytest.mark.parametrize(
    ("key", "text"), [("network_dim", "Dynamic"), ("text_encoder_lr", "[]"), ("cache_latents", "maybe")]
)
def test_what_is_no_number_is_a_comment_that_says_why(key: str, text: str, tmp_path: Path) -> None:
    from dataprep.training.settings import load_config

    written = as_config(GOLDEN | {f"ss_{key}": text})
    assert key not in flat(written)
    assert f'# {key} = "{text}"  # no number, nor true or false' in written
    (tmp_path / "train.toml").write_text(written, "utf-8")
    load_config(tmp_path / "train.toml")
    assert "no number" not in as_config(GOLDEN)


def test_an_empty_list_of_rates_is_as_if_not_given(tmp_path: Path) -> None:
    from dataprep.training.settings import load_config

    (tmp_path / "train.toml").write_text("text_encoder_lr = []\nlearning_rate = 0.5\n", "utf-8")
    (tmp_path / "plain.toml").write_text("learning_rate = 0.5\n", "utf-8")
    assert load_config(tmp_path / "train.toml")[0] == load_config(tmp_path / "plain.toml")[0]


@pytest.mark.parametrize("metadata", [{}, {"ss_network_dim": "Dynamic", "ss_network_alpha": "None"}])
def test_a_file_without_metadata_is_told_by_its_tensors(tmp_path: Path, metadata: dict[str, str]) -> None:
    lora = tmp_path / "a.safetensors"
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {
        f"{module}.lora_down.weight": np.zeros((6, 1024), np.float32),
        f"{module}.lora_up.weight": np.zeros((320, 6), np.float32),
    }
    save_file(tensors | {f"{module}.alpha": np.array(3.0, np.float32)}, lora, metadata)
    written = CliRunner().invoke(app, ["inspect", str(lora), "--as-config"]).output
    assert flat(written) == {
        "network_module": "networks.lora",
        "network_dim": 6,
        "network_alpha": 3,
        "v2": True,
    }
    assert "network_dim = 6  # not in the metadata: told by the tensors" in written
    save_file(tensors, lora, metadata)
    written = CliRunner().invoke(app, ["inspect", str(lora), "--as-config"]).output
    assert flat(written)["network_alpha"] == 6  # a change that nothing scales
    save_file(tensors, lora, {"ss_network_dim": "8", "ss_v2": "False"})
    written = CliRunner().invoke(app, ["inspect", str(lora), "--as-config"]).output
    assert (flat(written)["network_dim"], flat(written)["v2"]) == (8, False)  # what was said stands


def test_no_setting_of_the_metadata_is_dropped_silently(tmp_path: Path) -> None:
    from dataprep.training.settings import load_config

    told = {
        "caption_dropout_every_n_epochs": 5, "noise_offset_random_strength": True,
        "ip_noise_gamma_random_strength": True, "huber_scale": 1.5, "resize_interpolation": "lanczos",
        "fp8_base": True, "fp8_base_unet": True, "validation_split": 0.1, "validation_seed": 7,
        "validate_every_n_epochs": 2, "validate_every_n_steps": 100, "max_validation_steps": 20,
        "timestep_sampling": "sigmoid", "discrete_flow_shift": 3.0,
    }  # fmt: skip
    metadata = GOLDEN | {f"ss_{name}": str(value) for name, value in told.items()}
    metadata |= {"ss_face_crop_aug_range": "(2.0, 4.0)", "ss_new_knob": "7\n[evil]\n", "ss_unset": "None"}
    text = as_config(metadata)
    config = flat(text)
    assert {name: config.get(name) for name in told} == told
    assert config["face_crop_aug_range"] == "2.0,4.0"
    assert "# ss_new_knob = " in text
    assert not {"ss_unset", "ss_session_id", "ss_tag_frequency"} & set(text.replace("#", " ").split())
    assert "evil" not in tomllib.loads(text)
    (tmp_path / "train.toml").write_text(text, "utf-8")
    _, notes = load_config(tmp_path / "train.toml")
    assert "validation_split" in str(notes)


def test_a_real_files_metadata_leaves_nothing_over() -> None:
    assert "Also in the metadata" not in as_config(GOLDEN)
