"""diffusers and Hugging Face `datasets`: an imagefolder with metadata.jsonl, columns image and text.

`load_dataset("imagefolder", data_dir=OUT)` finds the folder named train; class pictures stand beside it,
where DreamBooth scripts take them as --class_data_dir.
"""

from __future__ import annotations

import json
from pathlib import Path

from dataprep.export.prepared import CLASS_IMAGES, Picture, Prepared, image, text
from dataprep.export.sync import Wanted

TRAIN = "train"


def files(prepared: Prepared, out: Path) -> tuple[list[Wanted], str]:
    """The files to write into `out`, and what to do with them."""
    wanted = _folder(TRAIN, prepared.train)
    if prepared.reg:
        wanted += _folder(CLASS_IMAGES, prepared.reg)
    return wanted, f'diffusers: --train_data_dir "{out}" --image_column image --caption_column text'


def _folder(folder: str, pictures: tuple[Picture, ...]) -> list[Wanted]:
    wanted = [image(picture, f"{folder}/{picture.stem}.png") for picture in pictures]
    return [*wanted, text(f"{folder}/metadata.jsonl", "".join(map(_line, pictures)))]


def _line(picture: Picture) -> str:
    row = {
        "file_name": f"{picture.stem}.png",
        "text": picture.caption,
        "width": picture.size[0],
        "height": picture.size[1],
        "repeats": picture.repeats,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"
