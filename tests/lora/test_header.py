from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from dataprep.errors import InputError
from dataprep.lora.header import read_header


def written(path: Path, header: str | bytes, data: bytes = b"", length: int | None = None) -> Path:
    text = header.encode() if isinstance(header, str) else header
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_a_real_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": np.zeros((2, 3), np.float16), "y": np.ones((), np.float32)}, path, {"k": "v"})
    header = read_header(path)
    assert header.metadata == {"k": "v"}
    assert header.tensors["x"].shape == (2, 3)
    assert header.tensors["y"].dtype == "F32"
    assert header.problems == ()


TENSOR = '"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        ("{}", b"", 10**18, "the format allows"),
        ("{}", b"", 1000, "the file ends after 2"),
        ("[]", b"", None, "does not start"),
        ("", b"", None, "does not start"),
        ('{"a":' + "[" * 200_000 + "]" * 200_000 + "}", b"", None, "nested"),
        ('{"a":', b"", None, "not valid JSON"),
        (b'{"\xff":1}', b"", None, "not valid JSON"),
        ("{" + TENSOR + "," + TENSOR + "}", b"0000", None, "names 'x' twice"),
        ('{"__metadata__":{"a":"1","a":"2"}}', b"", None, "names 'a' twice"),
        ('{"__metadata__":{"a":1}}', b"", None, "not an object of texts"),
        ('{"__metadata__":[]}', b"", None, "not an object of texts"),
        ('{"x":1}', b"", None, "does not describe a tensor"),
        ('{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"0000", None, "does not describe"),
        ('{"x":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', b"0000", None, "does not describe"),
        ('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', b"0000", None, "does not describe"),
        ("{" + TENSOR + "}", b"00", None, "cut off"),
        ("{" + TENSOR.replace("[0,4]", "[4,0]") + "}", b"0000", None, "cut off"),
        ("{" + TENSOR.replace("[1]", "[2]") + "}", b"0000", None, "does not fill its bytes"),
        ("{" + TENSOR.replace("[1]", "[" + "9" * 18 + "," + "9" * 18 + "]") + "}", b"0000", None, "fill"),
        ("{" + TENSOR.replace("[1]", str([2**62] * 100_000)) + "}", b"0000", None, "does not describe"),
        ('{"' + '\\"' * 400_000, b"", None, "not valid JSON"),
        ('{"\\', b"", None, "not valid JSON"),
        ("{" + "".join(f'"k{i}":1,' for i in range(60_000)) + '"k7":1}', b"", None, "names 'k7' twice"),
        ('{"x":' + "9" * 5000 + "}", b"", None, "not valid JSON"),
        ('{"x":[' + "0," * 2_000_001 + "0]}", b"", None, "2000003 values in 4 MB"),
    ],
)  # fmt: skip
def test_a_hostile_header_is_refused(
    tmp_path: Path, header: str | bytes, data: bytes, length: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_header(written(tmp_path / "a.safetensors", header, data, length))


def test_every_cut_of_a_real_file_is_an_error_not_a_crash(tmp_path: Path) -> None:
    whole = tmp_path / "a.safetensors"
    save_file({"x": np.zeros((2, 3), np.float16)}, whole, {"k": "v"})
    data = whole.read_bytes()
    for end in range(len(data)):
        (tmp_path / "cut.safetensors").write_bytes(data[:end])
        with pytest.raises(InputError):
            read_header(tmp_path / "cut.safetensors")


def test_gaps_and_strange_formats_are_told(tmp_path: Path) -> None:
    header = '{"x":{"dtype":"Q9","shape":[1],"data_offsets":[4,8]}}'
    problems = read_header(written(tmp_path / "a.safetensors", header, bytes(12))).problems
    assert [
        word in " ".join(problems) for word in ("Q9", "overlap or belong to nobody", "4 bytes at the end")
    ] == [True] * 3


def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match=r"pickle.*convert"):
        read_header(tmp_path / "a.ckpt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_header(tmp_path / "nowhere")


def test_megabytes_of_metadata_are_read(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"a": '{"[' * 2_000_000}})
    assert len(read_header(written(tmp_path / "a.safetensors", header)).metadata["a"]) == 6_000_000
