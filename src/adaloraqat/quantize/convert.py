"""From the fake-quantised model to the integer model."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from adaloraqat.lowrank.adapted_qkv import AdaptedQKV
from adaloraqat.models.tiny_vit import ConvNorm
from adaloraqat.quantize import numerics
from adaloraqat.quantize.fake_product import FakeQuantizedProduct
from adaloraqat.quantize.fake_quantize import FakeQuantized
from adaloraqat.quantize.integer import IntegerProduct, IntegerTable, StoredLinear
from adaloraqat.quantize.integer_attention import IntegerMatMul
from adaloraqat.quantize.integer_convolution import IntegerConvolution
from adaloraqat.quantize.storage import HalfStorage, TableStorage, parameter, stored

Model = TypeVar("Model", bound=nn.Module)


def convert(model: Model) -> Model:
    """Return a copy of a prepared and calibrated model whose weights are what a file will hold.

    Fake-quantised layers become `IntegerProduct` or `IntegerConvolution`, products of activations
    `IntegerMatMul`, int8 tables `IntegerTable`, weights stored as int8 `StoredLinear`, 16-bit weights float16
    parameters; an `AdaptedQKV` that stays float is merged into one `nn.Linear`. A float model comes back with
    its adapters merged. The copy computes what `model` computes (in float arithmetic on the same grids) and
    is in eval mode.

    Raises:
        RuntimeError: a layer has no activation range: `calibrate` has not run.
    """
    converted = copy.deepcopy(model).eval()
    for module in converted.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    with torch.no_grad():
        for name, module in list(converted.named_modules()):
            replacement = _replacement(module)
            if replacement is not None:
                owner, _, attribute = name.rpartition(".")
                setattr(converted.get_submodule(owner), attribute, replacement.eval())
            else:
                _store_in_half(module)
    return converted.requires_grad_(False)


def _replacement(module: nn.Module) -> nn.Module | None:
    if isinstance(module, FakeQuantized):
        return IntegerConvolution(module) if module.precision.outputs else IntegerProduct(module)
    if isinstance(module, FakeQuantizedProduct):
        return IntegerMatMul(module)
    if isinstance(module, AdaptedQKV):
        return module.merged()
    storage = stored(module).get("weight")
    if isinstance(module, nn.Embedding) and isinstance(storage, TableStorage):
        table = parameter(module, "weight")
        return IntegerTable(table, storage.scale(table), storage.weight_limit)
    if isinstance(module, nn.Linear) and isinstance(storage, TableStorage):
        matrix = parameter(module, "weight")
        scale = storage.scale(matrix)
        integers = numerics.integer_weight(matrix, scale, storage.weight_limit, storage.divide)
        return StoredLinear(module, scale, integers)
    return None


def _store_in_half(module: nn.Module) -> None:
    for tensor, storage in stored(module).items():
        if isinstance(storage, HalfStorage):
            halved = parameter(module, tensor).half()
            module._parameters[tensor] = nn.Parameter(halved, requires_grad=False)
