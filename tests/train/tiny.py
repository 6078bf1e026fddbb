"""Random models of Stable Diffusion's structure at tiny size, and a prepared folder to train them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dataprep.inference.torch_compat import prepare_torch

prepare_torch()

import diffusers  # noqa: E402
import transformers  # noqa: E402

BOX = pa.struct([(side, pa.int32()) for side in ("left", "top", "right", "bottom")])
WIDTH, WIDTH_2 = 32, 48  # of the text encoders; diffusers tells SDXL's two apart by their widths


def tiny_unet(family: str, seed: int = 0) -> Any:
    """A U-Net of two blocks, 2 layers each, 32 and 64 channels."""
    torch.manual_seed(seed)
    xl = family == "sdxl"
    extra = (
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 96,
            "transformer_layers_per_block": (1, 2),
        }
        if xl
        else {}
    )
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=2,
        norm_num_groups=8,
        attention_head_dim=8,
        cross_attention_dim=WIDTH + WIDTH_2 if xl else WIDTH,
        use_linear_projection=xl,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D")
        if xl
        else ("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D") if xl else ("UpBlock2D", "CrossAttnUpBlock2D"),
        **extra,
    )


def tiny_text_encoder(*, projected: bool = False, seed: int = 1) -> Any:
    """A CLIP text encoder of 2 layers with CLIP's whole vocabulary."""
    torch.manual_seed(seed)
    width = WIDTH_2 if projected else WIDTH
    config = transformers.CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=49407,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config)


def tiny_vae(seed: int = 2) -> Any:
    """A VAE of stride 8 and 4 latent channels."""
    torch.manual_seed(seed)
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.5,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
    )


def save_base(path: Path, family: str = "sd1", prediction: str = "epsilon") -> Path:
    """A diffusers folder without tokenizer files, as the miniature is."""
    tiny_unet(family).save_pretrained(path / "unet")
    tiny_vae().save_pretrained(path / "vae")
    tiny_text_encoder().save_pretrained(path / "text_encoder")
    if family == "sdxl":
        tiny_text_encoder(projected=True, seed=3).save_pretrained(path / "text_encoder_2")
    scheduler = diffusers.DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
    )
    scheduler.save_pretrained(path / "scheduler")
    return path


IMAGES = [  # role, folder, repeats, bucket, caption
    *[("train", "2_sks girl", 2, (64, 64), f"sks girl, tag{i}, red hair") for i in range(3)],
    *[("train", "2_sks girl", 2, (64, 128), f"sks girl, tag{i}, outdoors") for i in range(3, 5)],
    *[("reg", "1_girl", 1, (64, 64), "girl") for _ in range(2)],
    ("reg", "1_girl", 1, (64, 128), "girl"),
]


def prepare_folder(root: Path, base: Path, *, flip: bool = True, mask: bool = False) -> Path:
    """A prepared folder of 5 images and 3 regularization images, with random latents."""
    draw = np.random.default_rng(0)
    rows = []
    for i, (role, folder, repeats, bucket, caption) in enumerate(IMAGES):
        stem = f"{'reg' if role == 'reg' else 'img'}/{folder}/{i:03d}"
        (root / stem).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{stem}.txt").write_text(caption + "\n", "utf-8")
        shape = (4, bucket[1] // 8, bucket[0] // 8)
        arrays: dict[str, Any] = {
            "latents": draw.normal(size=shape).astype(np.float32),
            "original_size": np.array(bucket, np.int64),
            "crop_ltrb": np.array([0, 0, *bucket], np.float64),
            "fingerprint": np.array(f"key{i}"),
        }
        if flip:
            arrays["latents_flipped"] = arrays["latents"][:, :, ::-1].copy()
        if mask:
            arrays["alpha_mask"] = np.ones((bucket[1], bucket[0]), np.float32)
        latents_file = f"{stem}_{bucket[0]:04d}x{bucket[1]:04d}_sd.npz"
        np.savez(root / latents_file, **arrays)
        rows.append(
            {
                "id": f"id{i}",
                "sha256": f"{i:064x}",
                "role": role,
                "state": "active",
                "caption": caption,
                "repeats": repeats,
                "folder": folder,
                "bucket_width": bucket[0],
                "bucket_height": bucket[1],
                "box": {"left": 10, "top": 0, "right": 10 + 2 * bucket[0], "bottom": 2 * bucket[1]},
                "width": 2 * bucket[0] + 30,
                "height": 2 * bucket[1],
                "image_file": f"{stem}.png",
                "caption_file": f"{stem}.txt",
                "latents_file": latents_file,
                "latents_key": f"key{i}",
            }
        )
    rows.append(rows[0] | {"id": "dropped", "state": "dropped", "latents_file": None})
    types = {
        "repeats": pa.int32(),
        "bucket_width": pa.int32(),
        "bucket_height": pa.int32(),
        "width": pa.int32(),
        "height": pa.int32(),
        "box": BOX,
    }
    schema = pa.schema([(name, types.get(name, pa.string())) for name in rows[0]])
    meta = {
        "version": "0",
        "trigger": "sks",
        "class_word": "girl",
        "settings": {},
        "models": {"base": {"name": "tiny", "path": str(base), "sha256": "0" * 64}},
    }
    table = pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata({"dataprep": json.dumps(meta)})
    pq.write_table(table, root / "manifest.parquet")
    return root
