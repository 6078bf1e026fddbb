"""OneTrainer: folders of picture and caption pairs, and concepts.json, which its Concepts tab loads.

Class pictures are a concept of their own: OneTrainer balances concepts by repeats. Format: version 1 of its
ConceptConfig; settings that are left out take its defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dataprep.export.prepared import CLASS_IMAGES, IMAGES, Prepared, pairs, text
from dataprep.export.sync import Wanted


def files(prepared: Prepared, out: Path) -> tuple[list[Wanted], str]:
    """The files to write into `out`, and what to do with them."""
    concepts = [_concept(out, IMAGES, prepared.name, float(prepared.repeats))]
    if prepared.reg:
        # Class and training pictures come equally often: that is what prior preservation means.
        balance = prepared.repeats * len(prepared.train) / len(prepared.reg)
        concepts.append(_concept(out, CLASS_IMAGES, f"{prepared.class_word or 'class'} (class)", balance))
    wanted = [*pairs(prepared.pictures), text("concepts.json", json.dumps(concepts, indent=2) + "\n")]
    return wanted, "OneTrainer: choose concepts.json in the Concepts tab"


def _concept(out: Path, folder: str, name: str, balancing: float) -> dict[str, Any]:
    return {
        "__version": 1,
        "name": name,
        "path": str((out / folder).resolve()),
        "enabled": True,
        "include_subdirectories": False,
        "balancing": round(balancing, 4),
        "balancing_strategy": "REPEATS",
        "loss_weight": 1.0,
        # The pictures are cut to their buckets already, and many subjects are not symmetric.
        "image": {"enable_crop_jitter": False, "enable_random_flip": False},
        "text": {"prompt_source": "sample", "tag_delimiter": ",", "keep_tags_count": 1},
    }
