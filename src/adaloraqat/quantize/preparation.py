"""From a float model to its fake-quantised form and back, in place."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank.adalora_layer import AdaptedQKV
from adaloraqat.models.attention import MatrixProduct, fuse_again
from adaloraqat.models.tiny_vit import ConvNorm
from adaloraqat.quantize.fake_quantize import (
    FakeQuantized,
    FakeQuantizedConv2d,
    FakeQuantizedConvTranspose2d,
    FakeQuantizedLinear,
    FakeQuantizedProduct,
    FakeQuantizedQKV,
)
from adaloraqat.quantize.layout import convolution_of, layout_of
from adaloraqat.quantize.policy import Precision, PrecisionPolicy
from adaloraqat.quantize.storage import (
    HalfStorage,
    IntegerStorage,
    Storage,
    store,
    stored,
    unstore,
    write_out_stored,
)

Model = TypeVar("Model", bound=nn.Module)

_COUNTERPARTS: tuple[tuple[type[nn.Module], type[FakeQuantized]], ...] = (
    (AdaptedQKV, FakeQuantizedQKV),
    (nn.Linear, FakeQuantizedLinear),
    (nn.Conv2d, FakeQuantizedConv2d),
    (nn.ConvTranspose2d, FakeQuantizedConvTranspose2d),
)


def prepare(model: Model, policy: PrecisionPolicy) -> Model:
    """Make `model` compute as `policy` will deploy it; its parameters stay the same objects.

    Batch norms are folded into their convolutions first, for good: training continues with folded weights. So
    are adapters of a matrix that is only stored in integers.
    Layers get a fake-quantised subclass of their own type under the same name; tables and 16-bit weights are
    read through their storage. Run `calibrate` before the first forward pass.

    Args:
        model: a float model, changed in place. An `AdaptedQKV` whose policy is float32 stays as it is.
        policy: which module gets which precision.

    Returns:
        the same model.

    Raises:
        RecipeError: the model is prepared already, or the policy asks for INT8 where no integer product
            exists (a convolution whose stride differs from its kernel and that is not to be an
            "int8 convolution").
    """
    if is_prepared(model):
        raise RecipeError(
            "The model is fake-quantised already: restore() it before another policy is applied."
        )
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    for name, precision in policy.describe(model).items():
        _apply(model, name, policy.precision(precision), policy.weight_limit)
    return model


def is_prepared(model: nn.Module) -> bool:
    """Whether `prepare` has changed any layer of `model`."""
    quantized = (FakeQuantized, FakeQuantizedProduct)
    return any(isinstance(module, quantized) or stored(module) for module in model.modules())


def restore(model: Model) -> Model:
    """Undo `prepare` in place: plain layers with the same, unrounded parameters; ranges are forgotten.

    Batch norms stay folded.
    """
    for name, module in list(model.named_modules()):
        owner, attribute = _owner(model, name)
        if isinstance(module, FakeQuantized):
            setattr(owner, attribute, _plain(module))
        elif isinstance(module, FakeQuantizedProduct):
            setattr(owner, attribute, MatrixProduct())
        elif stored(module):
            unstore(module)
    for module in list(model.modules()):
        if "fused_class" in vars(module):
            fuse_again(module)
    return model


def fake_quantized_layers(model: nn.Module) -> dict[str, FakeQuantized]:
    """Return {name: layer} for every fake-quantised layer, in model order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, FakeQuantized)}


def fake_quantized_products(model: nn.Module) -> dict[str, FakeQuantizedProduct]:
    """Return {name: product} for every fake-quantised product of two activations, in model order."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, FakeQuantizedProduct)
    }


def fake_quantized(model: nn.Module) -> dict[str, FakeQuantized | FakeQuantizedProduct]:
    """Return {name: layer or product} for everything that `prepare` made round its operands, layers first."""
    return {**fake_quantized_layers(model), **fake_quantized_products(model)}


def _apply(model: nn.Module, name: str, precision: Precision, weight_limit: int) -> None:
    if precision.weights == "float32":
        return
    owner, attribute = _owner(model, name)
    if precision.product:
        write_out_stored(owner)
        setattr(owner, attribute, FakeQuantizedProduct(weight_limit).to(next(owner.parameters()).device))
        return
    module = getattr(owner, attribute)
    if isinstance(module, AdaptedQKV) and not precision.activations:
        module = module.merged()  # what is stored is one weight; there is no rounding to train through
        setattr(owner, attribute, module)
    if not isinstance(module, nn.Module):  # a position table, a bare parameter of its owner
        store(owner, attribute, _storage(precision, weight_limit, module))
    elif precision.weights == "float16" or not precision.activations or isinstance(module, nn.Embedding):
        store(module, "weight", _storage(precision, weight_limit, module))
    else:
        setattr(owner, attribute, _fake_quantized(module, name, precision, weight_limit))


def _storage(precision: Precision, weight_limit: int, owner: object) -> Storage:
    if precision.weights == "float16":
        return HalfStorage()
    channels = 1 if isinstance(owner, nn.ConvTranspose2d) else 0
    return IntegerStorage(weight_limit, precision.divide, channels if precision.per_channel else None)


def _fake_quantized(layer: nn.Module, name: str, precision: Precision, weight_limit: int) -> FakeQuantized:
    layout = convolution_of(layer) if precision.outputs else layout_of(layer)
    for plain, counterpart in _COUNTERPARTS:
        if isinstance(layer, plain) and layout is not None:
            quantized = counterpart.__new__(counterpart)
            quantized.__dict__.update(_shallow_state(layer))
            quantized.start_quantizing(layout, precision, weight_limit)
            return quantized
    raise RecipeError(
        f"The policy asks for INT8 in {name}, which is not a matrix product over patches: give it 'int8 "
        "convolution', 'float16 storage' or 'float32'."
    )


def _plain(layer: FakeQuantized) -> nn.Module:
    plain_type = next(plain for plain, counterpart in _COUNTERPARTS if isinstance(layer, counterpart))
    plain = plain_type.__new__(plain_type)
    state = _shallow_state(layer)
    state["_modules"].pop("input_quantizer")
    state["_modules"].pop("output_quantizer", None)
    state["_buffers"].pop("output_range")
    for attribute in ("layout", "precision", "weight_limit", "output_observer", "output_quantizer"):
        state.pop(attribute, None)
    plain.__dict__.update(state)
    return plain


def _shallow_state(layer: nn.Module) -> dict[str, Any]:
    """Copy the instance dictionary one level deep: the same parameters, but containers that can differ."""
    return {key: value.copy() if isinstance(value, dict) else value for key, value in vars(layer).items()}


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute
