"""Tagging against its limits: ONNX Runtime alone on the same batches, and a plain loop before a free network.

Ratios are of one run, methods in turn. The network that costs something has random weights and
15 GFLOP a picture, a tenth of a ViT-B/16 at 448 px: with real taggers decoding weighs less than here. The
pictures are JPEGs; their decoding, cutting, padding and normalizing is in every time but ONNX Runtime's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import onnx
import pyarrow as pa
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from dataprep.engines.local import map_batches
from dataprep.inference.onnx import Graph, open_graph
from dataprep.inference.tagger import open_tagger
from dataprep.models import Model
from dataprep.pictures.pixels import PixelCache, PixelPolicy
from dataprep.stage import Context, TableFunction
from dataprep.stages.tag import Tag
from dataprep.store import Blobs

SIDE, TAGS, WIDTH = 448, 64, 768
BATCH = Tag.batch_rows
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Cost:
    """What something took: seconds by the clock, and of all processors."""

    wall_s: float
    cpu_s: float


def measured(work: Callable[[], object]) -> Cost:
    """What one call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def network(folder: Path, blocks: int) -> Path:
    """A WD-format tagger of random weights: patches, then `blocks` pairs of matrix products over them.

    With no blocks it costs next to nothing and stands for a network on a fast accelerator.
    """
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def weight(name: str, *shape: int) -> str:
        values = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(values, name))
        return name

    last, channels = "picture", 3
    nodes.append(helper.make_node("Transpose", [last], ["planes"], perm=[0, 3, 1, 2]))
    last = "planes"
    if blocks:
        nodes.append(
            helper.make_node("Conv", [last, weight("patch", WIDTH, 3, 16, 16)], ["patches"], strides=[16, 16])
        )
        last, channels = "patches", WIDTH
    for i in range(blocks):
        wide, narrow = weight(f"a{i}", 4 * WIDTH, WIDTH, 1, 1), weight(f"b{i}", WIDTH, 4 * WIDTH, 1, 1)
        nodes.append(helper.make_node("Conv", [last, wide], [f"wide{i}"]))
        nodes.append(helper.make_node("Relu", [f"wide{i}"], [f"on{i}"]))
        nodes.append(helper.make_node("Conv", [f"on{i}", narrow], [f"narrow{i}"]))
        last = f"narrow{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", weight("head", channels, TAGS)], ["logits"]))
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["scores"]))
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", SIDE, SIDE, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", TAGS])
    graph = helper.make_graph(nodes, "stand-in", [picture], [scores], weights)
    folder.mkdir(parents=True)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "model.onnx")
    rows = [f"{i},tag_{i},0,1" for i in range(TAGS)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]), "utf-8")
    return folder


