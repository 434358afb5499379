import copy

import numpy as np
import onnxruntime
import pytest
import torch

from adaloraqat.errors import RecipeError
from adaloraqat.models import sam
from adaloraqat.models.sam import SMALL, TINY, VIT_B, VIT_H, VIT_L, SamArchitecture


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return sam.build_sam(TINY).eval()


def images_and_boxes(architecture: SamArchitecture, batch: int = 2, boxes: int = 3):
    generator = torch.Generator().manual_seed(1)
    side = architecture.image_size
    image = torch.randn(batch, architecture.channels, side, side, generator=generator)
    corners = torch.rand(batch, boxes, 2, 2, generator=generator).sort(dim=2).values * side
    return image, corners.reshape(batch, boxes, 4)


@pytest.mark.parametrize(
    ("architecture", "encoder", "total"),
    [
        # ViT-B: the parameters of facebook/sam-vit-base; L and H: 312 M and 641 M as published.
        (VIT_B, 89_670_912, 93_735_728),
        (VIT_L, 308_278_272, 312_343_088),
        (VIT_H, 637_026_048, 641_090_864),
    ],
)
def test_published_parameter_counts(architecture, encoder, total):
    with torch.device("meta"):  # shapes only: no memory is spent
        counts = sam.count_parameters(sam.build_sam(architecture))
    assert counts == {
        "encoder": encoder,
        "prompt_encoder": 6_476,
        "mask_decoder": 4_058_340,
        "total": total,
    }


def test_small_is_small():
    with torch.device("meta"):
        model = sam.build_sam(SMALL)
    assert sam.count_parameters(model)["total"] == pytest.approx(4.7e6, rel=0.01)
    assert sum(p.numel() for p in model.parameters()) == sam.count_parameters(model)["total"]


@pytest.mark.parametrize("architecture", [SMALL, TINY, VIT_B, VIT_L, VIT_H])
def test_architecture_survives_dict_config_and_model(architecture):
    assert SamArchitecture.from_dict(architecture.to_dict()) == architecture
    assert SamArchitecture.from_config(architecture.to_config()) == architecture
    with torch.device("meta"):
        model = sam.build_sam(architecture.to_dict())
    assert sam.architecture_of(model) == architecture.to_dict()
    assert model.config.prompt_encoder_config.image_embedding_size == architecture.grid
    assert model.prompt_encoder.image_embedding_size == (architecture.grid, architecture.grid)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image_size": 60}, "image_size"),
        ({"hidden_size": 33}, "hidden_size"),
        ({"prompt_dim": 20}, "prompt_dim"),
        ({"decoder_heads": 5}, "prompt_dim"),
        ({"mask_input_channels": 6}, "mask_input_channels"),
        ({"global_attention_layers": [2]}, "global_attention_layers"),
        ({"iou_head_depth": 1}, "iou_head_depth"),
        ({"num_layers": 0}, "num_layers"),
        ({"window_size": "8"}, "window_size"),
        ({"use_rel_pos": 1}, "use_rel_pos"),
        ({"depth": 2}, "depth"),
    ],
)
def test_measures_that_do_not_fit_are_refused(change, word):
    with pytest.raises(RecipeError, match=word):
        SamArchitecture.from_dict(TINY.to_dict() | change)


@pytest.mark.parametrize("use_rel_pos", [False, True])
def test_encode_and_decode_equal_the_whole_forward(use_rel_pos):
    architecture = SamArchitecture.from_dict(TINY.to_dict() | {"use_rel_pos": use_rel_pos})
    model = sam.build_sam(architecture).eval()
    image, boxes = images_and_boxes(architecture)
    with torch.no_grad():
        embedding = sam.encode(model, image)
        logits, quality = sam.decode(model, embedding, boxes)
        whole = model(pixel_values=image, input_boxes=boxes, multimask_output=False)
    assert embedding.shape == (2, TINY.prompt_dim, TINY.grid, TINY.grid)
    assert logits.shape == (2, 3, 4 * TINY.grid, 4 * TINY.grid)
    assert quality.shape == (2, 3)
    assert torch.equal(logits, whole.pred_masks[:, :, 0])
    assert torch.equal(quality, whole.iou_scores[:, :, 0])


