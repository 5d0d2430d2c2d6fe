"""A convolutional image tower in whole numbers.

Weights are rounded to 7 bits with a scale for each output (8 would overflow where a processor without VNNI adds two products in
16 bits), activations to 8 bits with the range that they have on some photographs. The first convolutions stay in floats: they
cost little, and what they round away is gone for good. Sums of whole numbers are exact, so that an embedding does not depend
on batch or threads.
"""
import json
import tempfile
from pathlib import Path

import numpy as np

# Convolutions that stay in floats: EfficientNet-Lite's stem and first two blocks. On photographs the least cosine of an
# embedding is 0.98 then; 0.96 with the second block rounded too.
EXACT = 6
BATCH = 4


def batches(paths, spec):
    """Photographs as the tower reads them, some at a time."""
    from .mapping import pixels
    for k in range(0, len(paths), BATCH):
        yield np.stack([pixels(p, spec) for p in paths[k : k + BATCH]])


def session(path, **options):
    import onnxruntime
    o = onnxruntime.SessionOptions()
    o.log_severity_level = 3
    for name, value in options.items():
        setattr(o, name, value)
    return onnxruntime.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])


def round_tower(folder, photographs, exact=EXACT):
    """Rounds the image tower of a model folder in place, and seals the folder anew. Half of the photographs show what ranges
    activations have, the other half what is lost. Returns the mean and the least cosine of embeddings."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from .export import seal
    folder = Path(folder)
    manifest = json.loads((folder / "model.json").read_text())
    spec, source = manifest["image"], folder / manifest["image"]["graph"]

    class Shown(CalibrationDataReader):
        def __init__(self):
            self.shown = batches(photographs[::2], spec)

        def get_next(self):
            batch = next(self.shown, None)
            return None if batch is None else {"pixels": batch}

    with tempfile.TemporaryDirectory() as work:
        plain, rounded = Path(work) / "plain.onnx", Path(work) / "rounded.onnx"
        # Stored halves become floats and shapes constants.
        session(source, graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
                optimized_model_filepath=str(plain))
        convs = [n.name for n in onnx.load(plain).graph.node if n.op_type == "Conv"]
        if len(convs) <= exact:
            raise SystemExit(f"{source}: {len(convs)} convolutions are too few to be worth rounding")
        quantize_static(plain, rounded, Shown(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                        op_types_to_quantize=["Conv", "Clip", "Add"], nodes_to_exclude=convs[:exact])
        before, after = session(plain), session(rounded)
        cosines = []
        for batch in batches(photographs[1::2], spec):
            a, b = (s.run(["embedding"], {"pixels": batch})[0] for s in (before, after))
            cosines += list((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
        mean, least = float(np.mean(cosines)), float(np.min(cosines))
        if mean < 0.99:
            raise SystemExit(f"{source}: embeddings would fall to a mean cosine of {mean:.4f}: not rounded")
        source.write_bytes(rounded.read_bytes())
    manifest.pop("files")
    seal(folder, manifest)
    return mean, least
