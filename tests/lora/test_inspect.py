from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from dataprep.errors import InputError
from dataprep.lora.inspect import compare, describe, inspect_file

with gzip.open(Path(__file__).parent.parent / "golden" / "lora_metadata.json.gz") as file:
    GOLDEN = json.load(file)["metadata"]  # of a LoRA that sd-scripts 48d368fa trained for two steps
# As sd-scripts writes it with --dataset_config, shortened
DATASETS = json.dumps(
    [
        {
            "batch_size_per_device": 3, "resolution": [192, 192], "enable_bucket": True,
            "min_bucket_reso": 64, "max_bucket_reso": 384,
            "bucket_info": {"buckets": {"0": {"resolution": [128, 256], "count": 11}}},
            "subsets": [
                {"img_count": 8, "num_repeats": 3, "shuffle_caption": True, "keep_tokens": 1},
                {"img_count": 5, "num_repeats": 1, "keep_tokens": 0, "is_reg": True},
            ],
        }
    ]
)  # fmt: skip
UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def lora(rank: int = 8, alpha: float = 4.0, width: int = 768) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for module, size in ((UNET, width), (TEXT, 768)):
        tensors[f"{module}.lora_down.weight"] = np.zeros((rank, size), np.float16)
        tensors[f"{module}.lora_up.weight"] = np.zeros((320, rank), np.float16)
        tensors[f"{module}.alpha"] = np.array(alpha, np.float16)
    return tensors


def test_a_published_lora_is_told_in_words(tmp_path: Path) -> None:
    save_file(lora(), tmp_path / "a.safetensors", GOLDEN)
    report = inspect_file(tmp_path / "a.safetensors")
    assert report.content.kind == "LoRA"
    assert report.content.family == "Stable Diffusion 1.x"
    assert (dict(report.content.ranks), dict(report.alphas)) == ({8: 2}, {4.0: 2})
    assert report.tags["sks dog"] == 8
    assert report.folders == {"3_sks dog": (8, 3), "1_dog": (5, 1)}
    assert report.buckets == {"192x192": 26, "128x256": 11, "256x128": 11}
    text = describe(report)
    for part in (
        "rank          8",
        "alpha         4",
        "1 in the U-Net, 1 in the text encoder",
        "min_snr_gamma",
        "####",
    ):
        assert part in text
    assert report.problems == ()
    json.dumps(report.as_dict())


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (
            {"m.lora_down.weight": (4, 8, 3, 3), "m.lora_up.weight": (8, 4, 1, 1)},
            "LoCon (LoRA with convolutions)",
        ),
        ({"m.hada_w1_a": (8, 4), "m.hada_w1_b": (4, 8)}, "LoHa"),
        ({"m.lokr_w1": (2, 2), "m.lokr_w2_a": (4, 4), "m.lokr_w2_b": (4, 4)}, "LoKr"),
        ({"m.lora_down.weight": (4, 8), "m.lora_up.weight": (8, 4), "m.dora_scale": (8, 1)}, "DoRA"),
        ({"unet.a.lora_A.weight": (4, 8), "unet.a.lora_B.weight": (8, 4)}, "LoRA (peft names)"),
        ({"first_stage_model.decoder.conv_in.weight": (2, 2)}, "VAE"),
        ({"model.diffusion_model.x": (1,), "cond_stage_model.transformer.y": (1,)}, "checkpoint"),
        ({"emb_params": (2, 768)}, "textual inversion"),
        ({"something": (1,)}, "unknown"),
    ],
)
def test_the_kind_of_file_is_told_by_its_keys(
    tmp_path: Path, names: dict[str, tuple[int, ...]], kind: str
) -> None:
    save_file(
        {name: np.zeros(shape, np.float16) for name, shape in names.items()}, tmp_path / "a.safetensors"
    )
    assert inspect_file(tmp_path / "a.safetensors").content.kind == kind


@pytest.mark.parametrize(
    ("width", "family"), [(768, "Stable Diffusion 1.x"), (1024, "Stable Diffusion 2.x"), (2048, "SDXL")]
)
def test_the_family_is_told_by_what_cross_attention_reads(tmp_path: Path, width: int, family: str) -> None:
    save_file(lora(width=width), tmp_path / "a.safetensors")
    assert inspect_file(tmp_path / "a.safetensors").content.family == family


def test_metadata_that_contradicts_the_tensors_is_told(tmp_path: Path) -> None:
    save_file(lora(width=2048), tmp_path / "a.safetensors", GOLDEN)
    assert "says Stable Diffusion 1.x" in inspect_file(tmp_path / "a.safetensors").problems[0]


def test_broken_nested_metadata_is_told_not_fatal(tmp_path: Path) -> None:
    metadata = {"ss_tag_frequency": "{", "ss_bucket_info": '{"buckets": 3}', "ss_dataset_dirs": '{"a": [1]}'}
    metadata |= {"ss_datasets": '[{"bucket_info": {"buckets": {"0": {"resolution": [1, 2], "count": "x"}}}}]'}
    save_file(lora(), tmp_path / "a.safetensors", metadata)
    report = inspect_file(tmp_path / "a.safetensors")
    assert report.problems == ("ss_tag_frequency is not valid JSON",)
    assert report.buckets == {"1x2": 0}
    describe(report)


