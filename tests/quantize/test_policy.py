import dataclasses
import json

import pytest

from adaloraqat.errors import RecipeError
from adaloraqat.lowrank import add_adapters
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.policy import POLICIES, PrecisionPolicy, per_precision, policy_named
from adaloraqat.quantize.preparation import prepare

_PAPER = {
    "vision_encoder.pos_embed": "float16 storage",
    "vision_encoder.patch_embed.projection": "float16 storage",
    "vision_encoder.layers.0.attn.qkv": "float32",
    "vision_encoder.layers.0.attn.proj": "int8 per tensor",
    "vision_encoder.layers.1.mlp.lin2": "int8 per tensor",
    "vision_encoder.neck.conv2": "float16 storage",
    "prompt_encoder.mask_embed.conv3": "int8 per tensor",
    "prompt_encoder.no_mask_embed": "int8 table",
    "prompt_encoder.point_embed.2": "int8 table",
    "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj": "int8 per tensor",
    "mask_decoder.upscale_conv1": "int8 per tensor",
    "mask_decoder.output_hypernetworks_mlps.0.proj_in": "int8 per tensor",
    "mask_decoder.iou_prediction_head.layers.0": "int8 per tensor",
    "mask_decoder.mask_tokens": "float32",
}
_INT8 = {
    "vision_encoder.pos_embed": "float16 storage",
    "vision_encoder.patch_embed.projection": "int8 per channel",
    "vision_encoder.layers.0.attn.qkv": "int8 per channel",
    "vision_encoder.layers.1.mlp.lin2": "int8 per channel",
    "vision_encoder.neck.conv2": "int8 convolution",
    "mask_decoder.upscale_conv1": "float16 storage",
    "mask_decoder.transformer.final_attn_token_to_image.out_proj": "int8 per channel",
    "prompt_encoder.point_embed.2": "float16 storage",
}


_W8A8 = {
    "vision_encoder.pos_embed": "float16 storage",
    "vision_encoder.patch_embed.projection": "int8 storage per channel",
    "vision_encoder.layers.0.attn.qkv": "int8 per channel",
    "vision_encoder.layers.0.attn.proj": "int8 per channel",
    "vision_encoder.layers.1.mlp.lin2": "int8 per channel",
    "vision_encoder.neck.conv2": "int8 convolution",
    "mask_decoder.upscale_conv1": "int8 storage per channel",
    "mask_decoder.transformer.final_attn_token_to_image.out_proj": "int8 per channel",
    "mask_decoder.mask_tokens": "float32",
}
_REFERENCE = {
    "vision_encoder.pos_embed": "float32",
    "vision_encoder.patch_embed.projection": "float32",
    "vision_encoder.layers.0.attn.qkv": "float32",
    "vision_encoder.layers.0.attn.proj": "int8 per tensor",
    "vision_encoder.layers.1.mlp.lin1": "int8 per tensor",
    "mask_decoder.upscale_conv2": "float32",
    "mask_decoder.output_hypernetworks_mlps.3.proj_out": "int8 per tensor",
    "mask_decoder.iou_token": "float32",
    "prompt_encoder.point_embed.2": "float32",
    "prompt_encoder.mask_embed.conv1": "float32",
}


def test_parameters_are_counted_by_precision(sam):
    total = sum(parameter.numel() for parameter in sam.parameters())
    assert per_precision(sam, None) == {"float32": total}
    counts = per_precision(sam, POLICIES["int8"])
    assert sum(counts.values()) == total
    layer = sam.vision_encoder.layers[0].mlp.lin1
    assert counts["int8 per channel"] >= layer.weight.numel()
    assert counts["float16 storage"] >= sam.vision_encoder.pos_embed.numel()


@pytest.mark.parametrize(
    ("policy", "expected"), [("paper", _PAPER), ("int8", _INT8), ("w8a8", _W8A8), ("reference", _REFERENCE)]
)
def test_the_shipped_tables_say_what_the_paper_and_the_documents_say(sam, policy, expected):
    described = POLICIES[policy].describe(sam)
    assert {name: described[name] for name in expected} == expected
    assert not any("positional_embedding" in name or "shared" in name for name in described)


def test_a_description_is_the_same_after_adapters_and_after_prepare(sam, batch):
    policy = POLICIES["int8"]
    before = policy.describe(sam)
    add_adapters(sam, 2, 0)
    assert policy.describe(sam) == before
    calibrate(prepare(sam, policy), [batch])
    assert policy.describe(sam) == before


def test_fp32_is_all_float32(sam):
    assert set(POLICIES["fp32"].describe(sam).values()) == {"float32"}
    assert not POLICIES["fp32"].quantizes


@pytest.mark.parametrize("name", POLICIES)
def test_round_trip_through_json(name):
    policy = policy_named(name, "full")
    assert policy.weight_limit == 127
    assert PrecisionPolicy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    own = POLICIES[name].weight_range
    assert dataclasses.replace(policy, weight_range=own) == POLICIES[name] == policy_named(name)
    assert own == ("full" if name.startswith("reference") or name == "w8" else "portable")


def test_portable_pairs_fit_sixteen_bits_and_full_pairs_do_not():
    assert 2 * 255 * POLICIES["int8"].weight_limit <= 2**15 - 1
    assert 2 * 255 * policy_named("int8", "full").weight_limit > 2**15 - 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: policy_named("int4"), "no precision policy 'int4'"),
        (lambda: policy_named("int8", "huge"), "weight range 'huge'"),  # type: ignore[arg-type]
        (lambda: PrecisionPolicy("mine", (("*", "int3"),)), "precision 'int3'"),
        (lambda: PrecisionPolicy.from_dict({"name": "mine"}), "malformed"),
        (lambda: PrecisionPolicy.from_dict({"name": "mine", "rules": [["*"]]}), "malformed"),
    ],
)
def test_unknown_values_are_refused(make, message):
    with pytest.raises(RecipeError, match=message):
        make()