def photographs(folder: Path, count: int, width: int, height: int) -> pa.Table:
    """JPEGs with detail at every scale, and the rows that `tag` is given of them."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    rows = []
    for i in range(count):
        layers = [rng.integers(0, 256, (height // s + 1, width // s + 1, 3), np.uint8) for s in (4, 32, 256)]
        pixels = sum(
            np.asarray(Image.fromarray(layer).resize((width, height), Image.Resampling.BILINEAR), np.float32)
            for layer in layers
        )
        name = f"{i:04d}.jpg"
        Image.fromarray((np.asarray(pixels) / 3).astype(np.uint8)).save(folder / name, quality=90)
        box = {"left": 0, "top": 0, "right": width, "bottom": height}
        rows.append({"id": name, "path": name, "role": "train", "pixels_key": name, "width": width})
        rows[-1] |= {"height": height, "box": box, "bucket_width": 640, "bucket_height": 448}
    fields = [(name, pa.string()) for name in ("id", "path", "role")]
    return pa.Table.from_pylist(rows, schema=pa.schema([*fields, *Tag.needs]))


def batches(table: pa.Table) -> list[pa.Table]:
    """The batches that a run makes."""
    return [table.slice(start, BATCH) for start in range(0, table.num_rows, BATCH)]


def opened(raw: Path, model: Path, threads: int) -> TableFunction:
    """The stage with its network loaded."""
    pixels = PixelCache(PixelPolicy(), 2**26)
    known = {"tagger": Model("tagger", "stand-in", model, "x")}
    context = Context(raw, raw, pixels, Blobs(raw / "blobs"), models=known, threads=threads)
    return Tag().open(context)


def tagged(stage: TableFunction, table: pa.Table, threads: int) -> list[pa.Table]:
    """The stage as a run runs it: several batches at once, decoding behind inference."""
    return list(map_batches(stage, batches(table), threads))


def inferred(graph: Graph, prepared: list[Picture], threads: int) -> None:
    """ONNX Runtime alone: the same batches, ready in memory, on the same threads."""
    ready = [np.stack(prepared[start : start + BATCH]) for start in range(0, len(prepared), BATCH)]
    numbers = pa.table({"i": list(range(len(ready)))})
    one_each = [numbers.slice(i, 1) for i in range(len(ready))]

    def run(part: pa.Table) -> pa.Table:
        graph.run(ready[part["i"][0].as_py()])
        return part

    list(map_batches(run, one_each, threads))


def plain_loop(raw: Path, graph: Graph, names: list[str]) -> None:
    """Decode, pad to a white square, shrink, infer: one picture after the other, as tagging scripts do."""
    for name in names:
        with Image.open(raw / name) as image:
            pixels = np.array(image.convert("RGB"))[:, :, ::-1]
        height, width = pixels.shape[:2]
        side = max(height, width)
        across, down = side - width, side - height
        edges = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
        square = np.pad(pixels, edges, mode="constant", constant_values=255)
        small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        graph.run(np.expand_dims(small, 0))


def against_the_network(scratch: Path, count: int, threads: int, rounds: int) -> str:
    """Row of the table: the whole stage beside ONNX Runtime alone, by the clock, in turn, network loaded."""
    raw, model = scratch / "small", network(scratch / "real", 2)
    table = photographs(raw, count, 1200, 840)
    tagger, stage = open_tagger(model, {}, "cpu", threads), opened(raw, model, threads)
    prepared = [tagger.prepare(Image.new("RGB", (640, 448), (i % 256, 90, 30))) for i in range(count)]
    inferred(tagger.graph, prepared[:BATCH], threads)  # kernels are chosen at the first call
    stage(table.slice(0, 1))
    alone, whole, size = [], [], count // rounds
    for start in range(0, size * rounds, size):
        part = prepared[start : start + size]
        alone.append(measured(partial(inferred, tagger.graph, part, threads)))
        whole.append(measured(partial(tagged, stage, table.slice(start, size), threads)))
    # Whatever else the machine does falls on both sides of a round, and the median forgets the worst.
    wall = median(ours.wall_s / limit.wall_s for ours, limit in zip(whole, alone, strict=True))
    cpu = sum(c.cpu_s for c in whole) / sum(c.cpu_s for c in alone)
    limit, ours = sum(c.wall_s for c in alone), sum(c.wall_s for c in whole)
    return (
        f"| {size * rounds} JPEGs of 1200x840, network of 15 GFLOP | ONNX Runtime alone {limit:.1f} s "
        f"| {ours:.1f} s | {wall:.3f} of it (aim: 1.10), median of {rounds} rounds; {cpu:.3f} in processor "
        "seconds |"
    )


def against_the_loop(scratch: Path, count: int, threads: int, repeats: int) -> str:
    """Row of the table: the whole stage beside a plain loop, in processor seconds."""
    raw, model = scratch / "large", network(scratch / "stub", 0)
    table = photographs(raw, count, 3000, 2000)
    graph = open_graph(model / "model.onnx", "cpu", threads)
    # Every picture several times under several names: a run opens its network once, not for 25 pictures.
    keys = pa.array([f"{key} {i}" for i in range(4) for key in table["pixels_key"].to_pylist()])
    table = pa.concat_tables([table] * 4).set_column(
        table.schema.get_field_index("pixels_key"), "pixels_key", keys
    )
    names = table["path"].to_pylist()
    count = len(names)
    plain, whole = [], []
    for _ in range(repeats):
        plain.append(measured(partial(plain_loop, raw, graph, names)))
        whole.append(measured(lambda: tagged(opened(raw, model, threads), table, threads)))
    loop, ours = median(c.cpu_s for c in plain), median(c.cpu_s for c in whole)
    return (
        f"| {count} JPEGs of 3000x2000, free network | plain loop {1000 * loop / count:.0f} ms CPU each | "
        f"{1000 * ours / count:.0f} ms | {loop / ours:.1f} times its rate (aim: 4) |"
    )


def main() -> None:
    """Print both rows."""
    quick = "--quick" in sys.argv
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        print("| what | beside | tag stage | ratio |\n|---|---|---|---|")
        print(against_the_loop(Path(folder), 4 if quick else 25, threads, 1 if quick else 2), flush=True)
        print(against_the_network(Path(folder), 16 if quick else 200, threads, 1 if quick else 5), flush=True)


if __name__ == "__main__":
    main()
