"""A frozen convolution answers and passes gradients on like any other, and keeps no input."""

import pytest
import torch
from torch import Tensor

from adaloraqat.models.tiny_vit import ConvNorm

SHAPES = [(6, 8, 1, 1, 1), (8, 8, 3, 2, 8), (6, 4, 3, 1, 1), (8, 8, 3, 1, 8)]


def layer(shape: tuple[int, ...]) -> ConvNorm:
    torch.manual_seed(0)
    made = ConvNorm(*shape)
    with torch.no_grad():
        for value in (*made.bn.parameters(), *made.bn.buffers()):
            if value.is_floating_point():
                value.uniform_(0.5, 1.5)
    return made.requires_grad_(False)


def passed(made: ConvNorm, inputs: Tensor) -> tuple[Tensor, Tensor]:
    inputs = inputs.clone().requires_grad_()
    output = made(inputs)
    (output.sin().sum()).backward()
    assert inputs.grad is not None
    return output.detach(), inputs.grad


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_output_and_gradient_are_those_of_convolution_and_normalisation(
    shape: tuple[int, ...], training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = layer(shape).train(training)
    inputs = torch.randn(2, shape[0], 9, 9)
    frozen = passed(made, inputs)
    monkeypatch.setattr(ConvNorm, "_is_passed_through", lambda _: False)
    for found, plain in zip(frozen, passed(made, inputs), strict=True):
        torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)


def test_the_gradient_is_that_of_small_differences() -> None:
    made = layer((4, 4, 3, 2, 2)).double()
    inputs = torch.randn(1, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, inputs)


def test_nothing_as_large_as_the_film_is_kept() -> None:
    kept: list[int] = []

    def count(value: Tensor) -> Tensor:
        kept.append(value.numel())
        return value

    inputs = torch.randn(2, 8, 32, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
        layer((8, 8, 3, 1, 8))(inputs)
    assert sum(kept) == 8 * 9  # the weight of a convolution channel by channel


def test_half_precision_comes_back_as_it_went_in() -> None:
    made = layer((6, 4, 3, 1, 1))
    inputs = torch.randn(2, 6, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = made(inputs)
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert inputs.grad is not None
    assert inputs.grad.dtype == torch.float32


def test_a_convolution_that_learns_gets_its_gradient() -> None:
    made = layer((6, 4, 3, 1, 1))
    made.c.weight.requires_grad_(True)
    made(torch.randn(2, 6, 9, 9)).sum().backward()
    assert made.c.weight.grad is not None
