from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image

from dataprep.digest import file_sha256
from dataprep.pictures import scan_cache
from dataprep.pictures.pixels import Limits, PixelPolicy
from dataprep.pictures.scan_cache import Facts, ScanCache, read_facts
from dataprep.pictures.walk import Found, walk


def picture(folder: Path, colour: str = "red") -> Found:
    Image.new("RGB", (70, 80), colour).save(folder / "a.png")
    (found,) = walk(folder)
    return found


def later() -> int:
    """A time at which files written now are no longer fresh, ns."""
    return time.time_ns() + 10**9


def test_facts_are_hash_format_and_upright_size(tmp_path: Path) -> None:
    item = picture(tmp_path)
    facts = read_facts(item.path)
    assert facts == Facts(file_sha256(item.path), item.path.stat().st_size, "png", 70, 80)


def test_facts_of_an_unchanged_file_come_back(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    item = picture(tmp_path / "raw")
    cache = ScanCache(tmp_path / "cache.parquet")
    assert cache.get("train", item) is None
    cache.put("train", item, read_facts(item.path), later())
    cache.save()
    again = ScanCache(tmp_path / "cache.parquet")
    assert again.get("train", item) == read_facts(item.path)
    assert again.get("reg", item) is None


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    item = picture(tmp_path / "raw")
    cache = ScanCache(tmp_path / "cache.parquet")
    cache.put("train", item, read_facts(item.path), later())
    cache.save()
    changed = picture(tmp_path / "raw", "blue")
    assert ScanCache(tmp_path / "cache.parquet").get("train", changed) is None


def test_a_file_written_a_moment_ago_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    item = picture(tmp_path / "raw")
    cache = ScanCache(tmp_path / "cache.parquet")
    cache.put("train", item, read_facts(item.path), time.time_ns())
    cache.save()
    assert ScanCache(tmp_path / "cache.parquet").get("train", item) is None


def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "cache.parquet").write_bytes(b"PAR1 no table PAR1")
    assert ScanCache(tmp_path / "cache.parquet").get("train", picture(tmp_path / "raw")) is None


def test_a_file_that_keeps_changing_is_named_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = picture(tmp_path)
    probed = scan_cache.probe

    def growing(path: Path, policy: PixelPolicy | None = None, *, limits: Limits | None = None) -> object:
        with path.open("ab") as file:
            file.write(b"more")
        return probed(path, policy, limits=limits)

    monkeypatch.setattr(scan_cache, "probe", growing)
    facts = read_facts(item.path)
    assert facts.fault is not None
    assert facts.fault[0] == "changing"
    assert facts.transient
