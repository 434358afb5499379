import copy

import pytest
import torch

from adaloraqat.errors import CheckpointError
from adaloraqat.models import sam
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.sam import VIT_B, VIT_H, VIT_L, SamArchitecture
from adaloraqat.models.weight_naming import infer_architecture, to_transformers

BOX = torch.tensor([30.0, 41.0, 200.0, 183.0])
PUBLISHED_WEIGHTS = {"image_size": 1024, "prompt": 256, "mlp": 2048, "quality_width": 256}


def swapped(state, first, second):
    """Exchange two tensors, all of two modules, or two thirds (`:0` q, `:1` k, `:2` v) of a fused one."""
    damaged = dict(state)
    if ":" in first:
        name, one, other = first[:-2], int(first[-1]), int(second[-1])
        for leaf in ("weight", "bias"):
            thirds = list(state[f"{name}.{leaf}"].chunk(3))
            thirds[one], thirds[other] = thirds[other], thirds[one]
            damaged[f"{name}.{leaf}"] = torch.cat(thirds)
    for name in [n for n in state if n == first or n.startswith(f"{first}.")]:
        partner = second + name.removeprefix(first)
        damaged[name], damaged[partner] = state[partner], state[name]
    assert any(damaged[name] is not state[name] for name in state)
    return damaged


@pytest.fixture(scope="module")
def loaded(meta_sam, tmp_path_factory):
    """A model in Meta's naming, and what `load_base` made of its file."""
    published = meta_sam(heads=3)
    weights = published.weights()
    path = tmp_path_factory.mktemp("meta") / "sam_vit_b_small.pth"
    torch.save(weights, path)
    image = torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(5))
    return published, weights, load_base(path), image


@torch.no_grad()
def answers(model, image):
    embedding = sam.encode(model, image[None])
    logits, quality = sam.decode(model, embedding, BOX[None, None])
    return embedding[0], logits[0, 0], quality[0, 0]


def test_the_published_structure_has_the_published_size(meta_sam):
    """Guards the reference itself: 314 tensors, 93,735,728 numbers for ViT-B."""
    shapes = meta_sam(dim=768, **PUBLISHED_WEIGHTS).shapes()
    assert len(shapes) == 314
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 93_735_728


@pytest.mark.parametrize(
    ("preset", "structure"),
    [
        (VIT_B, {"dim": 768}),
        (VIT_L, {"dim": 1024, "depth": 24, "heads": 16, "global_blocks": (5, 11, 17, 23)}),
        (VIT_H, {"dim": 1280, "depth": 32, "heads": 16, "global_blocks": (7, 15, 23, 31)}),
    ],
)
def test_published_names_and_shapes_become_those_of_transformers(meta_sam, preset, structure):
    shapes = meta_sam(**structure, **PUBLISHED_WEIGHTS).shapes()
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert infer_architecture(state, "x.pth") == preset
    converted = to_transformers(state, "x.pth")
    with torch.device("meta"):
        expected = sam.build_sam(preset).state_dict()
    del expected["prompt_encoder.shared_embedding.positional_embedding"]
    assert {n: t.shape for n, t in converted.items()} == {n: t.shape for n, t in expected.items()}


def with_published_epsilon(model):
    """Give the decoder's norms Meta's 1e-5; transformers' own conversion, and ours, has 1e-6 there."""
    model = copy.deepcopy(model)
    for layer in model.mask_decoder.transformer.layers:
        for n in (1, 2, 3, 4):
            layer.get_submodule(f"layer_norm{n}").eps = 1e-5
    return model


def test_a_converted_model_answers_as_the_published_arithmetic(loaded):
    published, weights, model, image = loaded
    references = published.answer(weights, image, BOX)
    exact = answers(with_published_epsilon(model), image)
    for mine, reference in zip(exact, references, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=1e-3 * reference.abs().mean().item())
    for mine, reference in zip(answers(model, image), references, strict=True):
        assert (mine - reference).abs().max() < 1e-2 * reference.abs().mean()


