"""The published LiteMedSAM, fetched as a user fetches it, computes what the published code computes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.sam import decode, encode

FILMS = os.environ.get("ADALORAQAT_FILMS")


@pytest.mark.skipif(not FILMS, reason="golden values lie beside the films: set ADALORAQAT_FILMS")
@torch.no_grad()
def test_the_published_weights_give_the_published_answers(lite_medsam: Path) -> None:
    golden = np.load(Path(FILMS) / "golden" / "lite_medsam.npz")
    model = load_base(lite_medsam)
    images = torch.from_numpy(golden["image"])[:, None].expand(-1, 3, -1, -1)
    embedding = encode(model, images)
    logits, quality = decode(model, embedding, torch.from_numpy(golden["boxes"]))
    assert np.abs(embedding[:, ::16, ::4, ::4].numpy() - golden["embedding_sample"]).max() < 1e-5
    assert np.abs(logits.numpy() - golden["logits"]).max() < 1e-3
    assert np.abs(quality.numpy() - golden["iou_prediction"]).max() < 1e-5
    assert np.array_equal(logits.numpy() > 0, golden["logits"] > 0)  # with 1e-6 151 pixels are turned


def test_its_architecture_tells_the_epsilon_and_older_ones_mean_the_usual(lite_medsam: Path) -> None:
    model = load_base(lite_medsam)
    assert model.architecture["decoder_norm_eps"] == 1e-5
    block = model.mask_decoder.transformer.layers[0]
    assert block.layer_norm1.eps == block.layer_norm4.eps == 1e-5
    assert (
        load_base(lite_medsam, decoder_norm_eps=1e-6).mask_decoder.transformer.layers[1].layer_norm2.eps
        == 1e-6
    )
    shipped = load_base("base")
    assert "decoder_norm_eps" not in shipped.architecture
    assert shipped.mask_decoder.transformer.layers[0].layer_norm1.eps == 1e-6
