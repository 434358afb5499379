"""The noise floor, and that parity that falls short is said in words, not only written down."""

import copy

import numpy as np
import pytest

from adaloraqat.export.mask_parity import mask_parity, parity_shortfalls
from adaloraqat.radiograph import Box, Film

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


def test_the_noise_floor_is_the_trained_model_on_a_film_changed_up_and_down_by_a_millionth(exported) -> None:
    model, bundle = exported("int8")
    seen = []
    handle = model.vision_encoder.register_forward_pre_hook(lambda _, images: seen.append(images[0].numpy()))
    random = np.random.default_rng(3)
    films = [Film.from_array(random.random((80, 60), dtype=np.float32)) for _ in range(2)]
    try:
        mask_parity(model, bundle.folder, films, [Box(5, 5, 50, 70), None], threads=1)
    finally:
        handle.remove()
    assert len(seen) == 4  # each film as it is, then each film changed
    for plain, shaken in zip(seen[:2], seen[2:], strict=True):
        change = shaken.astype(np.float64) - plain
        assert np.abs(np.abs(change) - 1e-6).max() < 3e-7  # of float32 between 2 and 4
        assert abs((change > 0).mean() - 0.5) < 0.05
