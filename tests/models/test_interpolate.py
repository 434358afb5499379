import dataclasses

import pytest
import torch

from adaloraqat.errors import RecipeError
from adaloraqat.models import sam
from adaloraqat.models.families import resize_model, resize_positions, resize_relative_positions
from adaloraqat.models.sam import TINY

WITH_TABLES = dataclasses.replace(TINY, use_rel_pos=True, channels=3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = sam.build_sam(WITH_TABLES).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.normal_()
    return model


def test_a_ramp_stays_a_ramp():
    """Cell centres of 4 cells lie at 1/8, 3/8 …; of 8 cells at 1/16, 3/16 …: inner values by hand."""
    ramp = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 4, 2).contiguous()
    finer = resize_positions(ramp, 8)
    assert finer.shape == (1, 8, 8, 2)
    torch.testing.assert_close(finer[0, 3:5, 0, 0], torch.tensor([1.25, 1.75]))
    torch.testing.assert_close(finer[0, :, 0], finer[0, :, 5])  # nothing leaks across
    coarser = resize_positions(torch.arange(8.0).reshape(1, 8, 1, 1).expand(1, 8, 8, 1).contiguous(), 4)
    torch.testing.assert_close(coarser[0, 1:3, 0, 0], torch.tensor([2.5, 4.5]), atol=0.05, rtol=0)


def test_relative_tables_by_hand():
    """Length 3 (offsets -1, 0, 1) to 5: centres at (i + ½)·3/5 - ½ = 0 (clamped), 0.4, 1, 1.6, 2."""
    table = torch.tensor([[10.0], [20.0], [40.0]])
    expected = torch.tensor([10.0, 14.0, 20.0, 32.0, 40.0])
    torch.testing.assert_close(resize_relative_positions(table, 3)[:, 0], expected)


def test_the_same_size_changes_nothing(model):
    same = resize_model(model, WITH_TABLES.image_size)
    for name, tensor in model.state_dict().items():
        assert torch.equal(same.state_dict()[name], tensor), name
        assert same.state_dict()[name].data_ptr() != tensor.data_ptr(), name


@pytest.mark.parametrize("size", [32, 48, 128])
def test_only_position_tables_change(model, size):
    resized = resize_model(model, size)
    assert sam.architecture_of(resized) == {**WITH_TABLES.to_dict(), "image_size": size}
    old, new = model.state_dict(), resized.state_dict()
    changed = {name for name in old if old[name].shape != new[name].shape}
    assert changed == {
        "vision_encoder.pos_embed",
        "vision_encoder.layers.1.attn.rel_pos_h",  # layer 1 is global; layer 0 keeps its window's table
        "vision_encoder.layers.1.attn.rel_pos_w",
    }
    assert all(torch.equal(old[name], new[name]) for name in old.keys() - changed)
    with torch.no_grad():
        image = torch.randn(1, 3, size, size)
        logits, _ = sam.decode(resized, sam.encode(resized, image), torch.tensor([[[1.0, 2.0, size, size]]]))
    assert logits.shape == (1, 1, size // 2, size // 2)


@pytest.mark.parametrize("size", [32, 128])
def test_relative_tables_are_what_attention_would_have_read(model, size):
    """The library interpolates a table of another length at every call; ours must be that table."""
    grid = size // WITH_TABLES.patch_size
    old = model.vision_encoder.layers[1].attn
    new = resize_model(model, size).vision_encoder.layers[1].attn
    for axis in ("rel_pos_h", "rel_pos_w"):
        expected = old.get_rel_pos(grid, grid, getattr(old, axis))
        torch.testing.assert_close(new.get_rel_pos(grid, grid, getattr(new, axis)), expected)


def test_a_larger_image_keeps_what_the_positions_say(model):
    """There and back: a smooth table survives, so the interpolation is not shifted or flipped."""
    line = torch.linspace(0, 1, 8)
    smooth = torch.stack([*torch.meshgrid(line, line, indexing="ij")], dim=-1)[None]
    back = resize_positions(resize_positions(smooth, 16), 8)
    torch.testing.assert_close(back, smooth, atol=0.03, rtol=0)


def test_frozen_trained_and_shared_are_carried_over(model):
    source = resize_model(model, WITH_TABLES.image_size).train()
    source.mask_decoder.requires_grad_(False)
    resized = resize_model(source, 32)
    assert resized.training
    for (name, old), (_, new) in zip(source.named_parameters(), resized.named_parameters(), strict=True):
        assert old.requires_grad == new.requires_grad, name
    shared = resized.shared_image_embedding.positional_embedding
    assert resized.prompt_encoder.shared_embedding.positional_embedding is shared


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(model):
    with pytest.raises(RecipeError, match="multiple of patch_size"):
        resize_model(model, 60)
