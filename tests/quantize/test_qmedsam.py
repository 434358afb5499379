"""QMedSAM's policy: convolutions with batch norm, attention's products; on LiteMedSAM and on SAM."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers.models.sam.modeling_sam import SamAttention

from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import decode, encode
from adaloraqat.models.tiny_vit import WindowAttention
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.fake_quantize import FakeQuantizedProduct
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import POLICIES, PrecisionPolicy
from adaloraqat.quantize.preparation import fake_quantized_layers, fake_quantized_products, prepare, restore

QMEDSAM = POLICIES["qmedsam"]


@pytest.fixture
def lite():
    torch.manual_seed(0)
    model = build(architecture("lite_medsam_tiny").to_dict()).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, not as at birth
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_(std=0.1)
            nn.init.normal_(module.weight, 1.0, 0.1)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return model


@torch.no_grad()
def answer(model, batch):
    return decode(model, encode(model, batch[0]), batch[1])[0]


def test_the_table_says_what_the_paper_says(lite, sam):
    described = QMEDSAM.describe(lite)
    encoder = {name: kind for name, kind in described.items() if name.startswith("vision_encoder")}
    assert set(encoder.values()) == {"int8 per channel", "int8 convolution"}  # every layer of the encoder
    assert encoder["vision_encoder.layers.1.blocks.0.local_conv.c"] == "int8 convolution"
    assert {kind for name, kind in described.items() if name.startswith("prompt_encoder")} == {"float32"}
    products = [name for name, kind in described.items() if kind == "int8 product"]
    assert len(products) == 14  # 7 attentions of the decoder, 2 products each
    assert all(name.startswith("mask_decoder.") for name in products)
    assert not any(name.endswith(("scores", "mixture")) for name in POLICIES["int8"].describe(sam))


def test_int8_keeps_float_the_convolutions_that_gain_no_time(lite):
    described = POLICIES["int8"].describe(lite)
    convolutions = {name: kind for name, kind in described.items() if name.endswith(".c")}
    floating = {name for name, kind in convolutions.items() if kind == "float16 storage"}
    depthwise = {name for name in convolutions if lite.get_submodule(name).groups > 1}
    between = {name for name in convolutions if "downsample" in name}
    assert floating == depthwise | between
    assert set(convolutions.values()) == {"float16 storage", "int8 convolution"}


def test_only_rules_for_products_reach_products():
    policy = PrecisionPolicy(
        "own",
        (("a.*", "float32"), ("*.scores", "int8 product"), ("*", "int8 per channel")),
    )
    assert policy.precision_of("a.scores") == "float32"  # a part that an earlier line leaves out
    assert policy.precision_of("b.scores") == "int8 product"
    assert policy.precision_of("b.mixture") == "float32"
    assert policy.precision_of("b.lin") == "int8 per channel"


def test_folding_changes_nothing_but_the_names(lite, batch):
    expected = answer(lite, batch)
    weights = {name: p for name, p in lite.named_parameters() if name.endswith(".c.weight")}
    prepare(lite, POLICIES["fp32"])
    torch.testing.assert_close(answer(lite, batch), expected, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in lite.modules())
    assert all(p is weights[name] for name, p in lite.named_parameters() if name in weights)
    again = answer(lite, batch)
    prepare(lite, POLICIES["fp32"])  # done once
    assert torch.equal(answer(lite, batch), again)


def test_a_prepared_state_is_read_back_into_a_new_model(lite, batch):
    calibrate(prepare(lite, QMEDSAM), [batch])
    other = prepare(build(architecture("lite_medsam_tiny").to_dict()).eval(), QMEDSAM)
    other.load_state_dict(lite.state_dict())
    assert torch.equal(answer(other, batch), answer(lite, batch))


@pytest.mark.parametrize("name", ["tiny", "lite_medsam_tiny"])
def test_restoring_takes_the_products_out_again(name, batch):
    torch.manual_seed(0)
    model = build(architecture(name).to_dict()).eval()
    prepare(model, POLICIES["fp32"])  # folded, where there is something to fold
    expected, kinds = answer(model, batch), [type(m) for m in model.modules()]
    calibrate(prepare(model, QMEDSAM), [batch])
    assert len(fake_quantized_products(model)) == 14
    restored = restore(copy.deepcopy(model))
    assert torch.equal(answer(restored, batch), expected)
    assert [type(m) for m in restored.modules()] == kinds
    assert all(type(m) is SamAttention for m in restored.modules() if isinstance(m, SamAttention))


@pytest.mark.parametrize("name", ["tiny", "lite_medsam_tiny"])
@pytest.mark.parametrize("pattern", ["vision_encoder.*", "mask_decoder.*"])
def test_written_out_attention_computes_what_the_fused_one_does(name, pattern, batch):
    """Calibration computes in float through the written-out products: ranges aside, nothing may change."""
    torch.manual_seed(0)
    model = build(architecture(name).to_dict()).eval()
    prepare(model, POLICIES["fp32"])
    expected = answer(model, batch)
    prepare(model, PrecisionPolicy("products", ((pattern, "int8 product"),)))
    for product in fake_quantized_products(model).values():
        product.forward = lambda left, right: left @ right
    torch.testing.assert_close(answer(model, batch), expected, rtol=1e-4, atol=1e-5)


def test_every_weight_learns_through_the_rounding(lite, batch):
    calibrate(prepare(lite, QMEDSAM), [batch])
    lite.train()
    decode(lite, encode(lite, batch[0]), batch[1])[0].square().mean().backward()
    idle = [n for n, p in lite.vision_encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


@pytest.mark.parametrize(("groups", "stride", "kernel"), [(1, 1, 3), (8, 2, 3), (4, 1, 1), (2, 2, 5)])
def test_a_convolution_is_the_integer_sum_that_a_loop_computes(groups, stride, kernel):
    """int8 weights, unsigned 8-bit input padded with its zero point, int32 sums, output rounded to 8 bits."""
    torch.manual_seed(1)
    layer = nn.Conv2d(8, 8, kernel, stride, kernel // 2, groups=groups)
    model = nn.Sequential(layer)
    prepare(model, PrecisionPolicy("own", (("*", "int8 convolution"),)))
    quantized = fake_quantized_layers(model)["0"]
    inputs = torch.randn(1, 8, 7, 7) + 0.3
    with torch.no_grad():
        low, high = inputs.aminmax()
        quantized.input_quantizer.set_range(low, high)
        quantized.output_quantizer.set_range(*layer(inputs).aminmax())
        found = model(inputs)
        integer = convert(model)[0]
        assert torch.equal(integer(inputs), found)
    weight, bias = integer.weight.numpy().astype(np.int64), integer.bias.numpy().astype(np.int64)
    assert np.abs(weight).max() == 63
    scale, zero = float(integer.input_scale), int(integer.input_zero_point)
    codes = np.clip(np.rint(inputs.numpy()[0] / np.float32(scale)) + zero, 0, 255).astype(np.int64)
    pad = kernel // 2
    padded = np.pad(codes, ((0, 0), (pad, pad), (pad, pad)), constant_values=zero)
    side, each = found.shape[-1], 8 // groups
    sums = np.zeros((8, side, side), np.int64)
    for out in range(8):
        first = out // each * each
        for y in range(side):
            for x in range(side):
                patch = padded[
                    first : first + each, y * stride : y * stride + kernel, x * stride : x * stride + kernel
                ]
                sums[out, y, x] = (weight[out] * (patch - zero)).sum() + bias[out]
    values = sums * (scale * integer.weight_scale.numpy().astype(np.float64))[:, None, None]
    step, offset = float(integer.output_scale), int(integer.output_zero_point)
    expected = (np.clip(np.rint(values / step) + offset, 0, 255) - offset) * step
    assert np.abs(expected - found.numpy()[0]).max() <= 1.001 * step  # ties may fall either way
    assert np.mean(np.abs(expected - found.numpy()[0]) < 1e-4) > 0.99


def test_a_product_of_activations_by_hand():
    product = FakeQuantizedProduct(63)
    product.left_quantizer.set_range(torch.tensor(0.0), torch.tensor(255.0))  # step 1, zero point 0
    product.right_quantizer.set_range(torch.tensor(-12.6), torch.tensor(6.3))  # step 0.2, |q| <= 63
    left, right = torch.tensor([[1.4, 300.0]]), torch.tensor([[0.31], [-20.0]])
    found = product(left, right)  # 1 · 0.4 + 255 · (-12.6)
    torch.testing.assert_close(found, torch.tensor([[0.4 - 255 * 12.6]]))
    holder = nn.Sequential(product)
    torch.testing.assert_close(convert(holder)[0](left, right), found)


def test_a_quantised_product_is_computed_where_attention_could_be_one_operator():
    torch.manual_seed(0)
    attention = WindowAttention(8, 2, 2).eval()
    tokens = torch.randn(1, 4, 8)
    assert attention.fused
    before = attention(tokens)
    attention.scores = FakeQuantizedProduct(63)
    attention.scores.left_quantizer.set_range(torch.tensor(-0.01), torch.tensor(0.01))  # clips the queries
    attention.scores.right_quantizer.set_range(torch.tensor(-3.0), torch.tensor(3.0))
    assert not torch.allclose(attention(tokens), before, atol=1e-4)
