from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataprep.digest import file_sha256
from dataprep.errors import InputError, ModelError
from dataprep.export.receipt import SCHEMA, to_table, write_receipt
from dataprep.train.config import TrainConfig
from dataprep.train.data import Prepared
from dataprep.training.cached import base_path


@pytest.fixture
def prepared(tmp_path: Path, base_path: Path) -> Path:
    """A prepared folder: 5 images x 2 and 3 regularization images in two buckets."""
    from tiny import prepare_folder

    return prepare_folder(tmp_path / "set", base_path)


def rewrite(path: Path, **arrays: object) -> None:
    with np.load(path, allow_pickle=False) as file:
        found = dict(file)
    np.savez(path, **(found | arrays))


def first_latents(prepared: Path) -> Path:
    return next((prepared / "img").rglob("000_*.npz"))


def test_stale_latents_are_refused_by_name_with_the_command_that_mends_them(prepared: Path) -> None:
    rewrite(first_latents(prepared), fingerprint=np.array("made of something else"))
    with pytest.raises(InputError, match=r"1 stale \(img/2_sks girl/000_0064x0064_sd.npz\).*dataprep run"):
        Prepared(prepared, TrainConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": np.full((4, 8, 8), np.nan, np.float32)}, "not finite"),
        ({"latents": np.zeros((4, 16, 16), np.float32)}, "another bucket"),
    ],
)
def test_damaged_latents_are_refused(prepared: Path, change: dict[str, np.ndarray], message: str) -> None:
    rewrite(first_latents(prepared), **change)
    with pytest.raises(InputError, match=message):
        Prepared(prepared, TrainConfig())


def test_missing_truncated_and_pickled_latents_are_refused(prepared: Path) -> None:
    path = first_latents(prepared)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="missing or unreadable"):
        Prepared(prepared, TrainConfig())
    np.savez(path, latents=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="missing or unreadable"):
        Prepared(prepared, TrainConfig())
    path.unlink()
    with pytest.raises(InputError, match="missing or unreadable"):
        Prepared(prepared, TrainConfig())


def test_flip_without_mirrored_latents_names_both_ways_out(tmp_path: Path, base_path: Path) -> None:
    from tiny import prepare_folder

    prepared = prepare_folder(tmp_path, base_path, flip=False)
    Prepared(prepared, TrainConfig())
    with pytest.raises(InputError, match=r"latents.flip = true"):
        Prepared(prepared, TrainConfig(flip=True))


def test_edited_caption_files_are_what_is_trained(prepared: Path) -> None:
    path = prepared / "img" / "2_sks girl" / "000.txt"
    path.write_text("\ufeffsks girl, by hand\n", "utf-8")
    data = Prepared(prepared, TrainConfig())
    assert data.images[0].lines == ("sks girl, by hand",)
    assert "1 caption files were edited" in data.notes[0]
    path.unlink()
    with pytest.raises(InputError, match=r"000\.txt"):
        Prepared(prepared, TrainConfig())


def test_a_folder_without_manifest_or_columns_is_refused(tmp_path: Path, prepared: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.parquet"):
        Prepared(tmp_path, TrainConfig())
    table = pq.read_table(prepared / "manifest.parquet")
    pq.write_table(table.drop_columns(["latents_key"]), prepared / "manifest.parquet")
    with pytest.raises(InputError, match="no column latents_key"):
        Prepared(prepared, TrainConfig())


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_a_folder_for_a_base_model_that_is_not_trained_here_is_refused_in_words(
    prepared: Path, family: str
) -> None:
    table = pq.read_table(prepared / "manifest.parquet")
    about = json.loads(table.schema.metadata[b"dataprep"]) | {"settings": {"latents": {"family": family}}}
    table = table.replace_schema_metadata({b"dataprep": json.dumps(about).encode()})
    pq.write_table(table, prepared / "manifest.parquet")
    with pytest.raises(InputError, match=f"prepared for {family}, which `dataprep train` does not train"):
        Prepared(prepared, TrainConfig())


def test_a_picture_changed_by_hand_is_not_trained_with_its_old_latents(prepared: Path) -> None:
    picture = prepared / "img/2_sks girl/000.png"
    entry = dict.fromkeys(SCHEMA.names) | {"file": "img/2_sks girl/000.png", "kind": "image"}
    picture.write_bytes(b"as written")
    entry |= {"sha256": file_sha256(picture), "bytes": 10, "mtime_ns": 0}
    write_receipt(prepared, to_table([entry]))
    Prepared(prepared, TrainConfig())
    picture.write_bytes(b"as changed")
    with pytest.raises(
        InputError, match=r"1 pictures were changed by hand.*000\.png.*how to take such a change back"
    ):
        Prepared(prepared, TrainConfig())


def test_the_base_model_is_the_settings_else_the_recorded_one(tmp_path: Path) -> None:
    own, recorded = tmp_path / "own", tmp_path / "recorded"
    own.mkdir()
    meta = {"models": {"base": {"name": "nowhere", "path": str(recorded)}}}
    assert base_path(str(own), meta) == own
    recorded.mkdir()
    assert base_path(None, meta) == recorded
    for other in ("owner/another", str(tmp_path / "typing error")):  # never the recorded one in its place
        with pytest.raises(ModelError, match=other):
            base_path(other, meta)
    with pytest.raises(ModelError, match="set base = PATH"):
        base_path(None, {})
