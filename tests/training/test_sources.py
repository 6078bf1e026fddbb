from __future__ import annotations

from dataprep.explain import explain_text
from dataprep.train.config import TrainConfig
from dataprep.training.kohya_names import RENAMED
from dataprep.training.sources import SOURCES


def test_every_setting_has_a_source_and_no_other_has() -> None:
    papers = {name for name, field in TrainConfig.model_fields.items() if "arXiv:" in str(field.description)}
    assert set(TrainConfig.model_fields) == set(SOURCES) | papers
    rows = [line for line in explain_text("train").splitlines() if line.startswith("| `")]
    assert len(rows) == len(TrainConfig.model_fields)
    assert all("Source: " in row or "arXiv:" in row for row in rows)


def test_a_choice_of_our_own_says_why() -> None:
    assert all(len(source.split("ours: ")[1]) > 10 for source in SOURCES.values() if "ours" in source)


def test_what_is_said_to_be_of_sd_scripts_has_a_name_there() -> None:
    same = [
        "output_name",
        "max_grad_norm",
        "huber_c",
        "prior_loss_weight",
        "noise_offset",
        "min_timestep",
        "max_timestep",
        "clip_skip",
        "keep_tokens",
        "keep_tokens_separator",
        "secondary_separator",
        "caption_prefix",
        "caption_suffix",
        "optimizer_args",
        "seed",
        "save_precision",
        "gradient_checkpointing",
        "sample_prompts",
    ]
    plain = {name for name, source in SOURCES.items() if source == "sd-scripts"}
    assert plain <= set(RENAMED.values()) | set(same)
