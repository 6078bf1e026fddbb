"""What is known of the last run, and raw files that changed since."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.curate.last_run import last_run
from dataprep.errors import InputError

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("role", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("view", pa.string()),
        ("raw_caption", pa.string()),
    ]
)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A raw folder with two files and the manifest of a run over it, which is newer."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    for folder in (raw, out / ".dataprep"):
        folder.mkdir(parents=True)
    rows = []
    for name in ("a.png", "b.png"):
        data = f"picture {name}".encode()
        (raw / name).write_bytes(data)
        os.utime(raw / name, (1_000_000_000, 1_000_000_000))
        sha256 = hashlib.sha256(data).hexdigest()
        rows.append({"path": name, "role": "train", "sha256": sha256, "bytes": len(data)})
    rows[0]["raw_caption"] = "She waves at us from a hill."
    rows[1]["raw_caption"] = "hat"
    about = {"trigger": "sks", "class_word": "girl", "settings": {"curate": {"caption_encoding": "cp1251"}}}
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(
        table.replace_schema_metadata({b"dataprep": json.dumps(about).encode()}), out / "manifest.parquet"
    )
    (out / ".dataprep" / "run.json").write_text(json.dumps({"raw": str(raw)}), encoding="utf-8")
    return raw, out / "manifest.parquet"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_the_last_run_was_given_is_read_from_its_manifest(folders: tuple[Path, Path]) -> None:
    raw, manifest = folders
    last = last_run(manifest)
    assert (last.lead.trigger, last.lead.class_word, last.encoding) == ("sks", "girl", "cp1251")
    told = [(hand.caption, [*hand.added]) for hand in last.start.values()]
    assert told == [("She waves at us from a hill.", []), (None, ["hat"])]
    assert last.rewritten == ()
    assert (raw / "a.png").is_file()


def test_a_raw_file_with_new_bytes_is_looked_at_anew(folders: tuple[Path, Path]) -> None:
    raw, manifest = folders
    old = sha256(raw / "a.png")
    (raw / "a.png").write_bytes(b"retouched")
    assert last_run(manifest).rewritten == (("a.png", old, sha256(raw / "a.png")),)


def test_a_raw_file_that_was_converted_is_looked_at_anew(folders: tuple[Path, Path]) -> None:
    raw, manifest = folders
    old = sha256(raw / "a.png")
    (raw / "a.png").unlink()
    (raw / "a.webp").write_bytes(b"the same as WebP")
    assert last_run(manifest).rewritten == (("a.webp", old, sha256(raw / "a.webp")),)


def test_content_that_was_renamed_or_swapped_is_not_rewritten(folders: tuple[Path, Path]) -> None:
    raw, manifest = folders
    first, second = (raw / "a.png").read_bytes(), (raw / "b.png").read_bytes()
    (raw / "a.png").write_bytes(second)
    (raw / "b.png").write_bytes(first)
    assert last_run(manifest).rewritten == ()
    (raw / "c.png").write_bytes(first)
    (raw / "b.png").write_bytes(b"new")
    (raw / "a.png").write_bytes(second)
    assert last_run(manifest).rewritten == ()


def test_a_file_that_was_only_touched_or_is_gone_is_not_rewritten(folders: tuple[Path, Path]) -> None:
    raw, manifest = folders
    (raw / "a.png").touch()
    (raw / "b.png").unlink()
    assert last_run(manifest).rewritten == ()
    (manifest.parent / ".dataprep" / "run.json").unlink()
    assert last_run(manifest).rewritten == ()


def test_a_damaged_manifest_says_what_to_do(folders: tuple[Path, Path]) -> None:
    _, manifest = folders
    manifest.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="run `dataprep run` again"):
        last_run(manifest)
