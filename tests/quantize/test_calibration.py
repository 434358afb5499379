import pytest
import torch

from adaloraqat.errors import RecipeError
from adaloraqat.models.sam import encode
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.fake_quantize import RangeObserver
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import fake_quantized_layers, prepare


def test_ranges_are_the_smallest_and_largest_input_of_the_float_model(sam, batch):
    seen = []
    handle = sam.vision_encoder.layers[1].mlp.lin1.register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    images, boxes = batch
    with torch.no_grad():
        encode(sam, images)
    handle.remove()
    low, high = float(seen[0].min()), float(seen[0].max())
    calibrate(prepare(sam, POLICIES["int8"]), [(images[:1], boxes[:1]), (images[1:], boxes[1:])])
    quantizer = sam.vision_encoder.layers[1].mlp.lin1.input_quantizer
    assert float(quantizer.scale) == pytest.approx((high - low) / 255, rel=1e-4)
    assert int(quantizer.zero_point) == pytest.approx(-low / ((high - low) / 255), abs=1)


def test_every_layer_that_films_flow_through_has_an_output_range(sam, batch):
    calibrate(prepare(sam, POLICIES["int8"]), [batch])
    for name, layer in fake_quantized_layers(sam).items():
        assert layer.output_range[0] < layer.output_range[1], name


def test_training_mode_is_kept(sam, batch):
    prepare(sam, POLICIES["int8"]).train()
    calibrate(sam, [batch])
    assert sam.training


def test_no_film_is_refused(sam):
    with pytest.raises(RecipeError, match="at least one"):
        calibrate(prepare(sam, POLICIES["int8"]), [])


def test_values_that_are_not_finite_are_ignored():
    observer = RangeObserver()
    observer.update(torch.tensor([float("nan"), float("inf"), -1.0, 2.0]))
    assert [float(bound) for bound in observer.range()] == [-1, 2]
    empty = RangeObserver()
    empty.update(torch.tensor([float("nan")]))
    assert [float(bound) for bound in empty.range()] == [0, 0]
