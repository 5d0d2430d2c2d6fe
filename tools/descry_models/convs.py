"""Rounds a convolutional image tower to 8-bit integers.

Weights are rounded to 7 bits with a scale for each output (8 would overflow where a processor without VNNI adds two
products in 16 bits), activations to 8 bits with the range that they have on some photographs. The first convolutions
stay in floats: they cost little, and what rounding loses there is lost for good. Sums of integers are exact, so that an
embedding does not depend on batch or threads.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from .export import seal

# Convolutions that stay in floats: EfficientNet-Lite's stem and first two blocks. With them the least cosine of an
# embedding on photographs is 0.98; with the second block rounded too it is 0.96.
EXACT = 6
BATCH = 4
# Weight of a batch in the moving average of ranges.
AVERAGING = 0.05
# A folder whose embeddings would fall below this mean cosine is left alone.
LEAST_MEAN = 0.99


def batches(paths: Sequence[str], spec: dict[str, Any]) -> Iterator[np.ndarray]:
    """Photographs as the tower reads them, BATCH at a time."""
    from .image_towers import pixels

    for start in range(0, len(paths), BATCH):
        yield np.stack([pixels(p, spec) for p in paths[start : start + BATCH]])


def session(path: Path, **options: Any) -> Any:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    for name, value in options.items():
        setattr(session_options, name, value)
    return onnxruntime.InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"])


def round_tower(folder: Path, photographs: Sequence[str], exact: int = EXACT, keep: str = "") -> tuple[float, float]:
    """Rounds the image tower of a model folder in place and seals the folder again.

    The first `exact` convolutions stay in floats, and so do those whose names contain `keep`.

    Half of the photographs show the ranges of the activations, the other half the cost. Returns the mean and the least
    cosine between exact and rounded embeddings.
    """
    manifest = json.loads((folder / "model.json").read_text())
    spec, source = manifest["image"], folder / manifest["image"]["graph"]
    with tempfile.TemporaryDirectory() as work:
        plain, rounded = Path(work) / "plain.onnx", Path(work) / "rounded.onnx"
        fold_constants(source, plain)
        convolutions = [n.name for n in onnx.load(plain).graph.node if n.op_type == "Conv"]
        if len(convolutions) <= exact:
            raise SystemExit(f"{source}: {len(convolutions)} convolutions are too few to be worth rounding")
        floats = [*convolutions[:exact], *[name for name in convolutions if keep and keep in name]]
        floats += apart(onnx.load(plain).graph, floats)
        round_convolutions(plain, rounded, batches(photographs[::2], spec), floats)
        cosines = embedding_cosines(plain, rounded, batches(photographs[1::2], spec))
        mean, least = float(np.mean(cosines)), float(np.min(cosines))
        if mean < LEAST_MEAN:
            raise SystemExit(f"{source}: not rounded, embeddings would fall to a mean cosine of {mean:.4f}")
        source.write_bytes(rounded.read_bytes())
    manifest.pop("files")
    seal(folder, manifest)
    return mean, least


def fold_constants(source: Path, out: Path) -> None:
    """Writes the graph with stored halves turned into floats, and shapes into constants."""
    import onnxruntime

    basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session(source, graph_optimization_level=basic, optimized_model_filepath=str(out))
    model = onnx.load(out)
    merge_pads(model.graph)
    onnx.save(model, out)


def merge_pads(graph: onnx.GraphProto) -> None:
    """Lets convolutions pad by themselves. PyTorch cannot say that a convolution pads its sides unequally.

    A padding of its own costs a copy, and keeps ONNX Runtime from laying out the maps for convolutions throughout.
    """
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    pads = {n.output[0]: n for n in graph.node if n.op_type == "Pad"}
    merged = []
    for node in graph.node:
        pad = pads.get(node.input[0]) if node.op_type == "Conv" else None
        sides = constants.get(pad.input[1]) if pad else None
        if pad is None or sides is None or len(sides) != 8 or sides[:2].any() or sides[4:6].any():
            continue
        own = next(a for a in node.attribute if a.name == "pads")
        own.ints[:] = [int(a) + int(b) for a, b in zip(own.ints, [*sides[2:4], *sides[6:]], strict=True)]
        node.input[0] = pad.input[0]
        merged.append(pad)
    used = {i for n in graph.node for i in n.input} | {o.name for o in graph.output}
    for pad in merged:
        if pad.output[0] not in used and pad in graph.node:
            graph.node.remove(pad)


def round_convolutions(plain: Path, rounded: Path, shown: Iterator[np.ndarray], exact: list[str]) -> None:
    """Writes the rounded graph. `shown` are the pictures that ranges are measured on, `exact` the nodes left alone."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(shown, None)
            return None if batch is None else {"pixels": batch}

    quantize_static(
        plain,
        rounded,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Clip", "Add"],
        nodes_to_exclude=exact,
        # The widest range of all pictures would be that of an odd one.
        extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": AVERAGING},
    )


def apart(graph: onnx.GraphProto, floats: Sequence[str]) -> list[str]:
    """Names of the sums and limits that no rounded convolution feeds. To round them would lose precision and time."""
    makers = {output: node for node in graph.node for output in node.output}
    rounded = {n.output[0] for n in graph.node if n.op_type == "Conv" and n.name not in floats}
    alone = []
    for node in graph.node:  # in the order in which they are computed
        if node.op_type not in ("Clip", "Add"):
            continue
        if any(i in rounded for i in node.input if i in makers):
            rounded.add(node.output[0])
        else:
            alone.append(node.name)
    return alone


def embedding_cosines(plain: Path, rounded: Path, shown: Iterator[np.ndarray]) -> list[float]:
    """Cosine of each picture's embedding before and after."""
    before, after = session(plain), session(rounded)
    cosines: list[float] = []
    for batch in shown:
        a, b = (s.run(["embedding"], {"pixels": batch})[0] for s in (before, after))
        cosines += list((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    return cosines
