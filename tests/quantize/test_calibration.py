import copy

import pytest
import torch

from adaloraqat.errors import RecipeError
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.calibration import calibrate, in_precision
from adaloraqat.quantize.fake_quantize import RangeObserver
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import fake_quantized, fake_quantized_layers, prepare


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


def test_a_range_grows_with_every_batch_at_both_ends():
    observer = RangeObserver()
    for values in ([0.0, 1.0], [-2.0, 3.0], [-1.0, 2.0], [-3.0, 0.5], [0.0, 4.0]):
        observer.update(torch.tensor(values))
    assert [float(bound) for bound in observer.range()] == [-3, 4]


def test_ranges_are_those_of_all_films_in_whatever_order_they_come(sam, batch):
    prepare(sam, POLICIES["int8"])
    films = [(batch[0][film : film + 1], batch[1][film : film + 1]) for film in (0, 1)]
    both, turned, first, second = (
        dict(calibrate(copy.deepcopy(sam), some).named_buffers())
        for some in (films, films[::-1], films[:1], films[1:])
    )
    wider = set()
    for name in both:
        if name.endswith("output_range"):
            assert torch.equal(both[name], turned[name]), name
            assert both[name][0] == min(first[name][0], second[name][0])
            assert both[name][1] == max(first[name][1], second[name][1])
            wider |= {(end, bool(first[name][end] < second[name][end])) for end in (0, 1)}
        elif name.endswith(("scale", "zero_point")):
            assert torch.equal(both[name], turned[name]), name
    assert len(wider) == 4  # each end is set by the first film in one layer, by the second in another


@pytest.mark.parametrize("policy", ["int8", "qmedsam"])
def test_one_lsb_of_parity_is_a_step_of_the_outputs_range(sam, batch, policy):
    """(high - low) / 255 of what each layer gave out while calibrating, or the step of its output grid."""
    prepare(sam, POLICIES[policy])
    seen = {}
    for name, layer in fake_quantized(sam).items():
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.setdefault(name, output))
    calibrate(sam, [batch])
    assert any(layer.output_quantizer is not None for layer in fake_quantized_layers(sam).values())
    for name, layer in fake_quantized(sam).items():
        if name not in seen:
            continue
        low, high = (float(end) for end in seen[name].aminmax())
        if getattr(layer, "output_quantizer", None) is not None:  # its grid holds 0 too
            low, high = min(low, 0.0), max(high, 0.0)
        assert layer.output_step() == pytest.approx((high - low) / 255, rel=1e-5), name
    decode(sam, encode(sam, batch[0]), batch[1])


def test_a_model_trained_in_another_precision_is_restored_and_calibrated_anew(sam, batch):
    trained = calibrate(prepare(sam, POLICIES["int8"]), [batch])
    assert in_precision(trained, POLICIES["int8"], POLICIES["int8"]) == (trained, False)
    other, after_training = in_precision(trained, POLICIES["paper"], POLICIES["int8"], [batch])
    assert after_training
    qkv, upscaling = "vision_encoder.layers.0.attn.qkv", "mask_decoder.upscale_conv1"
    assert [name in fake_quantized_layers(trained) for name in (qkv, upscaling)] == [True, False]
    assert [name in fake_quantized_layers(other) for name in (qkv, upscaling)] == [False, True]
