"""Parity layer by layer: the file's integer products against the fake-quantised layers they came from.

Every quantised product of a file is cut out (`cut.py`), given the input that the trained model's layer gets,
executed by the engine, and compared. 1 LSB is the step of an 8-bit grid over the layer's calibrated output
range, (high - low) / 255, or the step of the output's own grid where it has one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import SamModel

from adaloraqat.bundle.engine import onnxruntime_session, openvino_model
from adaloraqat.errors import BundleError
from adaloraqat.export.cut import products_only, quantized_products
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize import FakeQuantized, fake_quantized_layers, fake_quantized_products
from adaloraqat.quantize.fake_product import FakeQuantizedProduct

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class LayerParity:
    """How far an engine's quantised layers are from the trained model's, each given the same input.

    Attributes:
        errors: {layer: largest absolute difference, in LSB of the layer's output}.
    """

    errors: dict[str, float]

    @property
    def worst_layer(self) -> str | None:
        """Name of the layer that differs most; None without quantised layers."""
        return max(self.errors, key=self.errors.__getitem__) if self.errors else None

    def to_dict(self) -> dict[str, Any]:
        """Return the summary that a bundle keeps."""
        worst = self.worst_layer
        return {
            "layers": len(self.errors),
            "worst_layer": worst,
            "worst_lsb": None if worst is None else self.errors[worst],
        }


def layer_parity(
    model: SamModel,
    files: list[Path],
    image: Tensor,
    box: Tensor,
    engine: str = "onnxruntime",
    threads: int | None = None,
) -> LayerParity:
    """Compare every quantised layer of `files` with its counterpart in the trained, fake-quantised `model`.

    Args:
        model: after `prepare` and `calibrate`.
        files: encoder.onnx and decoder.onnx as exported from it.
        image: (1, C, S, S) normalised film, whose activations are fed to the layers.
        box: (1, 1, 4) in model pixels.
        engine: "onnxruntime" or "openvino".
        threads: CPU threads of the engine; None leaves it to the engine.

    Raises:
        BundleError: the engine is unknown or not installed, or a layer of the files is not in the model.
    """
    inputs = recorded_inputs(model, image, box)
    layers: dict[str, FakeQuantized | FakeQuantizedProduct] = {
        **fake_quantized_layers(model),
        **fake_quantized_products(model),
    }
    errors: dict[str, float] = {}
    for file in files:
        for name, found in _executed(file, inputs, engine, threads).items():
            errors[name] = _difference(layers[name], inputs[name], found)
    return LayerParity(errors)


@torch.no_grad()
def recorded_inputs(model: SamModel, image: Tensor, box: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Return what each fake-quantised layer multiplies for one film, by its name.

    Rows (rows, in) of a layer that is one matrix product, (1, C, h, w) of a convolution, and two tensors
    (..., m, k) and (..., k, n) of a product of activations.
    """
    seen: dict[str, tuple[Tensor, ...]] = {}

    def recorder(name: str) -> Any:
        def record(layer: FakeQuantized | FakeQuantizedProduct, arguments: tuple[Tensor, ...]) -> None:
            seen[name] = _multiplied(layer, arguments)

        return record

    layers: dict[str, nn.Module] = {**fake_quantized_layers(model), **fake_quantized_products(model)}
    handles = [layer.register_forward_pre_hook(recorder(name)) for name, layer in layers.items()]
    try:
        decode(model, encode(model, image), box)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _multiplied(
    layer: FakeQuantized | FakeQuantizedProduct, arguments: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    if isinstance(layer, FakeQuantizedProduct):
        bound = float(layer.right_quantizer.scale) * layer.right_quantizer.limit
        return arguments[0].clone(), arguments[1].clamp(-bound, bound)  # the file clips too
    gathered = layer.layout.gather(arguments[0])
    if layer.precision.outputs:
        return (gathered.clone(),)
    return (gathered.reshape(-1, gathered.shape[-1]).clone(),)


def _executed(
    file: Path, inputs: Mapping[str, tuple[Tensor, ...]], engine: str, threads: int | None
) -> dict[str, FloatArray]:
    model = onnx.load(str(file))
    products = quantized_products(model)
    if not products:
        return {}
    missing = sorted({product.name for product in products} - set(inputs))
    if missing:
        raise BundleError(f"{file.name} holds a layer {missing[0]!r} that the model lacks: export it again.")
    feeds = {
        source: tensor.numpy()
        for product in products
        for source, tensor in zip(product.inputs, inputs[product.name], strict=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file.name)
        onnx.save(products_only(model, products, {name: feed.shape for name, feed in feeds.items()}), path)
        outputs = _run(path, feeds, [product.output for product in products], engine, threads)
    return {product.name: found for product, found in zip(products, outputs, strict=True)}


def _run(
    path: Path, feeds: Mapping[str, FloatArray], outputs: list[str], engine: str, threads: int | None
) -> list[FloatArray]:
    if engine == "onnxruntime":
        found: list[FloatArray] = onnxruntime_session(path, threads).run(outputs, dict(feeds))
        return found
    if engine == "openvino":
        results = openvino_model(path, threads)(dict(feeds))
        return [np.array(results[name]) for name in outputs]
    raise BundleError(f"There is no engine called {engine!r}: choose onnxruntime or openvino.")


@torch.no_grad()
def _difference(
    layer: FakeQuantized | FakeQuantizedProduct, inputs: tuple[Tensor, ...], found: FloatArray
) -> float:
    expected = layer.product(*inputs) if isinstance(layer, FakeQuantized) else layer(*inputs)
    return float(np.abs(expected.numpy() - found).max()) / layer.output_step()
