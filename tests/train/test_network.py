from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from dataprep.errors import ConfigError
from dataprep.inference.base import Base, config_folder, load_base
from dataprep.inference.sampling import added_conditions
from dataprep.lora.names import BLOCKS, block_of
from dataprep.lora.tensors import ADAPTER, kohya_tensors
from dataprep.train.config import TrainConfig
from dataprep.train.loop import train
from dataprep.train.network import (
    Network,
    inject,
    text_plan,
    unet_plan,
)

GOLDEN = Path(__file__).parent.parent / "golden"


def golden_keys(family: str) -> dict[str, dict[str, list[Any]]]:
    return json.loads(gzip.decompress((GOLDEN / f"lora_keys_{family}.json.gz").read_bytes()))


def real_size(family: str) -> dict[str, Any]:
    """U-Net and text encoders of a family at their real size, without memory behind them."""
    from tiny import diffusers, transformers

    folder = config_folder(family)
    kinds = {
        "text_encoder": transformers.CLIPTextModel,
        "text_encoder_2": transformers.CLIPTextModelWithProjection,
    }
    models = {}
    with torch.device("meta"):
        models["unet"] = diffusers.UNet2DConditionModel.from_config(
            json.loads((folder / "unet/config.json").read_text())
        )
        for i, (name, kind) in enumerate(kinds.items()):
            if (folder / name).is_dir():
                config = transformers.CLIPTextConfig(
                    **json.loads((folder / name / "config.json").read_text())
                )
                models[f"text_encoder_{i + 1}"] = kind(config)
    return models


@pytest.mark.parametrize("network", ["lora", "locon"])
@pytest.mark.parametrize(("folder", "family"), [("sd15", "sd1"), ("sdxl", "sdxl")])
def test_keys_shapes_and_alphas_are_those_of_sd_scripts(folder: str, family: str, network: str) -> None:
    conv = {"conv_rank": 4, "conv_alpha": 1.0} if network == "locon" else {}
    config = TrainConfig(network=network, rank=8, alpha=4, **conv)
    found = {}
    for part, model in real_size(folder).items():
        with torch.device("meta"):
            inject(model, unet_plan(model, config) if part == "unet" else text_plan(model, config), config)
        found |= dict(kohya_tensors(model, part, family))
    wanted = golden_keys(folder)[network]
    assert set(found) == set(wanted)
    assert {key: list(tensor.shape) for key, tensor in found.items()} == {
        key: shape for key, (shape, _) in wanted.items()
    }
    alphas = {key: float(tensor) for key, tensor in found.items() if key.endswith(".alpha")}
    assert alphas == {key: alpha for key, (_, alpha) in wanted.items() if alpha is not None}


def trained(base: Base, **settings: Any) -> Network:
    """A network whose change is random, not zero."""
    network = Network(base, TrainConfig(rank=4, alpha=3, **settings))
    draw = torch.Generator().manual_seed(0)
    for tensor in network.state().values():
        tensor.copy_(torch.randn(tensor.shape, generator=draw) * 0.2)
    return network


@torch.no_grad()
def answer(base: Base, unet: Any = None, encoders: Any = None) -> torch.Tensor:
    """What a U-Net says to one noisy latent and prompt."""
    ids = tuple(torch.tensor([[[49406, 320, 2368, *[49407] * 74]]]) for _ in base.text_encoders)
    told = Base.encode(base, ids) if encoders is None else base_with(base, encoders).encode(ids)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    extra = added_conditions(told, [(64, 64, 0, 0, 64, 64)], "cpu")
    return (unet or base.unet)(latents, 500, told.context, added_cond_kwargs=extra).sample


def base_with(base: Base, encoders: Any) -> Base:
    from dataclasses import replace

    return replace(base, text_encoders=tuple(encoders))


