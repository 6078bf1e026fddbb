from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dataprep.errors import ModelError
from dataprep.inference.onnx import open_graph, providers

MakeTagger = Callable[..., Path]


def test_a_graph_says_its_shape_with_open_sides_as_none(mean_tagger: MakeTagger) -> None:
    graph = open_graph(mean_tagger() / "model.onnx")
    assert graph.shape == (None, 8, 8, 3)
    assert graph.classes == 3
    assert graph.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("content", [b"", b"<html>rate limited</html>"])
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="fetch it again"):
        open_graph(path)


def test_half_a_download_is_an_error(mean_tagger: MakeTagger) -> None:
    path = mean_tagger() / "model.onnx"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="fetch it again"):
        open_graph(path)


def test_a_batch_that_does_not_fit_names_the_file_and_the_shape(mean_tagger: MakeTagger) -> None:
    graph = open_graph(mean_tagger() / "model.onnx")
    with pytest.raises(ModelError, match=r"\(1, 4, 4, 3\)"):
        graph.run(np.zeros((1, 4, 4, 3), np.float32))


def test_the_cpu_is_always_tried_last() -> None:
    assert providers("cpu") == ["CPUExecutionProvider"]
    assert providers("cuda")[-1] == "CPUExecutionProvider"


def test_a_gpu_that_was_chosen_by_its_number_is_the_one(
    mean_tagger: MakeTagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda, cpu])
    assert providers("cuda:1") == [(cuda, {"device_id": 1}), cpu]
    assert providers("cuda") == providers("auto") == [cuda, cpu]
    passed = []
    session = onnxruntime.InferenceSession

    def opened(path: str, options: object, providers: list[object]) -> object:
        passed.extend(providers)
        return session(path, options, providers=[cpu])

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    open_graph(mean_tagger() / "model.onnx", "cuda:1")
    assert passed == [(cuda, {"device_id": 1}), cpu]


def test_falling_back_from_cuda_is_said(mean_tagger: MakeTagger, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        graph = open_graph(mean_tagger() / "model.onnx", "cuda")
    if graph.provider == "CPUExecutionProvider":
        assert "CUDA was asked for" in caplog.text
