"""SimpleTuner: folders of picture and caption pairs, and multidatabackend.json, for its data loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataprep.export.names import safe_name
from dataprep.export.prepared import CLASS_IMAGES, IMAGES, Prepared, pairs, text
from dataprep.export.sync import Wanted


def files(prepared: Prepared, out: Path) -> tuple[list[Wanted], str]:
    """The files to write into `out`, and what to do with them."""
    name = safe_name(prepared.name, ascii_only=True).replace(" ", "-")
    backends = [_backend(prepared, out, name, IMAGES, prepared.repeats)]
    if prepared.reg:
        repeats = max(1, round(prepared.repeats * len(prepared.train) / len(prepared.reg)))
        # Not is_regularisation_data: that is another method, for LyCORIS only. Class pictures are plain data.
        backends.append(_backend(prepared, out, f"{name}-class", CLASS_IMAGES, repeats))
    backends.append(
        {
            "id": f"{name}-text",
            "type": "local",
            "dataset_type": "text_embeds",
            "default": True,
            "cache_dir": str((out / "cache" / "text").resolve()),
        }
    )
    wanted = [*pairs(prepared.pictures), text("multidatabackend.json", json.dumps(backends, indent=2) + "\n")]
    return wanted, "SimpleTuner: --data_backend_config=multidatabackend.json"


def _backend(prepared: Prepared, out: Path, name: str, folder: str, repeats: int) -> dict[str, Any]:
    return {
        "id": name,
        "type": "local",
        "dataset_type": "image",
        "instance_data_dir": str((out / folder).resolve()),
        "cache_dir_vae": str((out / "cache" / "vae" / folder).resolve()),
        "caption_strategy": "textfile",
        "metadata_backend": "discovery",
        # Cut to their buckets already: kept whole, whatever their size.
        "crop": False,
        "resolution": prepared.resolution,
        "resolution_type": "pixel_area",
        "minimum_image_size": 0,
        "repeats": repeats - 1,  # here 0 means once
    }
