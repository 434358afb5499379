import copy

import pytest
import torch
from torch import nn

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank import AdaptedQKV, adapters_of, add_adapters
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize import numerics
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.fake_quantize import FakeQuantized
from adaloraqat.quantize.layout import layout_of
from adaloraqat.quantize.policy import POLICIES, PrecisionPolicy
from adaloraqat.quantize.preparation import fake_quantized_layers, is_prepared, prepare, restore


def _encode(model, batch):
    with torch.no_grad():
        return encode(model, batch[0])


def test_parameters_keep_their_names_and_identity(sam):
    before = dict(sam.named_parameters())
    prepare(sam, POLICIES["paper"])
    after = dict(sam.named_parameters())
    assert list(before) == list(after)
    assert all(after[name] is before[name] for name in before)
    assert isinstance(sam.vision_encoder.layers[0].mlp.lin1, nn.Linear)


def test_restoring_gives_the_float_model_back_bit_for_bit(sam, batch):
    add_adapters(sam, 2, 0)
    expected, names, kinds = _encode(sam, batch), set(sam.state_dict()), [type(m) for m in sam.modules()]
    calibrate(prepare(sam, POLICIES["int8"]), [batch])
    assert is_prepared(sam)
    assert not torch.equal(_encode(sam, batch), expected)
    restore(sam)
    assert not is_prepared(sam)
    assert torch.equal(_encode(sam, batch), expected)
    assert set(sam.state_dict()) == names
    assert [type(m) for m in sam.modules()] == kinds


def test_a_copy_can_be_restored_without_touching_the_original(sam, batch):
    calibrate(prepare(sam, POLICIES["int8"]), [batch])
    expected = _encode(sam, batch)
    restore(copy.deepcopy(sam))
    assert torch.equal(_encode(sam, batch), expected)


def test_state_dict_restores_ranges(sam, batch):
    other = copy.deepcopy(sam)
    calibrate(prepare(sam, POLICIES["int8"]), [batch])
    prepare(other, POLICIES["int8"]).load_state_dict(sam.state_dict())
    assert torch.equal(_encode(other, batch), _encode(sam, batch))


def test_an_adapted_qkv_is_one_quantised_weight_whose_scale_follows_lambda(sam, batch):
    add_adapters(sam, 2, 0)
    calibrate(prepare(sam, POLICIES["int8"]), [batch])
    qkv = sam.vision_encoder.layers[0].attn.qkv
    assert isinstance(qkv, AdaptedQKV)
    assert isinstance(qkv, FakeQuantized)
    assert len(adapters_of(sam)) == 6
    scale_before = qkv.product_terms()[2]
    with torch.no_grad():
        qkv.adapter("q").singular_values.fill_(3.0)
    scale = qkv.product_terms()[2]
    assert torch.equal(scale, numerics.weight_scale(qkv.base.weight + qkv.delta_weight(), 63, True))
    width = qkv.out_features // 3
    assert not torch.equal(scale[:width], scale_before[:width])
    assert torch.equal(scale[width:], scale_before[width:])


def test_lambda_learns_through_the_rounding(sam, batch):
    add_adapters(sam, 2, 0)
    calibrate(prepare(sam, POLICIES["int8"]), [batch])
    logits, _ = decode(sam, encode(sam, batch[0]), batch[1])
    logits.square().sum().backward()
    for adapter in adapters_of(sam).values():
        assert adapter.singular_values.grad.abs().sum() > 0


def test_paper_leaves_the_adapted_qkv_in_float(sam):
    add_adapters(sam, 2, 0)
    prepare(sam, POLICIES["paper"])
    assert type(sam.vision_encoder.layers[0].attn.qkv) is AdaptedQKV


def test_stored_tensors_read_as_what_the_file_will_hold_and_still_learn(sam, batch):
    table = sam.prompt_encoder.no_mask_embed.weight
    position = sam.vision_encoder.pos_embed
    prepare(sam, POLICIES["paper"])
    assert torch.equal(sam.vision_encoder.pos_embed, position.half().float())
    steps = sam.prompt_encoder.no_mask_embed.weight / (table.abs().max() / 63)
    torch.testing.assert_close(steps, steps.round())
    calibrate(sam, [batch])
    decode(sam, encode(sam, batch[0]), batch[1])[0].sum().backward()
    assert position.grad.abs().sum() > 0
    assert table.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 5),
        nn.Linear(6, 5, bias=False),
        nn.Conv2d(3, 5, kernel_size=2, stride=2),
        nn.Conv2d(3, 5, kernel_size=1),
        nn.ConvTranspose2d(3, 5, kernel_size=2, stride=2),
    ],
    ids=["linear", "no bias", "patches", "1x1", "transposed"],
)
@pytest.mark.parametrize("precision", ["int8 per tensor", "int8 per channel"])
def test_each_kind_of_layer_as_a_product_stays_within_its_rounding(layer, precision):
    model = nn.ModuleDict({"layer": copy.deepcopy(layer)})
    inputs = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = model["layer"](inputs)
    prepare(model, PrecisionPolicy("mine", (("layer", precision),), "full"))
    quantizer = model["layer"].input_quantizer
    quantizer.set_range(inputs.min(), inputs.max())
    found = model["layer"](inputs)
    assert found.shape == expected.shape
    fan_in = model["layer"].product_terms()[0].shape[1]
    weight_error = float(model["layer"].product_terms()[2].max()) / 2 * float(inputs.abs().max())
    input_error = float(quantizer.scale) / 2 * float(layer.weight.detach().abs().max())
    assert (
        float((found - expected).detach().abs().max()) <= 1.1 * fan_in * (weight_error + input_error) + 1e-3
    )


def test_without_ranges_nothing_is_computed(sam, batch):
    prepare(sam, POLICIES["int8"])
    with pytest.raises(RuntimeError, match="calibrate"):
        _encode(sam, batch)


def test_a_second_policy_on_top_is_refused(sam):
    prepare(sam, POLICIES["int8"])
    with pytest.raises(RecipeError, match="already"):
        prepare(sam, POLICIES["paper"])


def test_int8_in_an_overlapping_convolution_is_refused(sam):
    with pytest.raises(RecipeError, match=r"neck\.conv2"):
        prepare(sam, PrecisionPolicy("mine", (("vision_encoder.neck.conv2", "int8 per tensor"),)))


def test_a_dead_input_and_a_dead_weight_give_no_nan(sam, batch):
    with torch.no_grad():
        sam.vision_encoder.layers[0].layer_norm2.weight.zero_()
        sam.vision_encoder.layers[0].layer_norm2.bias.zero_()
        sam.vision_encoder.layers[1].mlp.lin1.weight[:3] = 0
        sam.mask_decoder.upscale_conv1.weight.zero_()
    calibrate(prepare(sam, POLICIES["int8"]), [batch])
    logits, quality = decode(sam, encode(sam, batch[0]), batch[1])
    assert torch.isfinite(logits).all()
    assert torch.isfinite(quality).all()
    assert all(layer.input_quantizer.scale > 0 for layer in fake_quantized_layers(sam).values())


def test_a_convolution_whose_patches_are_spread_is_no_product_of_patches():
    assert layout_of(nn.Conv2d(3, 4, 2, stride=2)) is not None
    assert layout_of(nn.Conv2d(3, 4, 2, stride=2, dilation=2)) is None
