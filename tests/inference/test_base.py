from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path += [
    str(Path(__file__).parent),
    str(Path(__file__).parent.parent / "train"),
]  # for ldm.py and tiny.py

from dataprep.errors import ModelError
from dataprep.inference import base as module
from dataprep.inference.base import config_folder, detect_family, family_of, load_base, read_header

# As published: millions of weights of each part.
SIZES = {
    "sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd2": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    "sdxl": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
}
FOLDERS = {"sd1": "sd15", "sd2": "sd2", "sdxl": "sdxl"}


@pytest.mark.parametrize("name", SIZES)
def test_our_configurations_are_the_published_models(name: str) -> None:
    from tiny import diffusers, transformers

    folder = config_folder(name)
    sizes = {}
    with torch.device("meta"):
        for part in SIZES[name]:
            config = json.loads((folder / part / "config.json").read_text())
            kind = {"unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL}.get(part)
            if kind is None:
                kind = getattr(transformers, config["architectures"][0])
                model: Any = kind(transformers.CLIPTextConfig(**config))
            else:
                model = kind.from_config(config)
            sizes[part] = sum(parameter.numel() for parameter in model.parameters())
    assert sizes == SIZES[name]


def save_single_file(path: Path, family: str) -> dict[str, Any]:
    """One checkpoint of a tiny random model, and the parts it was made from."""
    import ldm
    from safetensors.torch import save_file
    from tiny import tiny_text_encoder, tiny_unet, tiny_vae

    parts = {"unet": tiny_unet(family), "vae": tiny_vae(), "text_encoder": tiny_text_encoder()}
    tensors = ldm.unet_tensors(parts["unet"]) | ldm.vae_tensors(parts["vae"])
    if family == "sd1":
        tensors |= ldm.clip_tensors(parts["text_encoder"], "cond_stage_model.transformer.")
    elif family == "sd2":
        tensors |= ldm.open_clip_tensors(parts["text_encoder"], "cond_stage_model.model.")
    else:
        parts["text_encoder_2"] = tiny_text_encoder(projected=True, seed=3)
        tensors |= ldm.clip_tensors(parts["text_encoder"], "conditioner.embedders.0.transformer.")
        tensors |= ldm.open_clip_tensors(parts["text_encoder_2"], "conditioner.embedders.1.model.")
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)
    return parts


def tiny_configs(folder: Path, family: str, parts: dict[str, Any]) -> Path:
    """Our configuration folder of a family, with tiny sizes in it."""
    for name, model in parts.items():
        (folder / name).mkdir(parents=True)
        text = json.dumps(dict(model.config)) if name in ("unet", "vae") else model.config.to_json_string()
        (folder / name / "config.json").write_text(text)
    for file in ("model_index.json", "scheduler/scheduler_config.json"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text((config_folder(FOLDERS[family]) / file).read_text())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", FOLDERS)
def test_one_file_loads_offline_to_the_same_weights(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    parts = save_single_file(path, family)
    configs = tiny_configs(tmp_path / "configs", family, parts)
    monkeypatch.setattr(module, "config_folder", lambda name: configs)
    base = load_base(path, "cpu", torch.float32)
    assert base.family == family
    assert base.prediction == ("v" if family == "sd2" else "eps")
    loaded = {"unet": base.unet, "vae": base.vae, "text_encoder": base.text_encoders[0]}
    if family == "sdxl":
        loaded["text_encoder_2"] = base.text_encoders[1]
    for name, model in loaded.items():
        state = parts[name].state_dict()
        assert set(model.state_dict()) == set(state)
        assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items()), name
    assert [tokenizer.pad_token_id for tokenizer in base.tokenizers] == {
        "sd1": [49407],
        "sd2": [0],
        "sdxl": [49407, 0],
    }[family]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_folder_without_tokenizers_loads(family: str, tmp_path: Path) -> None:
    from tiny import save_base

    base = load_base(save_base(tmp_path, family), "cpu", torch.float32)
    assert base.family == family
    assert len(base.text_encoders) == len(base.tokenizers) == (2 if family == "sdxl" else 1)
    assert not any(parameter.requires_grad for parameter in base.unet.parameters())
    half = load_base(tmp_path, "cpu", torch.float16)
    assert (half.unet.dtype, half.vae.dtype) == (torch.float16, torch.float32)


def test_prediction_is_read_from_the_folder(tmp_path: Path) -> None:
    from tiny import save_base

    assert load_base(save_base(tmp_path, prediction="v_prediction"), "cpu", torch.float32).prediction == "v"


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt"])
def test_pickles_are_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelError, match="can run any program"):
        load_base(tmp_path / name, "cpu", torch.float32)


