"""Parity end to end: the masks of a bundle against the masks of the trained model it came from.

Rounding to integers is discontinuous, so two correct implementations differ in a few pixels at the border of
a mask. The noise floor says how many to expect: the trained model against itself, on a film changed by 1e-6.
`parity_shortfalls` says where an engine is further from the trained model than is allowed.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import SamModel

from adaloraqat.bundle import Segmenter, load_bundle
from adaloraqat.bundle.engine import FloatArray
from adaloraqat.errors import BundleError
from adaloraqat.measure.overlap import Mask, dice
from adaloraqat.radiograph import Box, Film
from adaloraqat.training.run import TorchEngine

NOISE = 1e-6
"""Amplitude of the change of the normalised film that gives the noise floor."""

LEAST_SIGNIFICANT_BITS = 1.01
"""Of a layer's output; a hundredth is left to the floating point around the integers."""

EQUAL_PIXELS = 0.998
DICE = 0.995
"""Means over the films, trained model against engine."""

_ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
_PATHS = {"true_box": "with the true box", "no_box": "without a box"}


@dataclass(frozen=True)
class Agreement:
    """Two masks of one film: equal pixels, a fraction in [0, 1], and Dice, both on the original grid."""

    equal: float
    dice: float


def installed_engines() -> list[str]:
    """Return the engines that can run here: ONNX Runtime, and OpenVINO where installed."""
    return ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def mask_parity(
    model: SamModel,
    folder: str | os.PathLike[str],
    films: Sequence[Film],
    boxes: Sequence[Box | None],
    names: Sequence[str] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Segment films with the trained model and with its bundle, and compare the masks.

    Args:
        model: the trained SAM, fake-quantised or float, that the bundle was exported from.
        folder: the bundle.
        films: films to compare on.
        boxes: one for each film, on its grid; None takes the bundle's whole path without a box.
        names: what the worst film is called in the result; by default its place, from 0.
        threads: CPU threads of the engines; None leaves it to them.

    Returns:
        {"films": n, "noise_floor": summary, engine: summary, ...}, where a summary holds `equal_pixels` and
        `dice` (means over films) and `worst` (film, equal_pixels, dice of the film with the lowest Dice).

    Raises:
        BundleError: the bundle cannot be used, or there is no film to compare on.
        FilmError: a box lies outside its film.
    """
    return mask_parities(model, folder, films, {"": boxes}, names, threads)[""]


def mask_parities(
    model: SamModel,
    folder: str | os.PathLike[str],
    films: Sequence[Film],
    paths: Mapping[str, Sequence[Box | None]],
    names: Sequence[str] | None = None,
    threads: int | None = None,
) -> dict[str, dict[str, Any]]:
    """As `mask_parity`, for the boxes of each of `paths`; every engine is loaded once for all of them."""
    if not films:
        raise BundleError("Parity cannot be measured without a film: give at least one.")
    called = list(names) if names is not None else [str(place) for place in range(len(films))]
    bundle = load_bundle(folder)
    trained = Segmenter(bundle, TorchEngine(model))
    others = {"noise_floor": Segmenter(bundle, _ShakenEngine(model))}
    others |= {name: Segmenter.load(folder, name, threads) for name in installed_engines()}
    result: dict[str, dict[str, Any]] = {}
    for path, boxes in paths.items():
        expected = _masks(trained, films, boxes)
        result[path] = {"films": len(films)}
        for name, segmenter in others.items():
            found = _masks(segmenter, films, boxes)
            pairs = [agreement(one, other) for one, other in zip(expected, found, strict=True)]
            result[path][name] = _summary(pairs, called)
    return result


def agreement(one: Mask, other: Mask) -> Agreement:
    """Compare two (H, W) bool masks; two empty masks agree with Dice 1."""
    return Agreement(equal=float((one == other).mean()), dice=dice(one, other))


class _ShakenEngine(TorchEngine):
    """The trained model on an input changed by `NOISE`, up or down, by a fixed seed."""

    def encode(self, image: FloatArray) -> FloatArray:
        signs = np.random.default_rng(0).choice(np.array([-NOISE, NOISE], np.float32), image.shape)
        return super().encode(image + signs)


def _masks(segmenter: Segmenter, films: Sequence[Film], boxes: Sequence[Box | None]) -> list[Mask]:
    return [segmenter.segment(film, box).mask for film, box in zip(films, boxes, strict=True)]


def _summary(pairs: list[Agreement], names: list[str]) -> dict[str, Any]:
    worst = min(range(len(pairs)), key=lambda place: pairs[place].dice)
    return {
        "equal_pixels": float(np.mean([pair.equal for pair in pairs])),
        "dice": float(np.mean([pair.dice for pair in pairs])),
        "worst": {
            "film": names[worst],
            "equal_pixels": pairs[worst].equal,
            "dice": pairs[worst].dice,
        },
    }


def parity_shortfalls(parity: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each engine and path that is further from the trained model than allowed.

    Args:
        parity: as `measure_parity` gives it and a bundle keeps it; empty or not measured gives nothing.
    """
    return [*_layer_shortfalls(parity.get("layers", {})), *_mask_shortfalls(parity)]


def _layer_shortfalls(layers: Mapping[str, Any]) -> Iterator[str]:
    for engine, found in layers.items():
        worst = found["worst_lsb"]
        if worst is not None and worst > LEAST_SIGNIFICANT_BITS:
            yield (
                f"parity: {_ENGINES[engine]} is {worst:.1f} LSB from the trained model in "
                f"{found['worst_layer']}; 1 is rounding, more is an error of the engine, the CPU or the "
                "weight range."
            )


def _mask_shortfalls(parity: Mapping[str, Any]) -> Iterator[str]:
    for path, words in _PATHS.items():
        for engine, name in _ENGINES.items():
            found = parity.get(path, {}).get(engine)
            if found and (found["equal_pixels"] < EQUAL_PIXELS or found["dice"] < DICE):
                floor = parity[path]["noise_floor"]
                yield (
                    f"parity: masks of {name} {words} share {found['equal_pixels']:.2%} of their pixels "
                    f"and Dice {found['dice']:.4f} with the trained model's, below {EQUAL_PIXELS:.1%} or "
                    f"{DICE:g} (noise floor {floor['equal_pixels']:.2%}); check the worst film, named in "
                    "bundle.json."
                )
