"""The worst case of 8-bit products: 256 inputs of 255 times weights at their limit.

CPUs without VNNI add pairs of u8 x s8 products in 16 bits, saturating. This CPU may have VNNI; oneDNN, which
OpenVINO computes with, can be told to do without (ONEDNN_MAX_CPU_ISA), so the trap can be seen anywhere. ONNX
Runtime has no such switch: there the test is as hard as the CPU it runs on.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from adaloraqat.bundle.runtimes import onnxruntime_session
from adaloraqat.export.onnx_export import write_onnx
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import PrecisionPolicy
from adaloraqat.quantize.preparation import prepare

FEATURES = 256
EXACT = 256.0  # 256 products of 1 and 1
HALF_LOST = EXACT * 32767 / 64770  # each pair 255 * 127 * 2 = 64770 becomes 32767


def _layer(weight_range: str, folder: Path) -> Path:
    model = nn.ModuleDict({"layer": nn.Linear(FEATURES, 8)})
    nn.init.ones_(model["layer"].weight)
    nn.init.zeros_(model["layer"].bias)
    prepare(model, PrecisionPolicy("worst case", (("layer", "int8 per channel"),), weight_range))
    model["layer"].input_quantizer.set_range(torch.tensor(0.0), torch.tensor(1.0))
    path = folder / f"{weight_range}.onnx"
    write_onnx(convert(model)["layer"], (torch.ones(2, FEATURES),), path, ["x"], ["y"])
    return path


def _openvino(files: list[Path], **environment: str) -> list[float]:
    script = Path(__file__).with_name("saturation.py")
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(FEATURES), *map(str, files)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="16-bit pair sums are an x86 instruction")
def test_portable_weights_survive_where_full_ones_saturate(tmp_path):
    files = [_layer("portable", tmp_path), _layer("full", tmp_path)]
    portable, full = _openvino(files, ONEDNN_MAX_CPU_ISA="AVX2")
    assert portable == pytest.approx(EXACT, rel=1e-5)
    assert full == pytest.approx(HALF_LOST, rel=1e-3)  # half the answer is gone, and nobody is told


def test_portable_weights_are_exact_in_onnx_runtime(tmp_path):
    ones = np.ones((2, FEATURES), np.float32)
    [answer] = onnxruntime_session(_layer("portable", tmp_path), 1).run(["y"], {"x": ones})
    assert answer == pytest.approx(EXACT, rel=1e-5)


@pytest.mark.parametrize(("limit", "expected"), [(63, EXACT), (127, HALF_LOST)])
def test_the_arithmetic_of_a_cpu_without_vnni(limit, expected):
    """vpmaddubsw by hand: pairs of products are added and saturate at 16 bits, then 32 bits take over."""
    products = np.full(256, 255 * limit, np.int64).reshape(-1, 2)
    pairs = np.clip(products.sum(axis=1), -(2**15), 2**15 - 1)
    assert pairs.sum() / (255 * limit) == pytest.approx(expected, rel=1e-6)
