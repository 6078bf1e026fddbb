from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest

from dataprep.errors import ModelError
from dataprep.export.kohya_reader import differences, read_folder
from dataprep.export.kohya_rules import Family
from dataprep.inference.torch_compat import prepare_torch
from dataprep.inference.vae import Vae
from dataprep.manifest import merge
from dataprep.models import Model
from dataprep.stage import Context
from dataprep.stages.export import Export
from dataprep.stages.latents import Latents, forget_lost
from dataprep.store import Results

Make = Callable[..., dict[str, Any]]
Tabulate = Callable[[list[dict[str, Any]]], pa.Table]


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vae(tmp_path_factory.mktemp("vae"), 4)


def save_vae(folder: Path, channels: int) -> Path:
    prepare_torch()
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(4, 4, 4, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=channels,
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def with_vae(context: Context, vae_folder: Path) -> Context:
    return replace(context, models={"vae": Model("vae", "tiny", vae_folder, "f" * 64)})


def load(context: Context, key: str) -> dict[str, Any]:
    with np.load(context.blobs.path(key, ".npz"), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_latents_equal_diffusers_own(
    with_vae: Context, vae_folder: Path, placed_row: Make, as_table: Tabulate
) -> None:
    import torch
    from diffusers import AutoencoderKL

    result = Latents().open(with_vae)(as_table([placed_row("a.png"), placed_row("b.png", (64, 128))]))
    arrays = load(with_vae, result["latents_key"][0].as_py())
    pixels = np.asarray(with_vae.image(placed_row("a.png")), np.float32) / 127.5 - 1
    vae = AutoencoderKL.from_pretrained(vae_folder)
    with torch.no_grad():
        expected = vae.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None]).latent_dist.mean[0].numpy()
    assert np.allclose(arrays["latents"], expected, atol=1e-5)
    assert np.array_equal(arrays["latents_8x16"], arrays["latents"])
    assert arrays["original_size"].tolist() == [128, 64]
    assert arrays["crop_ltrb"].tolist() == [0, 0, 128, 64]
    assert str(arrays["fingerprint"]) == result["latents_key"][0].as_py()


def test_latents_do_not_depend_on_the_batch(with_vae: Context, placed_row: Make, as_table: Tabulate) -> None:
    sizes = [(64, 64), (128, 64), (64, 64), (64, 128), (128, 64)]
    rows = [placed_row("a" * (i + 1) + ".png", size) for i, size in enumerate(sizes)]
    function = Latents().open(with_vae)
    keys = function(as_table(rows))["latents_key"].to_pylist()
    together = [load(with_vae, key)["latents"] for key in keys]
    for path in with_vae.blobs.folder.rglob("*.npz"):
        path.unlink()
    alone = [function(as_table([row]))["latents_key"][0].as_py() for row in rows]
    assert alone == keys
    for key, latents in zip(keys, together, strict=True):
        assert np.allclose(load(with_vae, key)["latents"], latents, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"pixels_key": "other"},
        {"box": {"left": 1, "top": 0, "right": 128, "bottom": 64}},
        {"bucket_width": 64},
        {"bucket_height": 128},
    ],
)
def test_another_view_has_other_latents(vae_folder: Path, placed_row: Make, change: dict[str, Any]) -> None:
    model = Model("vae", "tiny", vae_folder, "f" * 64)
    row = placed_row("a.png")
    assert Latents().latents_key(row, model, "fp32") != Latents().latents_key(row | change, model, "fp32")


def test_another_vae_or_number_format_has_other_latents(vae_folder: Path, placed_row: Make) -> None:
    row, model = placed_row("a.png"), Model("vae", "tiny", vae_folder, "f" * 64)
    keys = {
        Latents().latents_key(row, model, "fp32"),
        Latents().latents_key(row, replace(model, sha256="0" * 64), "fp32"),
        Latents().latents_key(row, model, "bf16"),
        Latents(family="sdxl").latents_key(row, model, "fp32"),
        Latents(flip=True).latents_key(row, model, "fp32"),
        Latents(alpha_mask=True).latents_key(row, model, "fp32"),
        Latents(posterior="sample").latents_key(row, model, "fp32"),
    }
    assert len(keys) == 7


