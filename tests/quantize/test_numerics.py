import numpy as np
import pytest
import torch
from torch.testing import assert_close

from adaloraqat.quantize import numerics


def test_weight_scales_by_hand():
    weight = torch.tensor([[0.63, -0.1], [-1.26, 0.5]])
    assert_close(numerics.weight_scale(weight, 63, per_channel=False), torch.tensor(0.02))
    assert_close(numerics.weight_scale(weight, 63, per_channel=True), torch.tensor([0.01, 0.02]))
    assert_close(numerics.weight_scale(weight, 127, per_channel=True), torch.tensor([0.63, 1.26]) / 127)


def test_integer_weights_by_hand():
    weight = torch.tensor([[0.63, -0.1], [-1.26, 0.5]])
    scale = torch.tensor([0.01, 0.02])
    assert numerics.integer_weight(weight, scale, 63).tolist() == [[63, -10], [-63, 25]]


@pytest.mark.parametrize("limit", [63, 127])
@pytest.mark.parametrize("per_channel", [True, False])
def test_rounding_agrees_with_an_independent_one(limit, per_channel):
    weight = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    scale = numerics.weight_scale(weight, limit, per_channel)
    array = weight.numpy().astype(np.float64)
    largest = np.abs(array).max(axis=1, keepdims=True) if per_channel else np.abs(array).max()
    expected = np.rint(array / (largest / limit))
    assert np.array_equal(numerics.integer_weight(weight, scale, limit).numpy(), expected)
    fake = numerics.fake_quantize_weight(weight, scale, limit)
    np.testing.assert_allclose(fake.numpy(), expected * largest / limit, rtol=1e-5)


def test_rounding_by_division_is_exact_and_the_other_is_not():
    """Brevitas divides; a reciprocal that was rounded itself sends some halves the other way."""
    scale = torch.tensor(0.7) / 127
    halves = (torch.arange(-126, 126) + 0.5) * scale  # a float more or less lies on the other side
    infinity = torch.tensor(torch.inf)
    weight = torch.stack([halves, halves.nextafter(infinity), halves.nextafter(-infinity)])
    exact = np.rint(weight.numpy() / np.float32(scale))  # float32 by float32
    divided = numerics.integer_weight(weight, scale, 127, divide=True).numpy()
    assert np.array_equal(divided, exact)
    fake = numerics.fake_quantize_weight(weight, scale, 127, divide=True)
    assert torch.equal(fake, torch.from_numpy(exact) * scale)
    by_reciprocal = numerics.integer_weight(weight, scale, 127).numpy()
    assert (by_reciprocal != exact).any()
    assert np.abs(by_reciprocal - exact).max() == 1
    assert not numerics.integer_weight(torch.zeros(2, 2), torch.tensor(1.0), 127, divide=True).any()


def test_the_gradient_passes_rounding_by_division():
    weight = torch.tensor([[0.3, -1.0]], requires_grad=True)
    numerics.fake_quantize_weight(weight, torch.tensor(1 / 127), 127, divide=True).sum().backward()
    assert weight.grad.tolist() == [[1.0, 1.0]]


def test_activation_grid_by_hand():
    scale, zero_point = numerics.activation_parameters(torch.tensor(-0.5), torch.tensor(2.05))
    assert_close(scale, torch.tensor(0.01))
    assert int(zero_point) == 50
    values = torch.tensor([-9.0, -0.5, 0.0, 0.014, 2.05, 9.0])
    expected = torch.tensor([-0.5, -0.5, 0.0, 0.01, 2.05, 2.05])
    assert_close(numerics.fake_quantize_activation(values, scale, zero_point), expected)


@pytest.mark.parametrize(("low", "zero_point"), [(-0.504, 50), (-0.506, 51), (-0.004, 0), (-0.006, 1)])
def test_the_zero_point_is_the_nearest_integer(low, zero_point):
    """A step of 0.01: 50.4 is 50 and 50.6 is 51, so the grid misses neither end by more than half a step."""
    high = low + 2.55
    scale, found = numerics.activation_parameters(torch.tensor(low), torch.tensor(high))
    assert int(found) == zero_point
    ends = numerics.fake_quantize_activation(torch.tensor([low, high]), scale, found)
    assert (ends - torch.tensor([low, high])).abs().max() <= 0.005 + 1e-6


def test_zero_is_always_exact():
    scale, zero_point = numerics.activation_parameters(torch.tensor(3.0), torch.tensor(7.0))
    assert int(zero_point) == 0
    assert_close(scale, torch.tensor(7 / 255))
    assert float(numerics.fake_quantize_activation(torch.zeros(1), scale, zero_point)) == 0


@pytest.mark.parametrize("value", [0.0, 1e-12, -1e-12])
def test_a_dead_activation_has_a_positive_scale(value):
    scale, zero_point = numerics.activation_parameters(torch.tensor(value), torch.tensor(value))
    assert scale > 0
    assert torch.isfinite(numerics.fake_quantize_activation(torch.tensor([value]), scale, zero_point)).all()


def test_dead_rows_and_dead_tensors_have_positive_scales():
    weight = torch.tensor([[0.0, 0.0], [0.63, 0.1]])
    scale = numerics.weight_scale(weight, 63, per_channel=True)
    assert (scale > 0).all()
    assert_close(numerics.fake_quantize_weight(weight, scale, 63)[0], torch.zeros(2))
    assert (numerics.weight_scale(torch.zeros(2, 2), 63, per_channel=True) > 0).all()
    assert numerics.weight_scale(torch.zeros(2, 2), 63, per_channel=False) > 0


def test_the_bias_of_a_dead_row_fits_int32():
    scale = torch.tensor([1e-9, 0.01])
    bias = torch.tensor([4.0, -4.0])
    input_scale = torch.tensor(0.001)
    scale = numerics.scale_with_room_for_bias(scale, bias, input_scale)
    integers = numerics.integer_bias(bias, input_scale * scale)
    assert_close(integers.float() * input_scale * scale, bias, rtol=1e-5, atol=0)
    assert_close(scale[1], torch.tensor(0.01))


def test_gradients_pass_straight_through():
    weight = torch.tensor([[0.31, -0.87]], requires_grad=True)
    numerics.fake_quantize_weight(weight, numerics.weight_scale(weight, 63, True), 63).sum().backward()
    assert_close(weight.grad, torch.ones(1, 2))
    bias = torch.tensor([0.123], requires_grad=True)
    rounded = numerics.fake_quantize_bias(bias, torch.tensor(0.1))
    assert_close(rounded, torch.tensor([0.1]))
    rounded.sum().backward()
    assert_close(bias.grad, torch.ones(1))
    values = torch.tensor([-1.0, 0.5, 9.0], requires_grad=True)
    scale, zero_point = numerics.activation_parameters(torch.tensor(0.0), torch.tensor(1.0))
    numerics.fake_quantize_activation(values, scale, zero_point).sum().backward()
    assert_close(values.grad, torch.tensor([0.0, 1.0, 0.0]))
