"""Tiny ONNX taggers: their probabilities are the picture's mean colour, so every test knows the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

MakeTagger = Callable[..., Path]


@pytest.fixture
def mean_tagger(tmp_path: Path) -> MakeTagger:
    """A function that writes a tagger folder: output i is the mean of input channel i, over `divisor`."""

    def make(
        shape: Sequence[int | str] = ("n", 8, 8, 3),
        labels: str = "tag_id,name,category,count\n0,first,0,1\n1,second,0,1\n2,third,0,1\n",
        list_name: str = "selected_tags.csv",
        divisor: float = 255.0,
        channel_axis: int = 3,
    ) -> Path:
        folder = tmp_path / f"tagger{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        spatial = [axis for axis in (1, 2, 3) if axis != channel_axis]
        nodes = [
            helper.make_node("ReduceMean", ["picture", "axes"], ["mean"], keepdims=0),
            helper.make_node("Div", ["mean", "divisor"], ["scores"]),
        ]
        constants = [
            helper.make_tensor("axes", TensorProto.INT64, [2], spatial),
            helper.make_tensor("divisor", TensorProto.FLOAT, [], [divisor]),
        ]
        picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, list(shape))
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], 3])
        graph = helper.make_graph(nodes, "mean", [picture], [scores], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, folder / "model.onnx")
        (folder / list_name).write_text(labels, encoding="utf-8")
        return folder

    return make
