"""Ours against Brevitas, an independent implementation, on the same weights: integers equal, outputs too."""

import copy

import pytest
import torch
from torch import nn

pytest.importorskip("brevitas", reason="Brevitas is not installed")

from brevitas.nn import QuantConv2d, QuantLinear, QuantReLU
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    ShiftedUint8ActPerTensorFloat,
    Uint8ActPerTensorFloat,
)

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank import add_adapters
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize import (
    POLICIES,
    PrecisionPolicy,
    calibrate,
    convert,
    fake_quantized_layers,
    fake_quantized_products,
    numerics,
    policy_named,
    prepare,
)
from adaloraqat.quantize.brevitas_exchange import BrevitasUpscale, from_brevitas, to_brevitas
from adaloraqat.quantize.calibrate import observing, observing_outputs

# Brevitas says so of every layer whose input has a zero point: it returns a plain tensor then, as we want.
pytestmark = pytest.mark.filterwarnings("ignore:Computing zero point of output accumulator:UserWarning")


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 1, 64, 64, generator=generator)
    corners = torch.rand(2, 2, 2, 2, generator=generator).sort(dim=2).values * 64
    return images, corners.flatten(2)


@pytest.fixture(scope="module")
def lite(batch):
    """A whole LiteMedSAM as stage 2 leaves it, its normalisations not those of birth."""
    torch.manual_seed(0)
    model = build(architecture("lite_medsam_tiny").to_dict()).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_(std=0.1)
            nn.init.normal_(module.weight, 1.0, 0.1)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return calibrate(prepare(model, POLICIES["qmedsam"]), [batch])


@pytest.fixture(scope="module")
def exported(lite):
    return to_brevitas(lite)


@torch.no_grad()
def answer(model, batch):
    embedding = encode(model, batch[0])
    return embedding, *decode(model, embedding, batch[1])


def assert_alike(model, reference, batch):
    """Apart by less than the reference is from itself where the film changes by a millionth.

    A value half way between two steps may be rounded either way, and the next layers carry that on.
    """
    changed = answer(reference, (batch[0] * (1 + 1e-6), batch[1]))
    for found, expected, floor in zip(answer(model, batch), answer(reference, batch), changed, strict=True):
        apart, noise = (found - expected).abs(), (floor - expected).abs()
        assert apart.max() <= noise.max() < 0.05 * expected.abs().max()
        assert apart.mean() <= 0.5 * noise.mean()


def integers_of(layer):
    """Return q (out, in) and the scale as a Brevitas layer computes them."""
    weight = layer.quant_weight()
    scale = weight.scale.flatten()
    return (weight.value.flatten(1) / scale.reshape(-1, 1)).round().to(torch.int8), scale


def product_of(layer):
    return layer.product if isinstance(layer, BrevitasUpscale) else layer


def observed(layer, inputs, policy):
    """Return a prepared `nn.Sequential` of one layer, calibrated on `inputs`."""
    model = prepare(nn.Sequential(layer), policy)
    with observing(model), torch.no_grad():
        model(inputs)
    return model


@torch.no_grad()
def test_every_layer_of_a_model_has_the_same_integers_and_answers_alike(lite, exported, batch):
    """Each layer gets what it gets in the model; its input is put on its grid, so that no tie can differ."""
    layers, inputs = fake_quantized_layers(lite), {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: inputs.__setitem__(name, given[0]))
        for name, layer in layers.items()
    ]
    answer(lite, batch)
    for hook in hooks:
        hook.remove()
    assert len(inputs) > 70
    for name, layer in layers.items():
        theirs = exported.get_submodule(name)
        quantized = product_of(theirs)
        matrix, _, scale = layer.product_terms()
        integers, their_scale = integers_of(quantized)
        assert torch.equal(integers, numerics.integer_weight(matrix, scale, 63)), name
        assert integers.abs().max() == 63
        assert torch.equal(their_scale, scale), name
        assert torch.equal(quantized.input_quant.scale(), layer.input_quantizer.scale)
        assert quantized.input_quant.zero_point() == layer.input_quantizer.zero_point
        if name not in inputs:
            continue  # the mask branch, where only boxes are given
        given = layer.input_quantizer(inputs[name])
        expected = layer(given)
        apart, rounding = (theirs(given) - expected).abs(), 1e-5 * expected.abs().max()
        if layer.output_quantizer is not None:  # a sum half way between two steps may go either way
            assert apart.max() <= 1.001 * layer.output_step(), name
            assert apart.gt(rounding).float().mean() < 1e-3, name
        else:
            assert apart.max() <= rounding, name