@pytest.mark.parametrize("text", ["3", "1.5", "true", '"text"', '{"a": 1}', "[[1]]"])
def test_data_sets_that_are_no_list_are_left_out(tmp_path: Path, text: str) -> None:
    save_file(lora(), tmp_path / "a.safetensors", {"ss_datasets": text, "ss_network_dim": "4"})
    report = inspect_file(tmp_path / "a.safetensors")
    assert report.buckets == {}
    describe(report)


def test_bfloat16_alphas_are_read(tmp_path: Path) -> None:
    text = json.dumps({"m.alpha": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}}).encode()
    bf16 = struct.pack("<f", 16.0)[2:]
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bf16)
    assert inspect_file(tmp_path / "a.safetensors").alphas == {16.0: 1}


def test_hashes_are_those_of_the_web_ui(tmp_path: Path) -> None:
    tensors = {"x.alpha": np.array(1, np.float32), "y": np.random.default_rng(0).random((1024, 512))}
    trained = {"ss_seed": "42 ü\n"}
    bare = save(tensors, trained)  # what was hashed: the file with its ss_ entries only
    length = struct.unpack("<Q", bare[:8])[0]
    full = trained | {
        "sshs_model_hash": hashlib.sha256(bare[8 + length :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(bare[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8],
        "modelspec.title": "a title that makes the header longer",
    }
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, full)
    assert set(inspect_file(path, check_hashes=True).hashes.values()) == {"matches"}
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    changed = tmp_path / "b.safetensors"
    changed.write_bytes(data)
    assert "does not match" in inspect_file(changed, check_hashes=True).hashes["sshs_model_hash"]
    both = compare(inspect_file(path, check_hashes=True), inspect_file(changed, check_hashes=True))
    assert "sshs_model_hash checked      matches " in both
    assert "--hashes" in describe(inspect_file(path))


def test_two_files_are_compared_side_by_side(tmp_path: Path) -> None:
    save_file(lora(8), tmp_path / "a.safetensors", GOLDEN)
    save_file(lora(16), tmp_path / "b.safetensors", GOLDEN | {"ss_seed": "7"})
    text = compare(inspect_file(tmp_path / "a.safetensors"), inspect_file(tmp_path / "b.safetensors"))
    lines = [line.split() for line in text.splitlines()]
    assert ["rank", "8", "16"] in lines
    assert ["ss_seed", "42", "7"] in lines
    save_file(lora(width=2048), tmp_path / "c.safetensors", GOLDEN)
    text = compare(inspect_file(tmp_path / "a.safetensors"), inspect_file(tmp_path / "c.safetensors"))
    assert "problems                     -  " in text
    assert "its metadata says" in text
    assert not any("ss_optimizer" in line for line in lines)


def test_metadata_cannot_steer_the_terminal(tmp_path: Path) -> None:
    save_file(lora(), tmp_path / "a.safetensors", {"ss_output_name": "\x1b[2J", "\x1b]0;x\x07": "y"})
    assert "\x1b" not in describe(inspect_file(tmp_path / "a.safetensors"))


def test_half_characters_and_absurd_counts_can_be_printed(tmp_path: Path) -> None:
    nested = json.dumps({"a": {"\ud800": 3, "b": -5, "c": 10**400}})
    text = json.dumps({"__metadata__": {"ss_output_name": "\ud800x", "ss_tag_frequency": nested}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    report = inspect_file(path)
    assert report.tags == {"\ufffd": 3, "b": 0, "c": 0}
    for shown in (
        describe(report),
        json.dumps(report.as_dict(), ensure_ascii=False),
        compare(report, report),
    ):
        shown.encode("utf-8")


def test_a_thousand_problems_are_counted_not_listed(tmp_path: Path) -> None:
    tensors = {f"t{i}": {"dtype": "X", "shape": [0], "data_offsets": [0, 0]} for i in range(1000)}
    text = json.dumps(tensors).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    problems = inspect_file(tmp_path / "a.safetensors").problems
    assert (len(problems), problems[-1]) == (21, "and 980 more of this kind")


def test_the_family_is_taken_from_the_metadata_where_the_tensors_do_not_tell(tmp_path: Path) -> None:
    save_file(lora(width=48), tmp_path / "a.safetensors", GOLDEN)
    report = inspect_file(tmp_path / "a.safetensors")
    assert "LoRA for Stable Diffusion 1.x (by its metadata" in describe(report)
    assert report.as_dict()["family"] == "Stable Diffusion 1.x"


def test_settings_of_a_dataset_config_are_told_too(tmp_path: Path) -> None:
    save_file(lora(), tmp_path / "a.safetensors", {"ss_datasets": DATASETS})
    text = describe(inspect_file(tmp_path / "a.safetensors"))
    assert "resolution                   [192, 192]" in text
    assert "keep_tokens" in text


@pytest.mark.slow
def test_megabytes_of_metadata_are_told_in_a_page(tmp_path: Path) -> None:
    many = {f"key{i}": "x" * 50 for i in range(50_000)} | {"ss_tag_frequency": "[" * 21_000_000}
    save_file(lora(), tmp_path / "a.safetensors", many)
    save_file(lora(), tmp_path / "b.safetensors", {})
    one, other = (inspect_file(tmp_path / f"{name}.safetensors") for name in "ab")
    assert one.problems == ("ss_tag_frequency has 21 MB of JSON, and is not read",)
    assert "  and 49800 more" in describe(one)
    assert len(describe(one)) < 30_000
    assert len(compare(one, other)) < 30_000


def test_a_fine_tuned_folder_says_which_files_to_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a folder; name one of its files.*training\.json"):
        inspect_file(tmp_path)
