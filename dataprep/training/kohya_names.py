"""sd-scripts' names and values beside ours: the tables by which `kohya_args` reads its files."""

from __future__ import annotations

from typing import Any

# Settings that mean the same in both, under another name.
RENAMED = {
    "pretrained_model_name_or_path": "base",
    "network_dim": "rank",
    "network_alpha": "alpha",
    "scale_weight_norms": "max_norm",
    "max_train_steps": "steps",
    "max_train_epochs": "epochs",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "unet_lr": "unet_rate",
    "lr_scheduler": "schedule",
    "lr_warmup_steps": "warmup",
    "lr_scheduler_num_cycles": "cycles",
    "lr_scheduler_power": "power",
    "loss_type": "loss",
    "debiased_estimation_loss": "debiased",
    "scale_v_pred_loss_like_noise_pred": "scale_v_like_noise",
    "multires_noise_iterations": "multires_iterations",
    "multires_noise_discount": "multires_discount",
    "ip_noise_gamma": "input_perturbation",
    "masked_loss": "masked",
    "alpha_mask": "masked",
    "max_token_length": "token_length",
    "shuffle_caption": "shuffle",
    "caption_separator": "separator",
    "caption_dropout_rate": "caption_dropout",
    "caption_dropout_every_n_epochs": "caption_dropout_every",
    "caption_tag_dropout_rate": "tag_dropout",
    "enable_wildcard": "wildcard",
    "weighted_captions": "weighted",
    "flip_aug": "flip",
    "mixed_precision": "precision",
    "torch_compile": "compile",
    "save_every_n_epochs": "save_every_epochs",
    "save_every_n_steps": "save_every_steps",
    "sample_every_n_epochs": "sample_every_epochs",
    "sample_every_n_steps": "sample_every_steps",
    "sample_sampler": "sampler",
    "training_comment": "comment",
}

# Answered by the prepared folder: what its pictures, buckets, repeats and latents are was decided by `run`.
_FROM_FOLDER = """train_data_dir reg_data_dir dataset_config in_json resolution enable_bucket
min_bucket_reso max_bucket_reso bucket_reso_steps bucket_no_upscale caption_extension cache_latents
cache_latents_to_disk cache_info dataset_repeats skip_cache_check vae_batch_size resize_interpolation"""
FROM_FOLDER = frozenset(_FROM_FOLDER.split())
FROM_THE_FOLDER = "decided by the prepared folder"  # how the line begins that names these
# Answered by this program: the family is read from the model, kernels are chosen, output has one place.
_OURS = """sdxl logging_dir log_prefix xformers sdpa mem_eff_attn
max_data_loader_n_workers persistent_data_loader_workers lowram highvram no_half_vae
cache_text_encoder_outputs cache_text_encoder_outputs_to_disk console_log_level prior_preservation
num_cpu_threads_per_process"""
OURS = frozenset(_OURS.split())

# Not here, and said so where the value asks for anything: each with the value that asks for nothing.
_NOT_HERE = """noise_offset_random_strength adaptive_noise_scale ip_noise_gamma_random_strength
v_pred_like_loss token_warmup_step"""
NOT_HERE = dict.fromkeys(_NOT_HERE.split(), 0) | {"huber_scale": 1, "token_warmup_min": 1}

# Where sd-scripts' file is silent, what it takes for granted and this program does not, in our names.
SILENT: dict[str, Any] = {
    "rank": 4,
    "alpha": 1.0,
    "batch_size": 1,
    "unet_rate": 2e-6,
    "text_encoder_rate": 2e-6,
    "schedule": "constant",
    "keep_tokens": 0,
    "save_precision": "fp32",
}
SILENT_STEPS = 1600  # where it gives neither steps nor epochs

# Further settings of it and its graphical front end that are nearly spelled as a known one: no typing errors,
# and not honoured here.
_ALIKE = """noise_offset_type lr_scheduler_type lr_scheduler_args text_encoder_batch_size
validate_every_n_epochs validate_every_n_steps caption_extention conv_block_alphas
learning_rate_te learning_rate_te1 learning_rate_te2 learning_rate_unet lr_warmup
max_resolution rank_dropout_scale sdxl_cache_text_encoder_outputs sdxl_no_half_vae"""
ALIKE = frozenset(_ALIKE.split())

# There 0 and "" mean "not used"; here that is leaving it out.
_OFF = """min_snr_gamma scale_weight_norms clip_skip max_token_length max_train_epochs max_train_steps
save_every_n_epochs save_every_n_steps sample_every_n_epochs sample_every_n_steps multires_noise_discount
caption_prefix caption_suffix secondary_separator"""
OFF = frozenset(_OFF.split())

PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
OPTIMIZERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "adafactor": "adafactor",
    "lion": "lion",
    "sgdnesterov": "sgd",
    "prodigy": "prodigy",
    "dadaptation": "dadaptadam",
    "dadaptadam": "dadaptadam",
}
# Kin that is trained with instead, and said.
NEAREST = {
    "pagedadamw": "adamw",
    "pagedadamw32bit": "adamw",
    "pagedadamw8bit": "adamw8bit",
    "lion8bit": "lion",
    "pagedlion8bit": "lion",
    "sgdnesterov8bit": "sgd",
    "dadaptadampreprint": "dadaptadam",
    "dadaptadan": "dadaptadam",
    "dadaptlion": "dadaptadam",
    "dadaptsgd": "dadaptadam",
    "dadaptadagrad": "dadaptadam",
}
# Arguments of the packages that sd-scripts takes its optimizers from, and their names in ours.
ARGUMENTS: dict[str, dict[str, str]] = {
    "prodigy": {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"},
    "dadaptadam": {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"},
    "adafactor": {"clip_threshold": "d", "decay_rate": "beta2_decay"},
}
# Adafactor's switches there, off as everybody sets them for a LoRA: so it always is here.
ADAFACTOR_OFF = ("scale_parameter", "relative_step", "warmup_init")
# LyCORIS' names of the networks; its plain one has no name of its own for leaving convolutions out.
ALGORITHMS = {"lora": "locon", "locon": "locon", "loha": "loha", "lokr": "lokr"}
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
SAMPLERS = {
    "ddim": "ddim",
    "euler": "euler",
    "k_euler": "euler",
    "euler_a": "euler_a",
    "k_euler_a": "euler_a",
    "dpmsolver++": "dpm++_2m",
}
