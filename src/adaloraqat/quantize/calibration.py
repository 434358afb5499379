"""Calibration: run a few films through the float model, then freeze the activation ranges.

`in_precision` does all that an export needs for a precision that was not trained.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import SamModel

from adaloraqat.errors import RecipeError
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.fake_quantize import (
    ActivationQuantizer,
    RangeObserver,
)
from adaloraqat.quantize.policy import PrecisionPolicy
from adaloraqat.quantize.preparation import fake_quantized, is_prepared, prepare, restore


def calibrate(model: SamModel, batches: Iterable[tuple[Tensor, Tensor]]) -> SamModel:
    """Set every activation range of a prepared SAM from what flows through it in float.

    Args:
        model: a SAM after `prepare`; its mode (train or eval) is kept.
        batches: pairs of normalised images (B, C, S, S) and boxes (B, N, 4) in model pixels.

    Returns:
        the same model, with ranges in its buffers.

    Raises:
        RecipeError: there was no batch.
    """
    training = model.training
    model.eval()
    try:
        with observing(model), torch.no_grad():
            count = 0
            for images, boxes in batches:
                logits, _ = decode(model, encode(model, images), boxes)
                model.prompt_encoder.mask_embed(logits[:, :1])  # nothing else flows through the mask branch
                count += 1
            if not count:
                raise RecipeError("There is no film to calibrate on: give at least one.")
    finally:
        model.train(training)
    return model


@contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Let every fake-quantised layer compute in float and observe; on leaving without error, set the ranges.

    A layer that nothing flowed through gets the range of a dead channel.
    """
    quantizers = [module for module in model.modules() if isinstance(module, ActivationQuantizer)]
    for quantizer in quantizers:
        quantizer.observer = RangeObserver()
    try:
        with observing_outputs(model):
            yield
        for quantizer in quantizers:
            assert quantizer.observer is not None
            quantizer.set_range(*quantizer.observer.range())
    finally:
        for quantizer in quantizers:
            quantizer.observer = None


@contextmanager
def observing_outputs(model: nn.Module) -> Iterator[None]:
    """Observe the outputs of every fake-quantised layer; on leaving without error, note their ranges.

    These quantise nothing; they are the unit of parity. The ranges that quantise stay as they are.
    """
    layers = list(fake_quantized(model).values())
    for layer in layers:
        layer.output_observer = RangeObserver()
    try:
        yield
        for layer in layers:
            assert layer.output_observer is not None
            low, high = layer.output_observer.range()
            layer.output_range.copy_(torch.stack([low.to(layer.output_range), high.to(layer.output_range)]))
    finally:
        for layer in layers:
            layer.output_observer = None


def in_precision(
    model: SamModel,
    policy: PrecisionPolicy,
    trained: PrecisionPolicy | None,
    batches: Iterable[tuple[Tensor, Tensor]] = (),
) -> tuple[SamModel, bool]:
    """Return the model as `policy` deploys it, and whether that is post-training quantisation.

    Args:
        model: trained in float or fake-quantised; not changed.
        policy: the precision to export in.
        trained: the policy stage 2 trained with, or None.
        batches: calibration films, images (B, C, S, S) and boxes (B, N, 4); used only where `policy` is
            another than `trained`.

    Returns:
        a model ready for `convert`, and True where it never trained with the rounding it is exported with.

    Raises:
        RecipeError: the policy needs calibration and there is no film.
    """
    if trained == policy and is_prepared(model):
        return model, False
    other = restore(copy.deepcopy(model)).eval()
    prepare(other, policy)
    if policy.quantizes:
        calibrate(other, batches)
    return other, policy.quantizes
