"""Quantisation errors against rounding by hand."""

import math

import numpy as np
import pytest
import torch
from transformers import SamModel

from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.error_analysis import LayerErrors, activation_errors, summarise, weight_errors
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import fake_quantized_layers, prepare

Batch = tuple[torch.Tensor, torch.Tensor]


def test_rounding_to_one_grid_is_uniform_over_a_step() -> None:
    step = 0.25
    before = np.linspace(-100, 100, 200_001, dtype=np.float32)  # far more places than grid points
    errors = LayerErrors("layer", before, (np.round(before / step) * step).astype(np.float32), step)
    found = summarise([errors])
    assert found.n == 200_001
    assert found.mean == pytest.approx(0, abs=1e-4)
    assert found.sd == pytest.approx(step / math.sqrt(12), rel=0.01)
    assert found.excess_kurtosis == pytest.approx(-1.2, abs=0.02)
    assert found.normality_p < 0.001


def test_a_spike_that_only_looks_gaussian_by_its_kurtosis_is_rejected_and_a_gaussian_is_not() -> None:
    draw = np.random.default_rng(0)
    zeros = np.zeros(100_000, np.float32)
    # 2 in 5 exactly 0, the others uniform: kurtosis 9 / (5 · 3/5) = 3, as a Gaussian's
    spiked = np.where(draw.random(100_000) < 0.4, 0, draw.uniform(-1, 1, 100_000)).astype(np.float32)
    found = summarise([LayerErrors("layer", zeros, spiked, 1.0)])
    assert found.excess_kurtosis == pytest.approx(0, abs=0.03)
    assert found.normality_p < 0.001
    gaussian = draw.normal(0, 1, 100_000).astype(np.float32)
    assert summarise([LayerErrors("layer", zeros, gaussian, 1.0)]).normality_p > 0.05


def test_decibels_by_hand() -> None:
    # signal (1 + 9) / 2 = 5, noise (0.01 + 0.01) / 2 = 0.01: 10 log10(500) = 26.99 dB
    layer = LayerErrors("layer", np.float32([1, 3]), np.float32([1.1, 2.9]), 0.2)
    assert layer.decibels == pytest.approx(26.99, abs=0.01)
    exact = LayerErrors("layer", np.float32([1]), np.float32([1]), 0.2)
    assert exact.decibels is None


def test_no_layer_is_no_summary() -> None:
    with pytest.raises(ValueError, match="no fake-quantised layer"):
        summarise([])


def test_errors_of_a_model_stay_within_half_a_step(sam: SamModel, batch: Batch) -> None:
    model = prepare(sam, POLICIES["int8"])
    calibrate(model, [batch])
    for layer in weight_errors(model, limit=500):
        assert len(layer.before) <= 500
        row_steps = fake_quantized_layers(model)[layer.name].product_terms()[2]
        assert np.abs(layer.after - layer.before).max() <= float(row_steps.max()) / 2 * 1.001, layer.name
    activations = activation_errors(model, [batch])
    assert {layer.name for layer in activations} <= set(fake_quantized_layers(model))
    for layer in activations:  # calibrated on these very films: next to nothing is clipped
        inside = np.abs(layer.after - layer.before) <= layer.step / 2 * 1.001
        assert inside.mean() > 0.95, layer.name


def test_the_same_draw_each_time_and_no_hook_stays(sam: SamModel, batch: Batch) -> None:
    model = prepare(sam, POLICIES["int8"])
    calibrate(model, [batch])
    first, second = (activation_errors(model, [batch], limit=50) for _ in range(2))
    assert all(np.array_equal(a.before, b.before) for a, b in zip(first, second, strict=True))
    hooks = [layer.input_quantizer._forward_hooks for layer in fake_quantized_layers(model).values()]
    assert not any(hooks)