@pytest.mark.parametrize("network", ["lora", "locon"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_file_gives_the_trained_models_output_in_diffusers(
    family: str, network: str, base_path: Path, xl_path: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file
    from tiny import diffusers

    path = xl_path if family == "sdxl" else base_path
    base = load_base(path, "cpu", torch.float32)
    plain = answer(base)
    change = trained(base, network=network)
    wanted = answer(base)
    assert (wanted - plain).abs().max() > 0.01
    save_file(change.export(), tmp_path / "x.safetensors")

    fresh = load_base(path, "cpu", torch.float32)
    parts = {"vae": fresh.vae, "unet": fresh.unet, "scheduler": fresh.scheduler}
    parts |= {"text_encoder": fresh.text_encoders[0], "tokenizer": fresh.tokenizers[0]}
    if family == "sdxl":
        parts |= {"text_encoder_2": fresh.text_encoders[1], "tokenizer_2": fresh.tokenizers[1]}
        pipe = diffusers.StableDiffusionXLPipeline(**parts)
    else:
        pipe = diffusers.StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipe.load_lora_weights(str(tmp_path / "x.safetensors"))
    encoders = [pipe.text_encoder, *([pipe.text_encoder_2] if family == "sdxl" else [])]
    assert (answer(fresh, pipe.unet, encoders) - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("network", ["lora", "locon", "loha", "lokr", "dora"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_file_gives_the_trained_models_output_by_the_published_formula(
    family: str, network: str, base_path: Path, xl_path: Path, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from dataprep.inference.lora import applied

    path = xl_path if family == "sdxl" else base_path
    base = load_base(path, "cpu", torch.float32)
    plain = answer(base)
    change = trained(base, network=network)
    wanted = answer(base)
    assert (wanted - plain).abs().max() > 0.01
    save_file(change.export(), tmp_path / "x.safetensors")
    fresh = load_base(path, "cpu", torch.float32)
    with applied(tmp_path / "x.safetensors", fresh):
        assert (answer(fresh) - wanted).abs().max() < 1e-4
    assert torch.equal(answer(fresh), plain)


def test_a_new_network_changes_nothing(base_path: Path) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    plain = answer(base)
    for network in ("lora", "loha", "lokr"):
        fresh = load_base(base_path, "cpu", torch.float32)
        Network(fresh, TrainConfig(network=network))
        torch.testing.assert_close(answer(fresh), plain)


def test_blocks_take_their_own_rank_alpha_and_rate(base_path: Path) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    config = TrainConfig(
        rank=4,
        alpha=2,
        block_ranks={"MID": 2, "IN01": 0},
        block_alphas={"MID": 7.0},
        block_rates={"OUT03": 0.5, "OUT04": 0},
    )
    network = Network(base, config)
    middle = base.unet.mid_block.attentions[0].proj_in
    assert (middle.r[ADAPTER], middle.scaling[ADAPTER]) == (2, 3.5)
    keys = network.export()
    assert not any("down_blocks_0_attentions_0_" in key for key in keys)
    assert any("down_blocks_0_attentions_1_" in key for key in keys)
    assert not any("up_blocks_1_attentions_1_" in key for key in keys)
    rates = {(group["part"], group["lr"]) for group in network.groups()}
    assert rates == {("unet", 1e-4), ("unet", 5e-5), ("text_encoder_1", 5e-5)}


def test_block_names_follow_kohyas_order() -> None:
    unet = real_size("sd15")["unet"]
    seen = {
        block_of(name)
        for name, _ in unet.named_modules()
        if "attentions" in name and name.endswith("proj_in")
    }
    without = {"IN00", "IN03", "IN06", "IN09", "IN10", "IN11", "OUT00", "OUT01", "OUT02"}
    assert seen == set(BLOCKS) - without


def test_max_norm_bounds_the_change_and_leaves_small_ones_alone(base_path: Path) -> None:
    base = load_base(base_path, "cpu", torch.float32)
    network = trained(base, max_norm=0.5, network="locon")
    layer, before = base.unet.mid_block.resnets[0].conv1, {k: v.clone() for k, v in network.state().items()}
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    assert (layer.scaling[ADAPTER] * up.flatten(1) @ down.flatten(1)).norm() > 0.5
    network.constrain()
    norm = (layer.scaling[ADAPTER] * up.flatten(1) @ down.flatten(1)).detach().norm()
    assert float(norm) == pytest.approx(0.5, rel=1e-4)
    network.config = network.config.model_copy(update={"max_norm": 100.0})
    small = {k: v.clone() for k, v in network.state().items()}
    network.constrain()
    assert all(torch.equal(small[k], v) for k, v in network.state().items())
    assert any(not torch.equal(before[k], v) for k, v in small.items())


def fit(prepared: Path, *, resume: bool = False, **settings: Any) -> Path:
    shared = {"steps": 4, "checkpoint_every": 2, "samples": False, "save_precision": "fp32"}
    return train(prepared, TrainConfig(**(shared | settings)), resume=resume, device="cpu")


@pytest.mark.slow
def test_fine_tuning_saves_a_model_that_loads_and_resumes_to_the_bit(prepared: Path, base_path: Path) -> None:
    path = fit(prepared, method="full")
    tuned, base = load_base(path, "cpu", torch.float32), load_base(base_path, "cpu", torch.float32)
    weights = tuned.unet.state_dict()
    assert any(not torch.equal(weights[name], tensor) for name, tensor in base.unet.state_dict().items())
    assert torch.equal(tuned.vae.encoder.conv_in.weight, base.vae.encoder.conv_in.weight)
    (prepared / "model" / "checkpoints" / "step-00000004.pt").unlink()
    again = load_base(fit(prepared, method="full", resume=True), "cpu", torch.float32)
    assert all(torch.equal(weights[name], tensor) for name, tensor in again.unet.state_dict().items())


def test_textual_inversion_changes_the_trigger_words_rows_only(prepared: Path, base_path: Path) -> None:
    path = fit(
        prepared,
        method="embedding",
        embedding_tokens=3,
        text_encoder_rate=0.01,
        samples=True,
        sample_prompts=("sks girl --s 1",),
    )
    rows = load_file(path)
    base = load_base(base_path, "cpu", torch.float32)
    start = base.text_encoders[0].embeddings.token_embedding.weight[
        base.tokenizers[0]("girl")["input_ids"][1]
    ]
    assert set(rows) == {"emb_params"}
    assert rows["emb_params"].shape == (3, 32)
    assert 0 < (rows["emb_params"] - start).abs().max() < 0.1
    whole = rows["emb_params"]
    (prepared / "model" / "checkpoints" / "step-00000004.pt").unlink()
    settings = {"method": "embedding", "embedding_tokens": 3, "text_encoder_rate": 0.01}
    assert torch.equal(load_file(fit(prepared, resume=True, **settings))["emb_params"], whole)


def test_textual_inversion_needs_a_trigger(prepared: Path) -> None:
    table = pq.read_table(prepared / "manifest.parquet")
    meta = table.schema.metadata[b"dataprep"].replace(b'"sks"', b"null")
    pq.write_table(table.replace_schema_metadata({"dataprep": meta}), prepared / "manifest.parquet")
    with pytest.raises(ConfigError, match="learns the trigger word"):
        fit(prepared, method="embedding")
