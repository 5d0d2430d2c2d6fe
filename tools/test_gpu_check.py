#!/usr/bin/env python3
"""What benches/gpu_check.py finds, compares and refuses. It needs no package: python3 tools/test_gpu_check.py"""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import sys
import tempfile
import unittest
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent.parent / "benches"))
import gpu_check
from gpu_check import MODELS, Gpu, Measured, compare, equal, faults, figures, find_gpu, opening, rate, table_rows

CLIPCAP, CLIPCAP_HALF, SMOLVLM, SMOLVLM_HALF = MODELS
RESULT = Measured(
    ids=[[1, 2, 3, 4], [5, 6, 7, 8]],
    logprobs=[-1.0, -2.0],
    embeddings=[[1.0, 0.0], [0.0, 1.0]],
    encode_rate=10.0,
    caption_rate=4.0,
    batch_alike=2,
    repeats=True,
)


class Finding(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def find(self, script: str | None) -> Gpu:
        """What is found where nvidia-smi does this; `None`: there is none."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        if script is not None:
            program = programs / "nvidia-smi"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(program.stat().st_mode | stat.S_IEXEC)
        with mock.patch.dict(os.environ, {"PATH": str(programs)}):
            return find_gpu(self.folder / "proc")

    def test_no_driver_is_no_gpu(self) -> None:
        found = self.find(None)
        self.assertEqual(found.name, "")
        self.assertIn("there is no nvidia-smi", found.absence)
        self.assertIn(f"{self.folder}/proc", found.absence)

    def test_a_driver_without_a_card_is_no_gpu(self) -> None:
        for script in ("exit 0", "echo 'No devices were found' >&2; exit 6", "echo 'some text'; exit 9"):
            found = self.find(script)
            self.assertEqual((found.name, "nvidia-smi lists none" in found.absence), ("", True), script)

    def test_the_first_card_counts(self) -> None:
        self.assertEqual(self.find("echo 'NVIDIA H100, 580.1'; echo 'other, 580.1'"), Gpu(name="NVIDIA H100, 580.1"))

    def test_the_driver_is_enough(self) -> None:
        card = self.folder / "proc/gpus/0000:01:00.0"
        card.mkdir(parents=True)
        (card / "information").write_text("Model: \t\t NVIDIA A10\nIRQ: 20\n")
        self.assertEqual(self.find(None).name, "NVIDIA A10")

    def test_without_a_gpu_the_check_is_skipped(self) -> None:
        out = io.StringIO()
        with (
            mock.patch.object(gpu_check, "find_gpu", return_value=Gpu(absence="none")),
            mock.patch.object(gpu_check, "check", side_effect=AssertionError("nothing may be built")),
            mock.patch.object(sys, "argv", ["gpu_check.py"]),
            redirect_stdout(out),
        ):
            self.assertEqual(gpu_check.main(), 0)
        self.assertEqual(out.getvalue(), "gpu-check: no NVIDIA GPU was found: none: skipped\n")

    def test_a_fault_is_a_failure(self) -> None:
        for found, code in ((["x"], 1), ([], 0)):
            with (
                mock.patch.object(gpu_check, "find_gpu", return_value=Gpu(name="a card")),
                mock.patch.object(gpu_check, "check", return_value=found),
                mock.patch.object(sys, "argv", ["gpu_check.py"]),
                mock.patch.object(sys, "stderr", io.StringIO()),
            ):
                self.assertEqual(gpu_check.main(), code)

    def test_libraries_are_found_in_packages(self) -> None:
        packages = [self.folder / "a", self.folder / "b"]
        for name in (
            "a/nvidia/cu13/lib/libcublas.so.13",
            "a/nvidia/cudnn/lib/libcudnn.so.9",
            "a/nvidia/headers/lib/x.h",
            "a/onnxruntime/capi/libonnxruntime.so.1.2.3",
            "b/onnxruntime/capi/libonnxruntime.so.1.2.4",
            "b/onnxruntime/capi/libonnxruntime_providers_cuda.so",
        ):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch()
        folders = [self.folder / "a/nvidia/cu13/lib", self.folder / "a/nvidia/cudnn/lib"]
        self.assertEqual(gpu_check.library_folders(packages), folders)
        # A package without the CUDA provider computes on the CPU.
        self.assertEqual(gpu_check.gpu_runtime(packages), packages[1] / "onnxruntime/capi/libonnxruntime.so.1.2.4")
        self.assertIsNone(gpu_check.gpu_runtime(packages[:1]))


class Comparing(unittest.TestCase):
    def test_captions_are_compared_token_by_token(self) -> None:
        self.assertEqual(equal([[1, 2], [3], []], [[1, 2], [4], []]), 2)
        self.assertEqual(opening([1, 2, 3, 4], [1, 2, 9, 4]), 0.5)
        self.assertEqual(opening([1, 2], [1, 2, 3, 4]), 0.5)
        self.assertEqual(opening([], []), 1.0)
        with self.assertRaises(ValueError):
            equal([[1]], [[1], [2]])

    def test_loading_cancels_out_of_a_rate(self) -> None:
        self.assertEqual(rate(32, 5.0, 7.0), 16.0)
        self.assertEqual(rate(32, 5.0, 4.9), 0.0)
        self.assertEqual(figures(4.0, 16.0), ("4 a second", "16 a second", "4 ×"))
        self.assertEqual(figures(4.0, 0.0), ("4 a second", "–", "–"))

    def test_the_same_result_has_no_fault(self) -> None:
        parity = compare(RESULT, RESULT)
        self.assertEqual((parity.equal, parity.captions, parity.opening, parity.cosine), (2, 2, 1.0, 1.0))
        self.assertEqual([faults(model, parity, RESULT) for model in MODELS], [[]] * 4)

    def test_another_result_has_faults(self) -> None:
        other = dataclasses.replace(RESULT, ids=[[1, 2, 9, 4], [5, 6, 7, 8]], embeddings=[[1.0, 0.1], [0.0, 1.0]])
        parity = compare(RESULT, other)
        self.assertEqual((parity.equal, parity.opening), (1, 0.75))
        self.assertAlmostEqual(parity.cosine, 0.995037, places=6)
        self.assertAlmostEqual(parity.apart, 0.1)
        self.assertEqual(len(faults(CLIPCAP, parity, other)), 2)
        # Captions of 16-bit floats may part earlier.
        self.assertEqual(len(faults(CLIPCAP_HALF, parity, other)), 1)

    def test_a_run_must_repeat(self) -> None:
        found = faults(SMOLVLM, compare(RESULT, RESULT), dataclasses.replace(RESULT, repeats=False))
        self.assertEqual(found, ["SmolVLM-256M fp32: a second run gave other bytes"])

    def test_nothing_is_no_result(self) -> None:
        none = Measured([], [], [], 0.0, 0.0, 0, True)
        self.assertIn("no captions", faults(SMOLVLM, compare(none, none), none)[0])

    def test_only_captions_that_are_equal_have_comparable_scores(self) -> None:
        other = dataclasses.replace(RESULT, ids=[[1, 2, 3, 4], [5, 6, 7, 9]], logprobs=[-1.25, -9.0])
        self.assertEqual(compare(RESULT, other).logprob, 0.25)

    def test_rows_fit_the_table(self) -> None:
        for model, count in ((CLIPCAP, 2), (SMOLVLM_HALF, 1)):
            rows = table_rows(model, RESULT, RESULT, compare(RESULT, RESULT))
            self.assertEqual(len(rows), count)
            for row in rows:
                self.assertEqual(row.count(" | "), len(gpu_check.HEADER) - 1, row)


if __name__ == "__main__":
    unittest.main()
