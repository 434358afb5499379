"""How far an engine may be from the trained model, and the sentences that say where it is further."""

from collections.abc import Iterator, Mapping
from typing import Any

LEAST_SIGNIFICANT_BITS = 1.01
"""Of a layer's output; a hundredth is left to the floating point around the integers."""

EQUAL_PIXELS = 0.998
DICE = 0.995
"""Means over the films, trained model against engine."""

_ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
_PATHS = {"true_box": "with the true box", "no_box": "without a box"}


def parity_shortfalls(parity: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each engine and path that is further from the trained model than allowed.

    Args:
        parity: as `measure_parity` gives it and a bundle keeps it; empty or not measured gives nothing.
    """
    return [*_layers(parity.get("layers", {})), *_masks(parity)]


def _layers(layers: Mapping[str, Any]) -> Iterator[str]:
    for engine, found in layers.items():
        worst = found["worst_lsb"]
        if worst is not None and worst > LEAST_SIGNIFICANT_BITS:
            yield (
                f"parity: {_ENGINES[engine]} is {worst:.1f} LSB from the trained model in "
                f"{found['worst_layer']}; 1 is rounding, more is a fault of the engine, the CPU or the "
                "weight range."
            )


def _masks(parity: Mapping[str, Any]) -> Iterator[str]:
    for path, words in _PATHS.items():
        for engine, name in _ENGINES.items():
            found = parity.get(path, {}).get(engine)
            if found and (found["equal_pixels"] < EQUAL_PIXELS or found["dice"] < DICE):
                floor = parity[path]["noise_floor"]
                yield (
                    f"parity: masks of {name} {words} share {found['equal_pixels']:.2%} of their pixels "
                    f"and Dice {found['dice']:.4f} with the trained model's, below {EQUAL_PIXELS:.1%} or "
                    f"{DICE:g} (noise floor {floor['equal_pixels']:.2%}); look at the worst film, which "
                    "bundle.json names."
                )