_BLOCK, _DECODER = "image_encoder.blocks", "mask_decoder.transformer.layers"
_HEADS = "mask_decoder.output_hypernetworks_mlps"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"{_BLOCK}.0.attn.qkv:0", f"{_BLOCK}.0.attn.qkv:2"),  # q and v in a window block
        (f"{_BLOCK}.2.attn.qkv:0", f"{_BLOCK}.2.attn.qkv:2"),  # and in a global one
        (f"{_BLOCK}.2.attn.qkv:0", f"{_BLOCK}.2.attn.qkv:1"),
        (f"{_BLOCK}.0.attn.rel_pos_h", f"{_BLOCK}.0.attn.rel_pos_w"),
        (f"{_BLOCK}.2.attn.rel_pos_h", f"{_BLOCK}.2.attn.rel_pos_w"),
        (f"{_BLOCK}.1.norm1", f"{_BLOCK}.1.norm2"),
        ("image_encoder.neck.1", "image_encoder.neck.3"),
        ("prompt_encoder.point_embeddings.2", "prompt_encoder.point_embeddings.3"),
        (f"{_DECODER}.1.norm2", f"{_DECODER}.1.norm4"),
        (f"{_DECODER}.0.self_attn.q_proj", f"{_DECODER}.0.self_attn.v_proj"),
        (f"{_HEADS}.0.layers.0", f"{_HEADS}.1.layers.0"),
        (f"{_HEADS}.0.layers.0", f"{_HEADS}.0.layers.1"),
    ],
)
def test_the_comparison_sees_every_swap(loaded, first, second):
    """The check above is worth something only if a wrong conversion would fail it."""
    published, weights, model, image = loaded
    damaged = swapped(weights, first, second)
    mine, reference = answers(model, image)[1], published.answer(damaged, image, BOX)[1]
    assert (mine - reference).abs().max() > 0.02 * reference.abs().mean()


def test_measures_are_read_from_shapes(loaded):
    _, _, model, _ = loaded
    assert sam.architecture_of(model) == {
        **VIT_B.to_dict(),
        "image_size": 256,
        "num_heads": 3,
        "hidden_size": 48,
        "mlp_dim": 192,
        "prompt_dim": 32,
        "decoder_mlp_dim": 64,
        "iou_head_hidden_dim": 24,
        "decoder_norm_eps": 1e-5,
    }


def test_a_grid_as_large_as_the_window_is_global_attention(meta_sam):
    """At 224 px the window of 14 is the whole image, and the tables of all blocks have one length."""
    state = meta_sam(image_size=224, depth=3, global_blocks=(1,)).weights()
    architecture = infer_architecture(state, "x.pth")
    assert architecture.window_size == 14
    assert architecture.global_attention_layers == (0, 1, 2)


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        (("image_encoder.blocks.0.norm1.weight", "image_encoder.blocks.0.norm3.weight"), "norm3"),
        (("image_encoder.pos_embed", "image_encoder.layers.0.weight"), "layers.0"),
        (("mask_decoder.iou_token.weight", "mask_decoder.hf_token.weight"), "hf_token"),
    ],
)
def test_names_that_were_never_published_are_refused(meta_sam, rename, words):
    state = meta_sam(depth=3, global_blocks=(1,)).weights()
    state[rename[1]] = state.pop(rename[0])
    with pytest.raises(CheckpointError, match=words):
        to_transformers(state, "x.pth")


def test_shapes_of_another_network_are_refused(meta_sam):
    state = meta_sam(depth=3, global_blocks=(1,)).weights()
    lacking = {name: tensor for name, tensor in state.items() if name != "image_encoder.pos_embed"}
    with pytest.raises(CheckpointError, match="lacks the tensor"):
        infer_architecture(lacking, "x.pth")
    with pytest.raises(CheckpointError, match="shapes are not"):
        infer_architecture(state | {"image_encoder.pos_embed": torch.zeros(4, 4)}, "x.pth")
    strange = {"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(9, 4)}
    with pytest.raises(CheckpointError, match="shapes are not"):
        infer_architecture(state | strange, "x.pth")


def test_an_architecture_given_by_hand_may_lack_relative_positions(meta_sam, tmp_path):
    """Without relative tables heads and windows show nowhere, so the caller names them."""
    published = meta_sam(depth=2, global_blocks=(1,))
    state = {name: tensor for name, tensor in published.weights().items() if "rel_pos" not in name}
    torch.save(state, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="name the architecture"):
        load_base(tmp_path / "plain.pth")
    architecture = SamArchitecture(
        image_size=256,
        hidden_size=48,
        num_layers=2,
        num_heads=12,
        global_attention_layers=(1,),
        use_rel_pos=False,
        prompt_dim=32,
        decoder_mlp_dim=64,
        iou_head_hidden_dim=24,
    )
    model = load_base(tmp_path / "plain.pth", architecture=architecture.to_dict())
    assert sam.architecture_of(model) == {**architecture.to_dict(), "decoder_norm_eps": 1e-5}
