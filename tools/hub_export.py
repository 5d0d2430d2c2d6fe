"""What the makers of models in the hub's layout share: graphs without the exporter's notes, and random weights."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Json = dict[str, Any]


def exported(module: nn.Module, example: tuple[Tensor, ...], inputs: Json, outputs: Sequence[str]) -> Any:
    """Exports a module. `inputs` names the variable sizes of each input."""
    sizes: Any = tuple(inputs.values())
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        plain = len(parameters) - 1
        sizes = (*sizes[:plain], sizes[plain:])  # the parameter *past is one tuple
    program = torch.onnx.export(
        module.eval(),
        example,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=sizes,
        dynamo=True,
        opset_version=18,
        verbose=False,
    )
    if program is None:
        raise SystemExit("the exporter gave no graph")
    model = program.model_proto
    # Notes of the exporter are half of a small graph's size, and name folders of the machine.
    del model.graph.value_info[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for constant in model.graph.initializer:
        del constant.metadata_props[:]
        constant.doc_string = ""
    return model


def write_graph(model: Any, path: Path) -> None:
    import onnx

    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


@torch.no_grad()
def randomise(model: Any, seed: int) -> None:
    """Gives every weight a random value, biases and norms too: zeros and ones would hide that one of them is left out.

    The weights are large. Logits of small random weights are near ties, which no two runtimes break alike.
    """
    dice = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=dice)
        if weight.dim() > 1:
            fan = weight[0].numel()
            words = ("embed" in name and "patch" not in name) or "shared" in name
            weight.copy_(noise * (1.0 if words else fan**-0.5))
        else:
            weight.copy_(0.1 * noise + float("norm" in name and name.endswith("weight")))


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def quantize(folder: Path, precision: str) -> None:
    """Writes the graphs with weights of 8 bits beside the others, as transformers.js's scripts do."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kind = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}[precision]
    graphs = ("vision_encoder", "embed_tokens", "encoder_model", "decoder_model_merged")
    for path in (folder / "onnx" / f"{name}.onnx" for name in graphs):
        if path.exists():
            quantize_dynamic(path, path.with_stem(f"{path.stem}_{precision}"), weight_type=kind)