@torch.no_grad()
def test_a_whole_model_answers_alike_in_both(lite, exported, batch):
    expected = answer(lite, batch)
    assert not fake_quantized_layers(exported)
    assert not fake_quantized_products(exported)
    assert_alike(exported, lite, batch)
    changed = copy.deepcopy(exported)  # it IS Brevitas that computes: one of its grids moves the answer
    grids = [value for name, value in changed.named_parameters() if name.endswith("scaling_impl.value")]
    grids[0].mul_(1.1)
    assert not torch.allclose(answer(changed, batch)[0], expected[0], rtol=1e-3, atol=1e-3)


def test_a_model_comes_back_with_the_same_weights_ranges_and_integer_file(lite, exported, batch):
    back = from_brevitas(exported)
    ours = lite.state_dict()
    assert ours.keys() == back.state_dict().keys()
    assert all(torch.equal(value, ours[name]) for name, value in back.state_dict().items())
    assert {n: type(m) for n, m in back.named_modules()} == {n: type(m) for n, m in lite.named_modules()}
    for found, expected in zip(answer(back, batch), answer(lite, batch), strict=True):
        assert torch.equal(found, expected)
    integer, again = convert(lite).state_dict(), convert(back).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in integer.items())


def test_a_state_dict_carries_weights_and_grids_through_a_file(tmp_path):
    policy = PrecisionPolicy("own", (("0", "int8 convolution"), ("*", "int8 per channel")))

    def network(seed):
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Flatten(), nn.Linear(128, 5))
        model, inputs = prepare(layers, policy), torch.randn(4, 3, 8, 8) * (seed + 1)
        with observing(model), torch.no_grad():
            model(inputs)
        return model, inputs

    (model, inputs), (other, _) = network(0), network(1)
    torch.save(to_brevitas(model).state_dict(), tmp_path / "brevitas.pt")
    read = to_brevitas(other)
    read.load_state_dict(torch.load(tmp_path / "brevitas.pt", weights_only=True))
    assert not torch.equal(other(inputs), model(inputs))
    assert torch.equal(from_brevitas(read)(inputs), model(inputs))


@pytest.mark.parametrize("weight_range", ["portable", "full"])
def test_a_sam_with_adapters_is_merged_and_both_answer_alike(sam, batch, weight_range):
    add_adapters(sam, 2, 0)
    model = calibrate(prepare(sam, policy_named("int8", weight_range)), [batch])
    exported = to_brevitas(model)
    qkv = exported.vision_encoder.layers[0].attn.qkv
    assert isinstance(qkv, QuantLinear)
    assert int(qkv.quant_weight().bit_width) == (7 if weight_range == "portable" else 8)
    assert_alike(exported, model, batch)
    assert_alike(from_brevitas(exported), model, batch)


def test_per_tensor_scales_and_laid_out_upscalings_agree(batch):
    torch.manual_seed(2)
    inputs = torch.randn(1, 6, 5, 5)
    for precision in ("int8 per tensor", "int8 per channel"):
        model = observed(nn.ConvTranspose2d(6, 3, 2, 2), inputs, PrecisionPolicy("own", (("*", precision),)))
        exported = to_brevitas(model)
        torch.testing.assert_close(exported(inputs), model(inputs))
        back = from_brevitas(exported)
        assert torch.equal(back(inputs), model(inputs))
        assert torch.equal(back[0].weight, model[0].weight)
    with torch.no_grad():
        exported[0].product.bias[0] += 1
    with pytest.raises(RecipeError, match="The bias of 0 differs within the square"):
        from_brevitas(exported)