def test_the_format_that_the_probe_chose_names_the_latents_and_holds_for_later_pictures(
    with_vae: Context, placed_row: Make, as_table: Tabulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataprep.inference.vae._WORTH_PROBING", 0)
    fast = {"torch.bfloat16": 0.1, "torch.float32": 1.0}

    def timed(self: Vae, model: Any, piece: np.ndarray) -> tuple[np.ndarray, float]:
        return np.ones(1), fast[str(model.dtype)]

    monkeypatch.setattr(Vae, "_timed", timed)
    model, row = with_vae.models["vae"], placed_row("a.png")
    (key,) = Latents().open(with_vae)(as_table([row]))["latents_key"].to_pylist()
    assert key == Latents().latents_key(row, model, "bf16")
    fast["torch.bfloat16"] = 9.0  # another machine, or a busy hour
    later = placed_row("bb.png")
    (key,) = Latents().open(with_vae)(as_table([later]))["latents_key"].to_pylist()
    assert key == Latents().latents_key(later, model, "bf16")
    (key,) = Latents(precision="fp32").open(with_vae)(as_table([row]))["latents_key"].to_pylist()
    assert key == Latents().latents_key(row, model, "fp32")


@pytest.mark.parametrize("harm", ["gone", "cut", "one bit"])
def test_results_whose_latents_are_lost_or_damaged_are_forgotten(
    with_vae: Context, placed_row: Make, as_table: Tabulate, tmp_path: Path, harm: str
) -> None:
    rows = as_table([placed_row("a.png"), placed_row("bb.png")])
    keys = Latents().open(with_vae)(rows)["latents_key"].to_pylist()
    store = Results(tmp_path / "store" / "key", pa.schema([("latents_key", pa.string())]))
    store.append(["1", "2"], pa.table({"latents_key": keys}))
    assert forget_lost(tmp_path / "store", with_vae.blobs) == 0
    blob = with_vae.blobs.path(keys[0], ".npz")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data if harm == "one bit" else data[:-9])
    if harm == "gone":
        blob.unlink()
    assert forget_lost(tmp_path / "store", with_vae.blobs) == 1
    assert not blob.exists()
    again = Results(tmp_path / "store" / "key", pa.schema([("latents_key", pa.string())]))
    assert again.index("1") is None
    assert again.index("2") is not None


def test_a_bucket_the_vae_cannot_take_marks_its_row(
    with_vae: Context, placed_row: Make, as_table: Tabulate
) -> None:
    result = Latents().open(with_vae)(as_table([placed_row("a.png", (60, 64)), placed_row("bb.png")]))
    assert result["error"][0].as_py().startswith("bucket-size")
    assert result["latents_key"][1].as_py() is not None


def test_a_vae_of_another_family_is_refused(with_vae: Context) -> None:
    with pytest.raises(ModelError, match="4 latent channels, family flux has 16"):
        Latents(family="flux").open(with_vae)


@pytest.mark.parametrize(
    ("family", "scaling", "said"),
    [
        (
            "sd1",
            0.3611,
            "is flux's .*family is sd1: name the family of your base model, models = '..., family=flux'",
        ),
        ("sd3", 0.3611, "family=flux'; or choose"),
        ("flux", 1.5305, "family=sd3'"),
        ("sdxl", 0.18215, "16 latent channels, family sdxl has 4: .* family=sd3 or flux"),
    ],
)
def test_a_vae_of_another_family_is_told_with_the_settings_to_change(
    context: Context, tmp_path: Path, family: Family, scaling: float, said: str
) -> None:
    folder = save_vae(tmp_path / "vae", 16)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"scaling_factor": scaling}))
    context = replace(context, models={"vae": Model("vae", "tiny", folder, "e" * 64)})
    with pytest.raises(ModelError, match=said):
        Latents(family=family).open(context)