def test_each_image_and_box_is_answered_alone(tiny):
    image, boxes = images_and_boxes(TINY)
    with torch.no_grad():
        together, _ = sam.decode(tiny, sam.encode(tiny, image), boxes)
        alone, _ = sam.decode(tiny, sam.encode(tiny, image[1:]), boxes[1:, 2:])
    torch.testing.assert_close(alone[0, 0], together[1, 2], rtol=1e-4, atol=1e-5)


def test_eager_and_fused_attention_agree(tiny):
    written_out = sam.build_sam(TINY, attention="eager").eval()
    written_out.load_state_dict(tiny.state_dict())
    assert type(written_out.vision_encoder.layers[0].attn) is not type(tiny.vision_encoder.layers[0].attn)
    image, boxes = images_and_boxes(TINY)
    with torch.no_grad():
        fused = sam.decode(tiny, sam.encode(tiny, image), boxes)
        eager = sam.decode(written_out, sam.encode(written_out, image), boxes)
    torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-5)


def test_a_new_model_can_learn_from_the_start(tiny):
    """The transformers defaults would fail here: encoder weights of 1e-10, frequencies of half the width."""
    encoder, frequencies = tiny.vision_encoder, tiny.shared_image_embedding.positional_embedding
    assert 0.015 < encoder.layers[0].attn.qkv.weight.std() < 0.025
    assert encoder.patch_embed.projection.weight.std() > 0.01
    assert 0.5 < frequencies.std() < 2
    model = copy.deepcopy(tiny).train()
    image, boxes = images_and_boxes(TINY)
    sam.decode(model, sam.encode(model, image), boxes)[0].square().mean().backward()
    unreached = [n for n, p in model.vision_encoder.named_parameters() if not p.grad.abs().sum() > 0]
    # A key bias shifts all of a query's scores alike, so only whole tensors can be asked about.
    assert unreached == []


def test_positional_frequencies_are_shared_and_fixed(tiny):
    for model in (tiny, copy.deepcopy(tiny)):
        shared = model.shared_image_embedding.positional_embedding
        assert model.prompt_encoder.shared_embedding.positional_embedding is shared
        assert not shared.requires_grad


def test_the_seed_decides_the_weights():
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(sam.build_sam(TINY).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["vision_encoder.pos_embed"], states[2]["vision_encoder.pos_embed"])


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return sam.encode(self.model, image)


class Decoder(Encoder):
    def forward(self, embedding, boxes):
        logits, quality = sam.decode(self.model, embedding, boxes[None])
        return logits[0], quality[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # torch's own
@pytest.mark.parametrize("use_rel_pos", [pytest.param(False, marks=pytest.mark.slow), True])
def test_both_halves_can_be_traced_with_any_number_of_boxes(use_rel_pos, tmp_path):
    model = sam.build_sam(TINY.to_dict() | {"use_rel_pos": use_rel_pos}).eval()
    image, boxes = images_and_boxes(TINY, batch=1, boxes=4)
    embedding = sam.encode(model, image).detach()
    torch.onnx.export(
        Encoder(model), (image,), tmp_path / "e.onnx", input_names=["image"], dynamo=False, opset_version=17
    )
    torch.onnx.export(
        Decoder(model),
        (embedding, boxes[0, :2]),
        tmp_path / "d.onnx",
        input_names=["embedding", "boxes"],
        dynamic_axes={"boxes": {0: "N"}},
        dynamo=False,
        opset_version=17,
    )
    encoder, decoder = (onnxruntime.InferenceSession(tmp_path / name) for name in ("e.onnx", "d.onnx"))
    (run,) = encoder.run(None, {"image": image.numpy()})
    np.testing.assert_allclose(run, embedding.numpy(), atol=1e-4)
    for count in (1, 2, 4):
        expected = Decoder(model)(embedding, boxes[0, :count])
        answers = decoder.run(None, {"embedding": embedding.numpy(), "boxes": boxes[0, :count].numpy()})
        for answer, reference in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer, reference.detach().numpy(), atol=1e-4)
