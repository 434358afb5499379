"""Stage 2: precision policy, fake quantisation, calibration, and the integer model.

prepare -> calibrate -> (train) -> convert, with one numerics description (`numerics.py`) from training to the
file.
"""

from adaloraqat.quantize.calibrate import calibrate
from adaloraqat.quantize.convert import convert
from adaloraqat.quantize.counts import per_precision
from adaloraqat.quantize.fake_quantize import FakeQuantized
from adaloraqat.quantize.policy import POLICIES, PRECISIONS, Precision, PrecisionPolicy, policy_named
from adaloraqat.quantize.prepare import (
    fake_quantized_layers,
    fake_quantized_products,
    is_prepared,
    prepare,
    restore,
)

__all__ = [
    "POLICIES",
    "PRECISIONS",
    "FakeQuantized",
    "Precision",
    "PrecisionPolicy",
    "calibrate",
    "convert",
    "fake_quantized_layers",
    "fake_quantized_products",
    "is_prepared",
    "per_precision",
    "policy_named",
    "prepare",
    "restore",
]
