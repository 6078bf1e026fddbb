"""WebDataset: tar shards whose members KEY.png, KEY.txt and KEY.json make a sample."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from dataprep.digest import digest, file_sha256
from dataprep.export.prepared import Picture, Prepared
from dataprep.export.sync import Wanted

_SHARD_BYTES = 500 * 2**20


def files(prepared: Prepared, out: Path) -> tuple[list[Wanted], str]:
    """The files to write into `out`, and what to do with them."""
    wanted = _shards("train", prepared.train) + _shards("class", prepared.reg)
    last = sum(item.file.startswith("train-") for item in wanted) - 1
    return wanted, f'WebDataset: "{out}/train-{{000000..{last:06d}}}.tar"'


def _shards(name: str, pictures: Sequence[Picture]) -> list[Wanted]:
    shards: list[list[Picture]] = [[]]
    filled = 0
    for picture in pictures:
        size = picture.file.stat().st_size
        if shards[-1] and filled + size > _SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(picture)
        filled += size
    return [_shard(f"{name}-{number:06d}.tar", shard) for number, shard in enumerate(shards) if shard]


def _shard(file: str, pictures: Sequence[Picture]) -> Wanted:
    members = [
        (picture.stem, picture.caption, picture.repeats, file_sha256(picture.file)) for picture in pictures
    ]
    return Wanted(file, "config", digest("tar", members), lambda: _tar(pictures))


def _tar(pictures: Sequence[Picture]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, picture in enumerate(pictures):
            # A key ends at the first dot, so that stems with dots would fall apart; numbers keep keys unique.
            key = f"{number:06d}_{picture.stem.replace('.', '_')}"
            facts = {
                "width": picture.size[0],
                "height": picture.size[1],
                "role": picture.role,
                "repeats": picture.repeats,
            }
            _add(tar, f"{key}.png", picture.file.read_bytes())
            _add(tar, f"{key}.txt", picture.caption.encode("utf-8", "replace"))
            _add(tar, f"{key}.json", json.dumps(facts).encode())
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, owner and mode as they come: equal pictures make equal shards
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
