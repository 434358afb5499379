"""Tensors that are stored in fewer bits than they compute with: float16 weights, int8 tables.

The tensor stays a float32 parameter under its own name (optimisers and state_dict see nothing new); whoever
reads the attribute gets the value that the file will hold. torch's own parametrizations would rename the
parameter, and break when a copied model is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from adaloraqat.models.attention import write_out
from adaloraqat.quantize import numerics


@dataclass(frozen=True)
class HalfStorage:
    """Stored as float16; arithmetic stays float32."""

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return the float32 value of what is stored; the gradient passes straight through."""
        return (tensor if tensor.dtype == torch.float16 else tensor.half()).float()


@dataclass(frozen=True)
class IntegerStorage:
    """A looked-up table (rows, D), or a weight of any shape, stored as int8 with symmetric scales.

    Attributes:
        weight_limit: largest |q|.
        divide: how it is rounded (`numerics.fake_quantize_weight`).
        axis: the output channels' axis, where each of them has a scale; None: one scale for the tensor.
    """

    weight_limit: int
    divide: bool = False
    axis: int | None = None

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return the tensor on its grid; the gradient passes straight through."""
        rows = self._rows(tensor)
        rounded = numerics.fake_quantize_weight(rows, self.scale(tensor), self.weight_limit, self.divide)
        return self._undo(rounded, tensor)

    def scale(self, tensor: Tensor) -> Tensor:
        """Return the scale, () or (channels,)."""
        return numerics.weight_scale(self._rows(tensor), self.weight_limit, self.axis is not None)

    def integers(self, tensor: Tensor) -> Tensor:
        """Return the int8 values, in the tensor's shape."""
        rows, scale = self._rows(tensor), self.scale(tensor)
        return self._undo(numerics.integer_weight(rows, scale, self.weight_limit, self.divide), tensor)

    def _rows(self, tensor: Tensor) -> Tensor:
        """Return the tensor as it is, or as (channels, the rest) where channels have scales of their own."""
        return tensor if self.axis is None else tensor.movedim(self.axis, 0).flatten(1)

    def _undo(self, rows: Tensor, tensor: Tensor) -> Tensor:
        if self.axis is None:
            return rows
        return rows.reshape(tensor.movedim(self.axis, 0).shape).movedim(0, self.axis)


Storage = HalfStorage | IntegerStorage


def store(module: nn.Module, tensor: str, storage: Storage) -> None:
    """Make `module.<tensor>` read through `storage`; the parameter itself stays what it is."""
    storages = {**stored(module), tensor: storage}
    base = _plain_type(type(module))
    module.__class__ = _reading_through(base, tuple(storages.items()))  # type: ignore[arg-type]


def stored(module: nn.Module) -> dict[str, Storage]:
    """Return {tensor: storage} of the tensors of `module` itself that read through a storage."""
    return dict(getattr(type(module), "_storages", ()))


def unstore(module: nn.Module) -> None:
    """Undo every `store` on `module` itself."""
    module.__class__ = _plain_type(type(module))


def write_out_stored(attention: nn.Module) -> None:
    """Write out an attention's products (`models.attention.write_out`); its stored tables stay stored.

    `write_out` changes the type of the attention, and a storage lies in the type.
    """
    storages = stored(attention)
    if storages:
        unstore(attention)
    write_out(attention)
    for tensor, storage in storages.items():
        store(attention, tensor, storage)


def parameter(module: nn.Module, tensor: str) -> nn.Parameter:
    """Return the parameter behind `module.<tensor>`, whether or not it reads through a storage."""
    found = module._parameters[tensor]
    assert found is not None
    return found


def _plain_type(kind: type[nn.Module]) -> type[nn.Module]:
    return kind.__bases__[0] if hasattr(kind, "_storages") else kind


@cache
def _reading_through(base: type[nn.Module], storages: tuple[tuple[str, Storage], ...]) -> type[nn.Module]:
    """Return the subclass of `base` whose named tensors read through their storages, one for all."""
    readers = {tensor: _reader(tensor, storage) for tensor, storage in storages}
    return type(f"Stored{base.__name__}", (base,), {"_storages": storages, **readers})


def _reader(tensor: str, storage: Storage) -> property:
    return property(lambda module: storage(parameter(module, tensor)))
