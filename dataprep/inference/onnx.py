"""ONNX Runtime sessions: which provider runs, what a graph says of itself, and all of its errors as ours."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprep.errors import MachineError, ModelError

log = logging.getLogger(__name__)

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


@dataclass(frozen=True)
class Graph:
    """An opened ONNX file with one picture input and one output. `run` may be called by several threads.

    Attributes:
        path: the file.
        input_name: of the picture input.
        shape: of that input; None where the graph leaves a side open.
        dtype: numpy type of that input.
        output_name: of the first output.
        classes: last side of the first output, None where the graph leaves it open.
        provider: what runs it, such as CPUExecutionProvider.
        notes: the file's own metadata.
    """

    path: Path
    input_name: str
    shape: tuple[int | None, ...]
    dtype: type[np.generic]
    output_name: str
    classes: int | None
    provider: str
    notes: Mapping[str, str] = field(default_factory=dict)
    session: Any = None

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """The first output of one batch, float32.

        Raises:
            ModelError: the graph does not take this batch.
            MachineError: memory ran out.
        """
        return np.asarray(_run(self, batch), dtype=np.float32)


Provider = str | tuple[str, dict[str, int]]  # its name, or its name and options
_CUDA = "CUDAExecutionProvider"


def providers(device: str) -> list[Provider]:
    """ONNX Runtime providers to try in order, the CPU always last.

    Args:
        device: auto, cpu, or cuda (with or without an index, such as cuda:1).
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    wanted = [] if device == "cpu" else [_CUDA]
    if device == "auto":
        wanted += ["DmlExecutionProvider", "CoreMLExecutionProvider"]
    found: list[Provider] = [name for name in wanted if name in available]
    index = device.partition(":")[2]
    if index and _CUDA in found:
        found[found.index(_CUDA)] = (_CUDA, {"device_id": int(index)})
    return [*found, "CPUExecutionProvider"]


def open_graph(path: Path, device: str = "cpu", threads: int = 0) -> Graph:
    """Open an ONNX file with one picture input.

    Args:
        path: the file.
        device: auto, cpu or cuda.
        threads: that one call may use; 0 lets ONNX Runtime decide.
    Raises:
        ModelError: no ONNX file, damaged, or not a graph of one picture input.
    """
    session = _session(path, device, threads)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _DTYPES:
        found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
        raise ModelError(f"{path}: its inputs are {found}; wanted one picture input of 4 dimensions")
    classes = outputs[0].shape[-1] if outputs[0].shape else None
    return Graph(
        path=path,
        input_name=inputs[0].name,
        shape=tuple(side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape),
        dtype=_DTYPES[inputs[0].type],
        output_name=outputs[0].name,
        classes=classes if isinstance(classes, int) else None,
        provider=session.get_providers()[0],
        notes=dict(session.get_modelmeta().custom_metadata_map),
        session=session,
    )


def _session(path: Path, device: str, threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle workers would spin on the cores that decode the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = providers(device)
    if any(_CUDA in (provider, provider[0]) for provider in wanted):
        # Finds the CUDA libraries that torch brought, which are not on the loader's path.
        onnxruntime.preload_dlls()
    damaged = (
        state.InvalidProtobuf,
        state.InvalidGraph,
        state.InvalidArgument,
        state.NoSuchFile,
        state.NotImplemented,
    )
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except (*damaged, state.Fail, state.RuntimeException) as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelError(
            f"{path}: not a usable ONNX file ({reason}); delete it and fetch it again"
        ) from error
    used = session.get_providers()[0]
    log.info("%s/%s runs on %s", path.parent.name, path.name, used)
    if device.startswith("cuda") and used != _CUDA:
        log.warning("%s: CUDA was asked for, but ONNX Runtime could not start it; %s runs", path.name, used)
    return session


def _run(graph: Graph, batch: NDArray[Any]) -> Any:  # noqa: ANN401
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    try:
        return graph.session.run([graph.output_name], {graph.input_name: batch})[0]
    except (state.InvalidArgument, state.InvalidGraph, state.NotImplemented) as error:
        raise ModelError(f"{graph.path}: does not take a batch of shape {batch.shape}: {error}") from error
    except (state.Fail, state.RuntimeException, state.EPFail) as error:
        raise MachineError(
            f"{graph.path}: {graph.provider} failed on a batch of shape {batch.shape}: {error}. "
            "If memory ran out, use a smaller batch or --device cpu"
        ) from error
