from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from dataprep.export.prepared import Prepared
from dataprep.export.targets import export_to


def read(file: Path) -> list[dict[str, bytes]]:
    """WebDataset's rule: members that follow each other and agree up to their first dot are one sample."""
    samples: list[dict[str, bytes]] = []
    with tarfile.open(file) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            stream = tar.extractfile(member)
            assert stream is not None
            if not samples or samples[-1]["__key__"] != key.encode():
                samples.append({"__key__": key.encode()})
            assert suffix not in samples[-1]
            samples[-1][suffix] = stream.read()
    return samples


def test_shards_hold_whole_samples(prepared: Prepared, tmp_path: Path) -> None:
    export_to(prepared.directory, "webdataset", tmp_path / "export")
    samples = read(tmp_path / "export" / "train-000000.tar")
    assert [sample["txt"].decode() for sample in samples] == [picture.caption for picture in prepared.train]
    assert [sample["png"] for sample in samples] == [picture.file.read_bytes() for picture in prepared.train]
    assert json.loads(samples[1]["json"]) == {"width": 64, "height": 128, "role": "train", "repeats": 2}
    assert len(read(tmp_path / "export" / "class-000000.tar")) == 2


def test_large_sets_become_several_shards(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataprep.export.webdataset._SHARD_BYTES", 30_000)
    _, usage = export_to(prepared.directory, "webdataset", tmp_path / "export")
    shards = sorted((tmp_path / "export").glob("train-*.tar"))
    assert sum(len(read(shard)) for shard in shards) == 3
    assert len(shards) == 3
    assert "{000000..000002}" in usage


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files open
def test_webdataset_itself_reads_the_shards(prepared: Prepared, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    export_to(prepared.directory, "webdataset", tmp_path / "export")
    shard = str(tmp_path / "export" / "train-000000.tar")
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode("pil"))
    assert [sample["txt"] for sample in samples] == [picture.caption for picture in prepared.train]
    assert [sample["png"].size for sample in samples] == [picture.size for picture in prepared.train]
    assert [sample["json"]["repeats"] for sample in samples] == [p.repeats for p in prepared.train]
