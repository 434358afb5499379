"""Run ONNX files of one input `x` and one output `y` in OpenVINO, on ones; print the first answer of each.

Run by test_saturation.py in a process of its own, because the instruction set is chosen once a process.
    python saturation.py FEATURES FILE...
"""

import json
import sys
from pathlib import Path

import numpy as np

from adaloraqat.bundle.runtimes import openvino_model

if __name__ == "__main__":
    ones = np.ones((2, int(sys.argv[1])), np.float32)
    print(json.dumps([float(openvino_model(Path(file), 1)({"x": ones})["y"][0, 0]) for file in sys.argv[2:]]))
