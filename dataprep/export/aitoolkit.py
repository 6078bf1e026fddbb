"""ai-toolkit: folders of picture and caption pairs, and a job file (YAML) that its `run.py` takes."""

from __future__ import annotations

import json
from pathlib import Path

from dataprep.export.kohya import bucket_steps
from dataprep.export.prepared import CLASS_IMAGES, IMAGES, Prepared, pairs, text
from dataprep.export.sync import Wanted

_MODELS = {
    "sd1": ("stable-diffusion-v1-5/stable-diffusion-v1-5", ""),
    "sd2": ("stabilityai/stable-diffusion-2-1", "        is_v2: true\n"),
    "sdxl": ("stabilityai/stable-diffusion-xl-base-1.0", "        is_xl: true\n"),
    "sd3": ("stabilityai/stable-diffusion-3.5-large", "        is_v3: true\n        quantize: true\n"),
    "flux": ("black-forest-labs/FLUX.1-dev", "        is_flux: true\n        quantize: true\n"),
}
_FLOW = ("sd3", "flux")  # trained by flow matching; their text encoders stay as they are
_STEPS = 2000


def files(prepared: Prepared, out: Path) -> tuple[list[Wanted], str]:
    """The files to write into `out`, and what to do with them."""
    wanted = [*pairs(prepared.pictures), text("job.yaml", _job(prepared, out))]
    return wanted, "ai-toolkit: python run.py job.yaml"


def _job(prepared: Prepared, out: Path) -> str:
    model, kind = _MODELS[prepared.family]
    flow = prepared.family in _FLOW
    weighting = "" if flow else "        min_snr_gamma: 5.0\n"
    datasets = [_dataset(prepared, out / IMAGES, prepared.repeats, False)]
    if prepared.reg:
        repeats = max(1, round(prepared.repeats * len(prepared.train) / len(prepared.reg)))
        datasets.append(_dataset(prepared, out / CLASS_IMAGES, repeats, True))
    return f"""# For ai-toolkit. The data set is ready; look at the training settings before use.
job: extension
config:
  name: {_quoted(prepared.name)}
  process:
    - type: sd_trainer
      training_folder: output
      device: cuda:0
      # The trigger word stands in the captions already.
      network:
        type: lora
        linear: 16
        linear_alpha: 8
      save:
        dtype: float16
        save_every: 250
        max_step_saves_to_keep: 4
      datasets:
{"".join(datasets)}      train:
        batch_size: 1
        steps: {_STEPS}
        gradient_checkpointing: true
        noise_scheduler: {"flowmatch" if flow else "ddpm"}
        optimizer: adamw
        lr: 1.0e-4
        train_unet: true
        train_text_encoder: {"false" if flow else "true"}
{weighting}        dtype: bf16
      model:
        name_or_path: {_quoted(model)}
{kind}"""


def _dataset(prepared: Prepared, folder: Path, repeats: int, is_reg: bool) -> str:
    step = bucket_steps([picture.size for picture in prepared.pictures], "sd1")
    return f"""        - folder_path: {_quoted(str(folder.resolve()))}
          caption_ext: txt
          resolution: [{prepared.resolution}]
          buckets: true
          bucket_tolerance: {step}
          num_repeats: {repeats}
          is_reg: {str(is_reg).lower()}
          keep_tokens: {0 if is_reg else 1}
          shuffle_tokens: false
          caption_dropout_rate: 0.0
          cache_latents_to_disk: true
"""


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a YAML string