@pytest.mark.parametrize(
    ("family", "scaling", "said"),
    [
        ("sd1", 0.13025, r"is sdxl's \(scaling_factor 0.13025\), latents.family is sd1.*family=sdxl"),
        ("sdxl", 0.18215, r"is sd1 or sd2's \(scaling_factor 0.18215\)"),
        ("sd2", 0.18215, ""),
        ("sdxl", 0.13025, ""),
        ("sdxl", 0.5, ""),  # of a model that somebody trained: no mark
        ("sdxl", None, ""),
    ],
)
def test_a_vae_of_as_many_channels_is_told_by_its_scaling_factor(
    context: Context, tmp_path: Path, family: Family, scaling: float | None, said: str
) -> None:
    folder = save_vae(tmp_path / "vae", 4)
    config = json.loads((folder / "config.json").read_text()) | {"scaling_factor": scaling}
    told = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(told))
    context = replace(context, models={"vae": Model("vae", "tiny", folder, "e" * 64)})
    with pytest.raises(ModelError, match=said) if said else nullcontext():
        Latents(family=family).open(context)


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_vae_alone_in_a_file_is_taken_at_its_word_and_that_is_said(
    is_folder: bool, vae_folder: Path, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = vae_folder.glob("*.safetensors")
    path = vae_folder if is_folder else file
    context = replace(context, models={"vae": Model("vae", "one", path, "e" * 64)})
    caplog.set_level(logging.INFO, "dataprep")
    Latents(family="sd1" if is_folder else "sdxl").open(context)
    assert ("it is taken for sdxl's, as the settings" in caplog.text) != is_folder


@pytest.mark.parametrize(("family", "scale", "shift"), [("sd3", 1.0, 0.0), ("flux", 0.3611, 0.1159)])
def test_sixteen_channels_are_kept_as_the_family_reads_them(
    context: Context,
    placed_row: Make,
    as_table: Tabulate,
    tmp_path: Path,
    family: Literal["sd3", "flux"],
    scale: float,
    shift: float,
) -> None:
    import torch
    from diffusers import AutoencoderKL

    folder = save_vae(tmp_path / "vae", 16)
    context = replace(context, models={"vae": Model("vae", "tiny", folder, "e" * 64)})
    row = placed_row("a.png", (96, 64))  # their buckets' sides are multiples of 32
    (key,) = Latents(family=family).open(context)(as_table([row]))["latents_key"].to_pylist()
    arrays = load(context, key)
    assert set(arrays) == {"latents_8x12", "original_size_8x12", "crop_ltrb_8x12", "fingerprint"}
    pixels = torch.from_numpy(np.asarray(context.image(row), np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = AutoencoderKL.from_pretrained(folder).encode(pixels).latent_dist.mean[0].numpy()
    assert np.allclose(arrays["latents_8x12"], (expected - shift) * scale, atol=1e-5)

    table = as_table([row | {"latents_key": key}])
    result = Export(trigger="sks", resolution=96, family=family).open(context)(table)
    assert result["latents_file"].to_pylist() == [f"img/2_sks girl/a_0096x0064_{family}.npz"]
    table = merge(table, result, "export")
    assert differences(read_folder(context.out), table) == []


def test_mirrored_latents_are_those_of_the_mirrored_picture(
    with_vae: Context, placed_row: Make, as_table: Tabulate
) -> None:
    from PIL import Image, ImageOps

    row = placed_row("a.png")
    flipped = load(with_vae, Latents(flip=True).open(with_vae)(as_table([row]))["latents_key"][0].as_py())
    with Image.open(with_vae.raw / "a.png") as image:
        ImageOps.mirror(image).save(with_vae.raw / "b.png")
    mirror = row | {"path": "b.png", "pixels_key": "mirrored"}
    plain = load(with_vae, Latents().open(with_vae)(as_table([mirror]))["latents_key"][0].as_py())
    assert np.allclose(flipped["latents_flipped"], plain["latents"], atol=1e-5)
    assert "latents_flipped_8x16" in flipped
    assert not np.allclose(flipped["latents_flipped"], flipped["latents"][:, :, ::-1], atol=1e-3)


def test_transparency_becomes_a_mask_of_the_cut_picture(
    with_vae: Context, placed_row: Make, as_table: Tabulate
) -> None:
    from PIL import Image

    box = {"left": 64, "top": 0, "right": 128, "bottom": 64}
    rows = [placed_row("a.png", box=box, bucket_width=64), placed_row("bb.png")]
    rgba = np.full((64, 128, 4), 255, np.uint8)
    rgba[:, 96:, 3] = 0
    Image.fromarray(rgba).save(with_vae.raw / "a.png")
    keys = Latents(alpha_mask=True).open(with_vae)(as_table(rows))["latents_key"].to_pylist()
    mask = load(with_vae, keys[0])["alpha_mask"]
    assert mask.shape == (64, 64)
    assert mask.dtype == np.float32
    assert (mask[:, :32] == 1).all()
    assert (mask[:, 32:] == 0).all()
    assert (load(with_vae, keys[1])["alpha_mask_8x16"] == 1).all()


def test_a_sample_of_the_posterior_is_the_same_every_time(
    with_vae: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = as_table([placed_row("a.png")])
    key = Latents(posterior="sample").open(with_vae)(table)["latents_key"][0].as_py()
    first = load(with_vae, key)["latents"]
    with_vae.blobs.path(key, ".npz").unlink()
    Latents(posterior="sample").open(with_vae)(table)
    assert np.array_equal(load(with_vae, key)["latents"], first)


def test_a_picture_that_overflows_marks_only_its_row(
    with_vae: Context, placed_row: Make, as_table: Tabulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataprep.inference.vae import Vae

    run = Vae._run

    def overflow(self: Vae, model: Any, pixels: np.ndarray) -> Any:
        mean, std = run(self, model, pixels)
        mean[0, 0, 0, 0] = np.inf
        return mean, std

    monkeypatch.setattr(Vae, "_run", overflow)
    result = Latents().open(with_vae)(as_table([placed_row("a.png"), placed_row("bb.png")]))
    assert result["error"][0].as_py().startswith("overflow:")
    assert result["latents_key"][1].as_py() is not None
