"""Where each setting's meaning and default come from, as `dataprep explain train` says behind it.

"sd-scripts" is its file's option of that meaning, read at commit 48d368fa (`RENAMED` gives its name);
"measured" are runs of this trainer; "ours" is a choice of this program, with its reason.
"""

from __future__ import annotations

SD_SCRIPTS = "sd-scripts"
RANKS = "sd-scripts; practice: rank 4 to 128, alpha half of it"
BLOCKS_25 = "sd-scripts' block_dims and block_alphas: 12 IN, MID, 12 OUT"
OURS = "ours: "
RESUME = OURS + "every draw hangs on seed and step, so a resumed run is the same to the bit"
MANY_FILES = OURS + "what an unfinished run leaves and shows, without effect on what is learned"

SOURCES: dict[str, str] = {
    "base": SD_SCRIPTS + "; unset " + OURS + "the manifest knows it",
    "output_name": SD_SCRIPTS + "; unset " + OURS + "the trigger is what the file is asked for by",
    "rank": RANKS,
    "alpha": RANKS,
    "conv_rank": "sd-scripts' conv_dim; unset as LyCORIS",
    "conv_alpha": "sd-scripts' conv_alpha; unset as LyCORIS",
    "block_ranks": BLOCKS_25,
    "block_alphas": BLOCKS_25,
    "block_rates": "sd-scripts' down_lr_weight, mid_lr_weight and up_lr_weight",
    "dropout": "peft",
    "rank_dropout": "peft; LyCORIS",
    "module_dropout": "peft; LyCORIS",
    "max_norm": SD_SCRIPTS,
    "embedding_tokens": OURS + "one token holds little",
    "embedding_init": OURS + "the class is the nearest known word",
    "steps": SD_SCRIPTS,
    "epochs": SD_SCRIPTS,
    "batch_size": SD_SCRIPTS,
    "accumulation": SD_SCRIPTS,
    "train_unet": "sd-scripts' network_train_text_encoder_only, turned round",
    "train_text_encoder": "sd-scripts' network_train_unet_only, turned round",
    "text_encoder_until": "practice: its share for a character and for a style",
    "unet_rate": SD_SCRIPTS + "; default " + OURS + "what AdamW bears",
    "text_encoder_rate": SD_SCRIPTS + "; practice: lower than the U-Net's",
    "optimizer": "torch, pytorch_optimizer, bitsandbytes; choice as sd-scripts",
    "optimizer_args": SD_SCRIPTS,
    "schedule": "diffusers' get_scheduler, equal to 1e-7",
    "warmup": "diffusers; practice: a tenth",
    "cycles": "diffusers",
    "power": "diffusers",
    "max_grad_norm": SD_SCRIPTS,
    "target": "sd-scripts' v_parameterization; auto " + OURS + "the base model says it",
    "loss": SD_SCRIPTS,
    "huber_c": SD_SCRIPTS,
    "scale_v_like_noise": SD_SCRIPTS,
    "prior_loss_weight": SD_SCRIPTS,
    "noise_offset": SD_SCRIPTS + "; practice: 0.1",
    "multires_iterations": SD_SCRIPTS + "; practice: 6 to 10",
    "multires_discount": SD_SCRIPTS + "; practice: 0.8, in small sets 0.1 to 0.3",
    "min_timestep": SD_SCRIPTS,
    "max_timestep": SD_SCRIPTS,
    "masked": "sd-scripts' alpha_mask: not renormalised by the mask's area",
    "token_length": "sd-scripts' max_token_length, which leaves 75 out",
    "clip_skip": SD_SCRIPTS + "; practice: 1 photographs, 2 anime",
    "shuffle": SD_SCRIPTS,
    "keep_tokens": SD_SCRIPTS + "; default " + OURS + "the trigger comes first",
    "keep_tokens_separator": SD_SCRIPTS,
    "separator": SD_SCRIPTS,
    "secondary_separator": SD_SCRIPTS,
    "caption_dropout": SD_SCRIPTS,
    "caption_dropout_every": SD_SCRIPTS,
    "tag_dropout": SD_SCRIPTS,
    "wildcard": SD_SCRIPTS,
    "caption_prefix": SD_SCRIPTS,
    "caption_suffix": SD_SCRIPTS,
    "weighted": SD_SCRIPTS + ": hidden states times the weight, the mean not restored",
    "flip": SD_SCRIPTS,
    "size_condition": "diffusers' SDXL example; sd-scripts stores a letterbox's numbers, not the cut",
    "precision": SD_SCRIPTS,
    "save_precision": SD_SCRIPTS + "; default " + OURS + "half the size",
    "gradient_checkpointing": "measured: 46 to 47% more arithmetic",
    "compile": "diffusers' compile_repeated_blocks: 3 graphs for 6 buckets, measured",
    "channels_last": OURS + "measured on a CPU: no more than noise",
    "deterministic": RESUME,
    "seed": RESUME,
    "checkpoint_every": MANY_FILES,
    "keep_checkpoints": MANY_FILES,
    "save_every_epochs": SD_SCRIPTS,
    "save_every_steps": SD_SCRIPTS,
    "samples": MANY_FILES,
    "sample_prompts": SD_SCRIPTS,
    "sample_every_epochs": SD_SCRIPTS,
    "sample_every_steps": SD_SCRIPTS,
    "sampler": SD_SCRIPTS,
    "tensorboard": SD_SCRIPTS + "' log_with",
    "comment": SD_SCRIPTS,
}


def with_source(name: str, description: str) -> str:
    """A setting's description with its source behind it, if that is not in it already."""
    return f"{description} Source: {SOURCES[name]}" if name in SOURCES else description
