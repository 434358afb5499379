import subprocess
import sys

import pytest
import torch

from adaloraqat.errors import RecipeError
from adaloraqat.models import families, registry
from adaloraqat.models.baseline_architectures import (
    TINY_UNET,
    DeepLabArchitecture,
    SegFormerArchitecture,
    UNetArchitecture,
)
from adaloraqat.models.sam import architecture_of, count_parameters, decode, encode

SMALL = {
    "unet": UNetArchitecture(image_size=32, features=(4, 4, 4, 4, 4, 4)).to_dict(),
    "segformer": SegFormerArchitecture(
        image_size=64, hidden_sizes=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), decoder_size=16
    ).to_dict(),
    "deeplab_v3_plus": DeepLabArchitecture(image_size=64, depth_multiplier=0.25).to_dict(),
}


def test_the_tiny_unet_has_at_most_a_hundred_thousand_parameters() -> None:
    with torch.device("meta"):
        model = families.build(TINY_UNET.to_dict())
    counts = count_parameters(model)
    assert counts == {"encoder": 97_897, "prompt_encoder": 0, "mask_decoder": 0, "total": 97_897}


@pytest.mark.parametrize(("family", "finer"), [("unet", 1), ("segformer", 4), ("deeplab_v3_plus", 4)])
def test_one_answer_for_every_box_and_measures_that_build_it_again(family: str, finer: int) -> None:
    config = SMALL[family]
    model = families.build(config).eval()
    side = config["image_size"]
    with torch.no_grad():
        embedding = encode(model, torch.rand(2, 1, side, side))
        logits, quality = decode(model, embedding, torch.rand(2, 3, 4))
    assert embedding.shape == (2, 1, side // finer, side // finer)
    assert logits.shape == (2, 3, side // finer, side // finer)
    assert torch.equal(logits[:, 0], logits[:, 2])
    assert torch.equal(quality, torch.zeros(2, 3))
    assert not families.accepts_boxes(model)
    again = families.build(architecture_of(model))
    again.load_state_dict(model.state_dict())


@pytest.mark.parametrize("family", SMALL)
def test_another_size_keeps_the_weights(family: str) -> None:
    model = families.build(SMALL[family])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    larger = families.resize(model, 96)
    assert architecture_of(larger)["image_size"] == 96
    assert all(torch.equal(before[name], tensor) for name, tensor in larger.state_dict().items())
    with pytest.raises(RecipeError, match="multiple of"):
        families.resize(larger, 100)


def test_equal_seeds_give_equal_weights() -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn.append(families.build(SMALL["deeplab_v3_plus"]).state_dict())
    assert all(torch.equal(tensor, drawn[1][name]) for name, tensor in drawn[0].items())


def test_nothing_is_dropped_at_random_so_that_training_can_resume() -> None:
    for config in SMALL.values():
        model = families.build(config).train()
        image = torch.rand(2, 1, config["image_size"], config["image_size"])
        with torch.no_grad():
            assert torch.equal(encode(model, image), encode(model, image))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"family": "unet", "image_size": 40}, "multiple of 16"),
        ({"family": "unet", "features": [8, 8]}, "six widths"),
        ({"family": "unet", "width": 8}, "no field 'width'"),
        ({"family": "segformer", "heads": [1, 2, 5]}, "four"),
        ({"family": "segformer", "heads": [1, 3, 5, 8]}, "multiple of its 3 heads"),
        ({"family": "deeplab_v3_plus", "output_stride": 4}, "8, 16 or 32"),
        ({"family": "deeplab_v3_plus", "depth_multiplier": True}, "positive number"),
        ({"family": "unet", "channels": 0}, "positive whole number"),
        ({"family": "vnet"}, "no model family 'vnet'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_with_a_sentence(config: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        families.check(config)


def test_without_monai_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(RecipeError, match=r"pip install 'adaloraqat\[baselines\]'"):
        families.build(SMALL["unet"])


def test_names_are_known_without_torch_and_monai() -> None:
    code = (
        "import sys, adaloraqat.models.registry as r; r.architecture('tiny-unet').to_dict();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'monai')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    assert set(registry.BASELINES) == {"unet", "tiny-unet", "segformer", "deeplab-v3-plus"}
