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
NOT_HERE = dict.fromkeys(_NOT_HERE.split(), 0) | {
    "huber_scale": 1,
    "noise_offset_type": "Original",
    "token_warmup_min": 1,
    "dynamo_backend": "no",
    "zero_stage": 2,
}

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

# All else that its scripts (at 48d368fa) and its graphical front end write: passed over, and named where it
# asks for something. A name in none of these tables is no setting, and stops.
_PASSED_OVER = """ae apply_lg_attn_mask apply_t5_attn_mask async_upload attn_mode base_weights
base_weights_multiplier block_lr blocks_to_swap byt5 caption_extention clip_g clip_g_dropout_rate clip_l
clip_l_dropout_rate color_aug compile_backend compile_cache_size_limit compile_dynamic compile_fullgraph
compile_mode cond_emb_dim conditioning_data_dir config_file console_log_file console_log_simple
controlnet_model_name_or_path conv_block_alphas cpu_offload_checkpointing dataset_class
ddp_gradient_as_bucket_view ddp_static_graph ddp_timeout debug_dataset deepspeed diffusers_xformers
dim_from_weights disable_mmap_load_safetensors discrete_flow_shift double_blocks_to_swap
enable_scaled_pos_embed epoch face_crop_aug_range fp16_master_weights_and_gradients fp8_base
fp8_base_unet fp8_scaled fp8_vl full_bf16 full_fp16 fused_backward_pass fused_optimizer_groups gemma2
gemma2_max_token_length guidance_scale huggingface_path_in_repo huggingface_repo_id huggingface_repo_type
huggingface_repo_visibility huggingface_token init_word initial_epoch initial_step learning_rate_te
learning_rate_te1 learning_rate_te2 learning_rate_unet llm_adapter_path log_config log_tracker_config
log_tracker_name logit_mean logit_std lr_decay_steps lr_scheduler_args lr_scheduler_min_lr_ratio
lr_scheduler_timescale lr_scheduler_type lr_warmup max_resolution max_validation_steps mem_eff_save
metadata_author metadata_description metadata_is_negative_embedding metadata_license metadata_merged_from
metadata_preprocessor metadata_tags metadata_thumbnail metadata_title metadata_trigger_phrase
metadata_usage_hint mode_scale model_prediction_type model_type network_weights no_metadata
no_token_padding num_vectors_per_token offload_optimizer_device
offload_optimizer_nvme_path offload_param_device offload_param_nvme_path output_config
pos_emb_random_crop_rate qwen3 qwen3_max_token_length qwen_image_vae_2d random_crop rank_dropout_scale
resume resume_from_huggingface sample_at_first sample_batch_size save_clip save_last_n_epochs
save_last_n_epochs_state save_last_n_steps save_last_n_steps_state save_n_epoch_ratio save_state
save_state_on_train_end save_state_to_huggingface save_t5xxl sdxl_cache_text_encoder_outputs
sdxl_no_half_vae show_timesteps show_timesteps_resolution sigmoid_scale single_blocks_to_swap
skip_until_initial_step split_attn split_mode stop_text_encoder_training system_prompt t5_dropout_rate
t5_max_token_length t5_tokenizer_path t5xxl t5xxl_device t5xxl_dtype t5xxl_max_token_length text_encoder
text_encoder_batch_size text_encoder_cpu timestep_sampling token_string tokenizer_cache_dir
train_inpainting training_shift unsloth_offload_checkpointing use_flash_attn use_object_template
use_safetensors use_sage_attn use_style_template vae vae_chunk_size vae_disable_cache
validate_every_n_epochs validate_every_n_steps validation_seed validation_split wandb_api_key
wandb_run_name weighting_scheme weights zero3_init_flag zero3_save_16bit_model"""
PASSED_OVER = frozenset(_PASSED_OVER.split())

# There 0 means "not given" in a file; here that is leaving it out. A flag that says so is out of range.
_OFF = "max_token_length max_train_epochs max_train_steps multires_noise_discount"
OFF = frozenset(_OFF.split())

PRECISIONS = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
OPTIMIZERS = {
    "": "adamw",
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "adafactor": "adafactor",
    "lion": "lion",
    "sgdnesterov": "sgd",
    "prodigy": "prodigy",
    "dadaptation": "dadaptadam",
    "dadaptadam": "dadaptadam",
}
# Pairs of which at most one may ask for something; its own scripts refuse most of these too.
EITHER = (
    ("network_train_unet_only", "network_train_text_encoder_only"),
    ("use_8bit_adam", "use_lion_optimizer"),
    ("use_8bit_adam", "optimizer_type"),
    ("use_lion_optimizer", "optimizer_type"),
    ("v_parameterization", "v_pred_like_loss"),
)
SELF_TUNING = ("prodigy", "dadaptadam")  # these estimate the rate: they take a multiplier near 1 instead
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
# Of these they have no counterpart here, and change nothing that is trained.
IDLE_ARGUMENTS = frozenset({"log_every", "block_wise", "is_paged", "min_8bit_size", "percentile_clipping"})
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