def test_ties_and_dead_rows_have_the_same_integers_in_both():
    """Weights half way between two integers, where dividing and multiplying by the reciprocal differ."""
    torch.manual_seed(3)
    layer = nn.Linear(64, 512)
    with torch.no_grad():
        layer.weight.uniform_(-1, 1)
        scale = layer.weight.abs().amax(1, keepdim=True) / 63
        halves = (layer.weight / scale).floor() + 0.5
        layer.weight[:, 1::2] = torch.where(halves.abs() < 62, halves * scale, layer.weight)[:, 1::2]
        layer.weight[5] = 0
        layer.weight[6] *= 1e-6
    inputs = torch.randn(40, 64)
    model = observed(layer, inputs, PrecisionPolicy("own", (("*", "int8 per channel"),)))
    exported = to_brevitas(model)
    matrix, _, scale = model[0].product_terms()
    integers, their_scale = integers_of(exported[0])
    assert torch.equal(integers, numerics.integer_weight(matrix, scale, 63))
    assert torch.equal(their_scale, scale)
    apart = (exported[0].weight != layer.weight).float().mean()
    assert apart > 0.01  # the ties are there: unsettled, Brevitas would round these another way
    assert torch.equal(from_brevitas(exported)[0].product_terms()[2], scale)


def test_inputs_round_alike_but_for_ties(lite, exported, batch):
    """Any input, not only one on the grid: at most one step apart, and hardly ever."""
    quantizer, name = None, "vision_encoder.layers.1.blocks.0.mlp.lin1"
    quantizer = lite.get_submodule(name).input_quantizer
    values = torch.randn(1_000_000, generator=torch.Generator().manual_seed(4)) * quantizer.scale * 80
    ours = quantizer(values)
    theirs = exported.get_submodule(name).input_quant(values).value.detach()
    assert (ours - theirs).abs().max() <= 1.001 * quantizer.scale
    assert (ours - theirs).ne(0).float().mean() < 1e-4


def trained_there(layer, inputs):
    """Return a Brevitas layer that collected its activations' ranges, in evaluation mode."""
    layer.train()
    for _ in range(3):
        layer(inputs)
    return nn.Sequential(layer.eval())


