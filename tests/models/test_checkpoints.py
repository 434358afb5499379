import dataclasses
import io
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SamModel

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.models import sam
from adaloraqat.models.checkpoints import load_base, save_base
from adaloraqat.models.sam import TINY

ARCHITECTURE = dataclasses.replace(TINY, use_rel_pos=True, channels=3)
POSITIONS = "vision_encoder.pos_embed"
SHARED, SHARED_TOO = sam.SHARED_FREQUENCIES


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = sam.build_sam(ARCHITECTURE).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def folder(model, tmp_path):
    save_base(model, tmp_path / "base")
    return tmp_path / "base"


def same_weights(first, second):
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def without(state, name):
    return {other: tensor for other, tensor in state.items() if other != name}


def change_config(folder, part, **values):
    document = json.loads((folder / "config.json").read_text())
    (document[part] if part else document).update(values)
    (folder / "config.json").write_text(json.dumps(document))


# ---- saved and loaded


def test_a_saved_model_comes_back_bit_for_bit(model, folder):
    loaded = load_base(folder)
    assert same_weights(model, loaded)
    assert sam.architecture_of(loaded) == ARCHITECTURE.to_dict()
    assert not loaded.training
    assert loaded.prompt_encoder.shared_embedding.positional_embedding is (
        loaded.shared_image_embedding.positional_embedding
    )
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_transformers_reads_what_is_saved_and_the_other_way_round(model, folder, tmp_path):
    theirs = SamModel.from_pretrained(folder, local_files_only=True)
    assert same_weights(model, theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    assert same_weights(model, load_base(tmp_path / "theirs"))


def test_half_is_half_the_file_and_close(model, folder, tmp_path):
    save_base(model, tmp_path / "half", half=True)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert stored[SHARED].dtype == torch.float32
    assert stored["vision_encoder.neck.conv2.weight"].dtype == torch.float16
    sizes = [(place / "model.safetensors").stat().st_size for place in (tmp_path / "half", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    loaded = load_base(tmp_path / "half").state_dict()
    for name, tensor in model.state_dict().items():
        assert loaded[name].dtype == torch.float32
        torch.testing.assert_close(loaded[name], tensor, rtol=2**-10, atol=1e-6)
    theirs = SamModel.from_pretrained(tmp_path / "half", local_files_only=True)
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in theirs.state_dict().items())


def test_another_image_size(folder):
    assert load_base(folder, image_size=32).config.vision_config.image_size == 32
    asked = dataclasses.replace(ARCHITECTURE, image_size=128)
    assert sam.architecture_of(load_base(folder, architecture=asked)) == asked.to_dict()
    with pytest.raises(RecipeError, match="multiple of patch_size"):
        load_base(folder, image_size=33)


def test_a_refused_save_leaves_the_old_one(folder):
    before = (folder / "model.safetensors").read_bytes()
    bad = sam.build_sam(ARCHITECTURE)
    with torch.no_grad():
        bad.vision_encoder.neck.conv2.weight.fill_(1e6)
    with pytest.raises(CheckpointError, match="float16"):
        save_base(bad, folder, half=True)
    assert (folder / "model.safetensors").read_bytes() == before
    assert len(list(folder.iterdir())) == 2


def test_a_model_that_is_no_plain_sam_is_not_saved(tmp_path):
    adapted = sam.build_sam(TINY)
    adapted.vision_encoder.layers[0].attn.qkv.register_parameter("P", torch.nn.Parameter(torch.ones(2)))
    with pytest.raises(CheckpointError, match=r"1 tensor too many \(vision_encoder.layers.0.attn.qkv.P\)"):
        save_base(adapted, tmp_path / "base")
    assert not (tmp_path / "base").exists()


# ---- Hugging Face folders in their other forms


def shard(folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"model-1-of-2.safetensors": names[:20], "model-2-of-2.safetensors": names[20:]}
    for part, members in parts.items():
        save_file({name: state[name] for name in members}, folder / part)
    index = {
        "metadata": {},
        "weight_map": {name: part for part, members in parts.items() for name in members},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_shards(model, folder):
    shard(folder)
    assert same_weights(model, load_base(folder))


def test_shards_that_disagree_with_their_index(folder):
    index = shard(folder)
    path = folder / "model.safetensors.index.json"
    place = index["weight_map"][SHARED]
    index["weight_map"][SHARED] = "../elsewhere.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="outside its folder"):
        load_base(folder)
    (place,) = {"model-1-of-2.safetensors", "model-2-of-2.safetensors"} - {place}
    index["weight_map"][SHARED] = place
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="does not hold what"):
        load_base(folder)
    (folder / "model-1-of-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_base(folder)


def test_pickled_weights_with_both_names_of_the_shared_tensor(model, folder):
    (folder / "model.safetensors").unlink()
    torch.save(dict(model.state_dict()), folder / "pytorch_model.bin")
    assert same_weights(model, load_base(folder))
    torch.save({**model.state_dict(), SHARED_TOO: torch.zeros(2, 16)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="two different tensors"):
        load_base(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "mask_decoder.iou_token.weight"), r"lacks 1 tensor \(mask_decoder.iou"),
        (lambda s: without(s, SHARED), r"lacks 1 tensor \(shared_image_embedding"),
        (lambda s: s | {"extra": torch.zeros(1)}, r"holds 1 tensor too many \(extra\)"),
        (lambda s: s | {POSITIONS: torch.zeros(1, 4, 4, 32)}, r"pos_embed with shape \(1, 4, 4, 32\)"),
        (lambda s: s | {POSITIONS: s[POSITIONS] / 0}, "NaN"),
        (lambda s: {n: t.to(torch.int8) for n, t in s.items()}, "int8"),
        (lambda s: {f"a.{n}": t for n, t in s.items()}, r"lacks \d+ tensors \([^,]+, [^,]+, [^,]+, …\) and"),
    ],
)
def test_tensors_that_do_not_fit(folder, change, message):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)
    with pytest.raises(CheckpointError, match=message):
        load_base(folder)


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (None, {"model_type": "sam2"}, "'sam2'"),
        ("vision_config", {"use_abs_pos": False}, "use_abs_pos"),
        ("vision_config", {"hidden_size": "wide"}, "does not describe a SAM"),
        ("vision_config", {"patch_size": 7}, "does not describe a SAM"),
        ("prompt_encoder_config", {"hidden_size": 64}, "prompt_encoder_config.hidden_size"),
        ("mask_decoder_config", {"attention_downsample_rate": 4}, "attention_downsample_rate"),
        ("vision_config", {"num_hidden_layers": 3}, "lacks 14 tensors"),
    ],
)
def test_configurations_that_do_not_fit(folder, part, values, message):
    change_config(folder, part, **values)
    with pytest.raises(CheckpointError, match=message):
        load_base(folder)


