from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dataprep.errors import ModelError
from dataprep.model_whole import check_weights, check_whole


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.float16)}, path, metadata={"of": "test"})
    return path


def test_whole_weights_pass(weights: Path) -> None:
    check_weights(weights.parent, [weights.name])
    save_file({}, weights)
    check_whole("vae", weights.parent, [weights.name])


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.99])
def test_weights_cut_short_anywhere_are_told(weights: Path, share: float) -> None:
    data = weights.read_bytes()
    weights.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"w\.safetensors: incomplete.*copy or download it again"):
        check_weights(weights.parent, [weights.name])


@pytest.mark.parametrize(
    "content", [b"<html>rate limited</html>", b"version https://git-lfs.github.com/spec/v1", b"PK" + bytes(9)]
)
def test_what_is_no_weights_is_told(weights: Path, content: bytes) -> None:
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="incomplete"):
        check_weights(weights.parent, [weights.name])


def test_more_than_the_header_speaks_of_is_no_whole_file_either(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"more")
    with pytest.raises(ModelError, match=r"\d+ bytes of \d+"):
        check_weights(weights.parent, [weights.name])


def test_half_a_configuration_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}), "utf-8")
    check_whole("vae", tmp_path, ["config.json"])
    (tmp_path / "config.json").write_text('{"a": ', "utf-8")
    with pytest.raises(ModelError, match=r"config\.json: incomplete"):
        check_whole("vae", tmp_path, ["config.json"])
