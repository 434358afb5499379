"""Parity that falls short is said in words, not only written down."""

import copy

import pytest

from adaloraqat.export.mask_parity import parity_shortfalls

SUMMARY = {"equal_pixels": 0.9990, "dice": 0.998, "worst": {"film": "a", "equal_pixels": 0.9, "dice": 0.9}}
GOOD = {
    "measured": True,
    "layers": {"onnxruntime": {"layers": 2, "worst_layer": "neck", "worst_lsb": 1.000002}},
    "no_box": {"films": 3, "noise_floor": SUMMARY, "onnxruntime": {**SUMMARY}, "openvino": {**SUMMARY}},
}


def test_what_is_within_the_limits_is_not_spoken_of() -> None:
    assert parity_shortfalls(GOOD) == []
    assert parity_shortfalls({"measured": False}) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            ("layers", "onnxruntime", "worst_lsb"),
            49.4,
            "ONNX Runtime is 49.4 LSB from the trained model in neck",
        ),
        (("no_box", "openvino", "equal_pixels"), 0.9979, "OpenVINO without a box share 99.79%"),
        (("no_box", "onnxruntime", "dice"), 0.9949, "Dice 0.9949"),
    ],
)
def test_each_limit(path: tuple[str, str, str], value: float, says: str) -> None:
    found = copy.deepcopy(GOOD)
    found[path[0]][path[1]][path[2]] = value  # type: ignore[index]
    (sentence,) = parity_shortfalls(found)
    assert says in sentence