def test_what_is_no_base_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such base model"):
        load_base(tmp_path / "nothing", "cpu", torch.float32)
    with pytest.raises(ModelError, match="no unet, vae, text_encoder, scheduler in it"):
        load_base(tmp_path, "cpu", torch.float32)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_base(broken, "cpu", torch.float32)
    broken.write_bytes(b"")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        read_header(broken)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"lora_unet_x.alpha"}, "a LoRA, not a base model"),
        ({"first_stage_model.x"}, "no U-Net"),
        ({"model.diffusion_model.x"}, "none of the text encoders"),
    ],
)
def test_other_checkpoints_are_named_for_what_they_are(names: set[str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        detect_family(Path("x.safetensors"), names)


def test_captions_of_several_passes_are_joined_between_one_bos_and_one_eos(tmp_path: Path) -> None:
    from tiny import save_base

    from dataprep.inference.tokens import token_ids

    base = load_base(save_base(tmp_path), "cpu", torch.float32)
    ids, _ = token_ids(base.tokenizers[0], "tag " * 80, 2)
    both = base.encode((torch.tensor([ids]),)).context
    apart = [base.encode((torch.tensor([[chunk]]),)).context for chunk in ids]
    assert both.shape == (1, 152, 32)
    torch.testing.assert_close(both[:, :76], apart[0][:, :76])
    torch.testing.assert_close(both[:, 76:], apart[1][:, 1:])


def test_clip_skip_takes_an_earlier_layer_and_normalises_it(tmp_path: Path) -> None:
    from tiny import save_base

    base = load_base(save_base(tmp_path), "cpu", torch.float32)
    ids = (torch.tensor([[[49406, 320, *[49407] * 75]]]),)
    encoder = base.text_encoders[0]
    hidden = encoder(ids[0][0], output_hidden_states=True).hidden_states
    torch.testing.assert_close(base.encode(ids, 2).context, encoder.final_layer_norm(hidden[-2]))
    torch.testing.assert_close(base.encode(ids, 1).context, base.encode(ids).context)
    assert not torch.allclose(base.encode(ids, 2).context, base.encode(ids).context)


def test_diffusion_transformers_are_refused_by_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "flux" / "transformer").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"FLUX, SD3 or their kin.*SD1, SD2 or SDXL"):
        load_base(tmp_path / "flux", "cpu", torch.float32)
    for name in ("double_blocks.0.img_attn.qkv.weight", "model.diffusion_model.joint_blocks.0.x.weight"):
        with pytest.raises(ModelError, match="FLUX, SD3"):
            detect_family(tmp_path / "x.safetensors", {name})


@pytest.mark.slow
@pytest.mark.parametrize(("stated", "prediction"), [("epsilon", "eps"), ("v", "v"), (None, "v")])
def test_an_sd2_file_predicts_what_its_metadata_says_or_v_as_an_assumption(
    stated: str | None, prediction: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "model.safetensors"
    configs = tiny_configs(tmp_path / "configs", "sd2", save_single_file(path, "sd2"))
    if stated is not None:
        save_file(load_file(path), path, {"modelspec.prediction_type": stated})
    monkeypatch.setattr(module, "config_folder", lambda name: configs)
    base = load_base(path, "cpu", torch.float32)
    assert (base.prediction, base.prediction_assumed) == (prediction, stated is None)


def test_half_a_copy_of_sdxl_is_no_sd1(tmp_path: Path, xl_path: Path) -> None:
    assert family_of(xl_path) == "sdxl"
    shutil.copytree(xl_path, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "text_encoder_2")
    with pytest.raises(ModelError, match="no text_encoder_2 in it"):
        load_base(tmp_path / "half", "cpu", torch.float32)