FOREIGN = {
    "signed inputs, 8 bits per tensor": lambda: QuantLinear(
        12, 7, weight_quant=Int8WeightPerTensorFloat, input_quant=Int8ActPerTensorFloat
    ),
    "shifted inputs, 7 bits per channel": lambda: QuantLinear(
        12,
        7,
        weight_quant=Int8WeightPerChannelFloat,
        weight_bit_width=7,
        input_quant=ShiftedUint8ActPerTensorFloat,
    ),
    "a convolution": lambda: QuantConv2d(
        12,
        8,
        3,
        stride=2,
        padding=1,
        groups=4,
        weight_quant=Int8WeightPerChannelFloat,
        weight_bit_width=7,
        input_quant=ShiftedUint8ActPerTensorFloat,
        output_quant=ShiftedUint8ActPerTensorFloat,
    ),
    "unsigned inputs, patches": lambda: QuantConv2d(
        12, 8, 2, stride=2, bias=False, input_quant=Uint8ActPerTensorFloat
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_layers_made_in_brevitas_come_into_ours_and_into_integers(kind):
    torch.manual_seed(5)
    layer = FOREIGN[kind]()
    inputs = torch.randn(4, 12) if isinstance(layer, QuantLinear) else torch.randn(2, 12, 8, 8)
    foreign = trained_there(layer, inputs)
    ours = from_brevitas(foreign)
    integers, scale = integers_of(layer)
    given = ours[0].input_quantizer(inputs) if isinstance(layer, QuantLinear) else inputs
    with torch.no_grad():
        expected, found = foreign(given), ours(given)
        with observing_outputs(ours):
            ours(inputs)
        integer = convert(ours)[0]
    own = integer.weight if isinstance(layer, QuantConv2d) and layer.padding != (0, 0) else integer.weight.t()
    assert torch.equal(own.flatten(1), integers)
    torch.testing.assert_close(integer.weight_scale.flatten(), scale.detach(), rtol=1e-6, atol=0)
    step = 1.001 * float(integer.output_scale) if hasattr(integer, "output_scale") else 0
    tolerance = 1e-5 + float(
        ours[0].input_quantizer.scale * scale.detach().max()
    )  # the bias is int32 in ours
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=tolerance + step)
    assert float((found - expected).abs().gt(tolerance).float().mean()) < 0.01
    torch.testing.assert_close(integer(given), found)
    assert ours[0].output_range[1] > ours[0].output_range[0]


def quantized_linear(**changes):
    settings = {
        "weight_quant": Int8WeightPerChannelFloat,
        "input_quant": ShiftedUint8ActPerTensorFloat,
    } | changes
    return QuantLinear(12, 7, **settings)


REFUSED = {
    "signed, symmetric": lambda: quantized_linear(weight_bit_width=4),
    "no fixed integer grid": lambda: quantized_linear(input_quant=None),
    "256 steps": lambda: quantized_linear(input_bit_width=6),
    "its largest weight by 127": lambda: quantized_linear(weight_narrow_range=False),
    "quantised output": lambda: quantized_linear(output_quant=ShiftedUint8ActPerTensorFloat),
    "QuantReLU": QuantReLU,
    "output is not quantised": lambda: QuantConv2d(12, 8, 3, padding=1, input_quant=Int8ActPerTensorFloat),
    "in numbers": lambda: QuantConv2d(12, 8, 3, padding="same", input_quant=Int8ActPerTensorFloat),
    "no layer of Brevitas": lambda: nn.Linear(12, 7),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_ours_cannot_hold_is_refused_with_its_name(said):
    with pytest.raises(RecipeError, match=said) as refused:
        from_brevitas(nn.Sequential(REFUSED[said]().eval()))
    assert said == "no layer of Brevitas" or "0" in str(refused.value)


def test_what_brevitas_cannot_hold_is_refused(sam):
    with pytest.raises(RecipeError, match="no fake-quantised layer"):
        to_brevitas(sam)
    with pytest.raises(RecipeError, match="no activation range yet"):
        to_brevitas(prepare(sam, POLICIES["int8"]))
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight[1] = 0
        layer.bias[1] = 1e6
    model = observed(layer, torch.randn(8, 4), PrecisionPolicy("own", (("*", "int8 per channel"),)))
    with pytest.raises(RecipeError, match="0 has a bias so large"):
        to_brevitas(model)


def test_brevitas_trains_what_it_got_and_it_comes_back(batch):
    """Scales follow the weights there too, so a step of training there is one that ours can take over."""
    torch.manual_seed(6)
    inputs, wanted = torch.randn(32, 12), torch.randn(32, 5)
    policy = PrecisionPolicy("own", (("*", "int8 per channel"),))
    model = observed(nn.Linear(12, 5), inputs, policy)
    exported = to_brevitas(model)
    assert [name for name, value in exported.named_parameters() if value.requires_grad] == [
        "0.weight",
        "0.bias",
    ]
    optimiser = torch.optim.SGD(exported.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        loss = (exported(inputs) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    back = from_brevitas(exported)
    torch.testing.assert_close(back(inputs), exported(inputs), rtol=1e-5, atol=1e-5)
    assert torch.equal(back[0].weight, exported[0].weight)