def test_an_architecture_that_is_not_the_files(folder):
    asked = dataclasses.replace(ARCHITECTURE, num_heads=4)
    with pytest.raises(CheckpointError, match=r"different num_heads .*\(2, not 4\)"):
        load_base(folder, architecture=asked)


def test_folders_with_something_missing(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty holds no config.json"):
        load_base(tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"base holds no model.safetensors"):
        load_base(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        load_base(folder)


@pytest.mark.parametrize("keep", [0, 4, 2000])
def test_truncated_safetensors(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged"):
        load_base(folder)


# ---- Meta's and MedSAM's files


def test_medsam_wrapping_and_prefix_change_nothing(meta_state, tmp_path):
    torch.save(meta_state, tmp_path / "sam_vit_b_01ec64.pth")
    plain = load_base(tmp_path / "sam_vit_b_01ec64.pth")
    parallel = {f"module.{name}": tensor for name, tensor in meta_state.items()}
    for content in ({"model": meta_state, "epoch": 3}, {"model": parallel, "optimizer": {}}, parallel):
        torch.save(content, tmp_path / "medsam_vit_b.pth")
        assert same_weights(plain, load_base(tmp_path / "medsam_vit_b.pth"))
    torch.save(meta_state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same_weights(plain, load_base(tmp_path / "old.pth"))
    extra = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    torch.save(meta_state | extra, tmp_path / "extra.pth")
    assert same_weights(plain, load_base(tmp_path / "extra.pth"))


def test_half_precision_weights_are_read_as_float32(meta_state, tmp_path):
    torch.save({name: tensor.half() for name, tensor in meta_state.items()}, tmp_path / "half.pth")
    assert {p.dtype for p in load_base(tmp_path / "half.pth").parameters()} == {torch.float32}


def test_meta_weights_at_another_image_size(meta_state, tmp_path):
    torch.save(meta_state, tmp_path / "sam.pth")
    model = load_base(tmp_path / "sam.pth", image_size=128)
    assert model.vision_encoder.pos_embed.shape == (1, 16, 16, 48)
    assert model.vision_encoder.layers[1].attn.rel_pos_h.shape == (31, 12)
    assert model.vision_encoder.layers[0].attn.rel_pos_h.shape == (7, 12)


def test_meta_weights_with_a_tensor_missing(meta_state, tmp_path):
    del meta_state["mask_decoder.mask_tokens.weight"]
    torch.save(meta_state, tmp_path / "sam.pth")
    with pytest.raises(CheckpointError, match=r"sam.pth lacks the tensor mask_decoder.mask_tokens.weight"):
        load_base(tmp_path / "sam.pth")


class Payload:
    """Runs code when unpickled, as a hostile file would."""

    def __reduce__(self):
        return exec, ("import builtins; builtins.adaloraqat_was_run = True",)


def saved(content) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


FOREIGN = {
    "text": b"these are no weights\n" * 100,
    "page": b"<!DOCTYPE html><html><body>404</body></html>",
    "empty": b"",
    "truncated": saved({"image_encoder.pos_embed": torch.zeros(1, 8, 8, 32)})[:900],
    "half a pickle": pickle.dumps({"a": [1, 2, 3]})[:9],
    "code": saved({"model": Payload()}),
    "bare code": pickle.dumps(Payload()),
    "zip": b"PK\x05\x06" + bytes(18),
    "list": saved([1, 2]),
    "no weights": saved({}),
    "numbers": saved({"image_encoder.pos_embed": 3}),
    "other network": saved({"conv1.weight": torch.zeros(3)}),
    "whole module": saved(torch.nn.Linear(2, 2)),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused_in_one_sentence(kind, tmp_path):
    import builtins

    path = tmp_path / "sam_vit_b.pth"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(CheckpointError) as caught:
        load_base(path)
    message = str(caught.value)
    assert "sam_vit_b.pth" in message
    assert "\n" not in message
    assert str(tmp_path) not in message
    assert not hasattr(builtins, "adaloraqat_was_run")


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"no base weights at nowhere.pth"):
        load_base(tmp_path / "nowhere.pth")
