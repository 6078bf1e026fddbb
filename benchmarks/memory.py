"""Memory of the table stages of the front at many rows: dedup, split and bucket.

python -m benchmarks.memory [ROWS]
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageEnhance

from dataprep.copies.fine import fine
from dataprep.copies.hashing import texture
from dataprep.copies.likeness import edges, thumb
from dataprep.expand import expand
from dataprep.manifest import BASE, empty_columns, merge
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context
from dataprep.stages.bucket import Bucket
from dataprep.stages.crop import Crop
from dataprep.stages.curate import HAND
from dataprep.stages.dedup import Dedup
from dataprep.stages.fingerprint import Fingerprint
from dataprep.stages.split import Split
from dataprep.store import Blobs


def manifest(count: int) -> pa.Table:
    """What fingerprint hands on for `count` pictures, a fifth of which are copies of another.

    Looks are those of 97 pictures, each also recompressed, brightened and made smaller.
    """
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    copies = rng.choice(count, count // 5, replace=False)
    hashes[copies] = hashes[copies - 1]
    hexes = [f"{int(value):016x}" for value in hashes]
    looks = [[_looks(edited) for edited in _edited(rng)] for _ in range(97)]
    seen = [
        looks[int(value % np.uint64(97))][edit]
        for value, edit in zip(hashes, rng.integers(0, 4, count), strict=True)
    ]
    numbers = [f"{i:032x}" for i in range(count)]
    shared = {"role": "train", "state": "active", "format": "jpeg", "view": ""}
    columns: dict[str, pa.Array] = {name: pa.array([value] * count) for name, value in shared.items()}
    columns |= {name: pa.array(numbers) for name in ("id", "path", "sha256", "pixels_key")}
    names = "phash", "trim_phash", "mirror_phash", "mirror_trim_phash"
    columns |= {name: pa.array(hexes) for name in names}
    for name, place in {"thumb": 0, "trim_thumb": 0, "edges": 1, "fine": 2}.items():
        columns[name] = pa.array([each[place] for each in seen])
    columns |= {
        name: pa.array(rng.integers(600, 4000, count).astype(np.int32)) for name in ("width", "height")
    }
    columns["bytes"] = pa.array(rng.integers(10**5, 10**7, count))
    columns["trim_share"] = pa.array(np.ones(count, np.float32))
    return empty_columns(pa.table(columns), pa.schema([*BASE, *HAND, *Fingerprint.adds]))


def _edited(rng: np.random.Generator) -> Iterator[Image.Image]:
    image = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8)).resize((288, 384))
    yield image
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=60)
    yield Image.open(encoded).convert("RGB")
    yield ImageEnhance.Brightness(image).enhance(1.2)
    yield image.resize((160, 213))


def _looks(image: Image.Image) -> tuple[str, str, str]:
    light = image.convert("L")
    return thumb(image), edges(texture(light)), fine(light, light)


def main(count: int = 100_000) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        context = Context(Path(folder), Path(folder), PixelCache(PixelPolicy()), Blobs(Path(folder)))
        table = manifest(count)
        print(f"{count:,} rows\n\n| stage | seconds | peak memory so far, MiB |\n|---|---|---|")
        for stage in (Dedup(), Split(), Bucket()):
            started = time.perf_counter()
            if stage.name == "split":  # what crop says
                table = empty_columns(table, Crop.adds)
                for name in ("focus_x", "focus_y"):
                    half = pa.array(np.full(count, 0.5, np.float32))
                    table = table.set_column(table.schema.get_field_index(name), name, half)
            result = stage.open(context)(table)
            table = (expand if stage.expands else merge)(table, result, stage.name)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"| {stage.name} | {time.perf_counter() - started:.1f} | {peak} |")


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:2]))
