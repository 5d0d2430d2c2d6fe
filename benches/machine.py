"""What the benches of models share: running commands, and what this machine can do at most."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch


def shell(command: Sequence[object], cwd: Path | None = None) -> tuple[str, str]:
    """Runs a command; returns its standard output and standard error."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:6]))} …\n{done.stderr}")
    return done.stdout, done.stderr


def best_time(times: int, run: Callable[[], Any]) -> float:
    """The shortest of several runs, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def machine_speed(rows: int, inner: int, columns: int) -> dict[str, float]:
    """GFLOP/s of products of floats and of integers, each by the fastest library here, and GB/s of reading memory."""
    a, b = torch.randn(rows, inner), torch.randn(columns, inner)
    count = 2 * rows * inner * columns / 1e9
    big = torch.ones(64 << 20)
    integers = integer_product(inner, columns)
    levels = {"rows": np.random.randint(0, 255, (rows, inner)).astype(np.uint8)}
    return {
        "fp32": count / best_time(20, lambda: torch.nn.functional.linear(a, b)),
        "int8": count / best_time(20, lambda: integers.run(None, levels)),
        "bandwidth": big.numel() * 4 / best_time(10, big.sum) / 1e9,
    }


def integer_product(inner: int, columns: int) -> Any:
    """A session that multiplies rows of 8-bit numbers by a matrix of them."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.randint(-63, 64, (inner, columns)).astype(np.int8)
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.uint8(128), "zero")]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["rows", "weight", "zero"], ["sums"])],
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, ["n", inner])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, ["n", columns])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options)
