"""What frozen layers make of a film is computed once, and changes no number that anyone would see."""

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.models.tiny_vit import ConvNorm, PatchEmbedding
from adaloraqat.training import loop, parse_recipe
from adaloraqat.training.batches import Batches
from adaloraqat.training.films import load_films
from adaloraqat.training.frozen import frozen_parts
from adaloraqat.training.run import load_start
from adaloraqat.training.run_films import choose_films
from adaloraqat.training.train import train

TINY_VIT: dict[str, Any] = {
    "family": "lite_medsam", "image_size": 32, "channels": 1, "embed_dims": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_sizes": [4, 4, 2, 2], "patch_stride": 1,
    "merge_strides": [2, 2, 1], "mlp_ratio": 2, "prompt_dim": 16, "decoder_mlp_dim": 32, "decoder_layers": 1,
    "decoder_heads": 2, "mask_input_channels": 4, "iou_head_hidden_dim": 16,
}  # fmt: skip
DECODER = {"kind": "full", "train": "decoder"}
LORA = {"kind": "lora", "rank": 2}


def recipe(stage: dict[str, Any], epochs: int = 7) -> Any:
    schedule = {"epochs": epochs, "steps_per_epoch": 3, "batch_size": 2}
    rates = {"decoder": 1e-3, "adapters": 1e-3}
    common = {"name": "stage", "augmentation": 0.0, "schedule": schedule, "learning_rates": rates}
    return parse_recipe(
        {"name": "frozen", "seed": 1, "base": {"architecture": TINY_VIT}, "stages": [{**common, **stage}]}
    )


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        value
        for line in lines
        if line["loss"]
        for value in (line["loss"]["total"], *line["validation"].values())
    ]


@pytest.fixture
def plain_loop(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the loop compute everything in every step."""

    def do() -> None:
        monkeypatch.setattr(loop, "remember_frozen", lambda *_: (None, None))
        monkeypatch.setattr(ConvNorm, "_is_passed_through", lambda _: False)

    return do


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the first layer saw."""
    seen: list[int] = []
    forward = PatchEmbedding.forward

    def counted(self: PatchEmbedding, image: torch.Tensor) -> torch.Tensor:
        seen.append(len(image))
        return forward(self, image)

    monkeypatch.setattr(PatchEmbedding, "forward", counted)
    return seen


@pytest.mark.parametrize(
    "stage",
    [
        DECODER,
        pytest.param({**DECODER, "augmentation": 0.7, "views": 2}, marks=pytest.mark.slow),
        LORA,
    ],
    ids=["decoder", "views", "adapters"],
)
def test_twenty_steps_are_those_of_the_plain_loop(
    stage: dict[str, Any], manifest: Path, tmp_path: Path, plain_loop: Callable[[], None], pictures: list[int]
) -> None:
    train(recipe(stage), manifest, tmp_path / "kept")
    once = sum(pictures)
    pictures.clear()
    plain_loop()
    train(recipe(stage), manifest, tmp_path / "plain")
    assert losses(tmp_path / "kept") == pytest.approx(losses(tmp_path / "plain"), abs=1e-5)
    films = read_manifest(manifest)
    training, validation = (sum(film.split == split for film in films) for split in ("train", "val"))
    assert once <= training * stage.get("views", 1) + validation < sum(pictures)


def test_an_interrupted_stage_ends_with_the_same_numbers(manifest: Path, tmp_path: Path) -> None:
    stage = {**DECODER, "augmentation": 0.7, "views": 2}
    train(recipe(stage, 4), manifest, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(name: str, done: int, total: int) -> None:
        if done == 8:
            raise Stop

    with pytest.raises(Stop):
        train(recipe(stage, 4), manifest, tmp_path / "cut", on_step=stop)
    train(recipe(stage, 4), manifest, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_nothing_of_it_stays_in_the_run_folder(manifest: Path, tmp_path: Path) -> None:
    train(recipe(DECODER, 1), manifest, tmp_path / "run")
    train(recipe({**DECODER, "train": "all"}, 1), manifest, tmp_path / "other")
    names = [{path.name for path in (tmp_path / run).iterdir()} for run in ("run", "other")]
    assert names[0] == names[1]


def test_without_room_on_the_disk_it_is_computed_anew(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    train(recipe(DECODER, 2), manifest, tmp_path / "kept")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with caplog.at_level(logging.WARNING):
        train(recipe(DECODER, 2), manifest, tmp_path / "anew")
    assert "No space left on device" in caplog.text
    assert losses(tmp_path / "anew") == losses(tmp_path / "kept")


def test_views_come_again_and_the_first_is_the_film_as_it_is(manifest: Path) -> None:
    wanted = recipe({**DECODER, "augmentation": 1.0, "views": 3})
    _, structure = load_start(wanted.base, 0)
    training, _ = choose_films(read_manifest(manifest), wanted)
    films = load_films(training, structure.preprocessing_at())
    batches = Batches(wanted, 0, films)
    found: dict[tuple[int, int], torch.Tensor] = {}
    for step in range(len(films) * 6 // 2):
        batch = batches.draw(step)
        for place, key in enumerate(zip(batch.indices, batch.views, strict=True)):
            picture = torch.cat([batch.images[place], batch.valid[place]])
            assert torch.allclose(found.setdefault(key, picture), picture, atol=1e-6)
            assert batches.rows(batch)[place] == 3 * key[0] + key[1]
    assert set(found) == {(film, view) for film in range(len(films)) for view in range(3)}
    for film in range(len(films)):
        as_it_is = films.images[film] / 255
        assert torch.allclose(found[film, 0][:1], as_it_is, atol=1e-5)
        assert not torch.allclose(found[film, 1], found[film, 2], atol=1e-2)


def test_what_learns_or_moves_is_not_frozen(manifest: Path, tmp_path: Path) -> None:
    model, _ = load_start(recipe(DECODER).base, 0)
    assert frozen_parts(model) == 0
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert frozen_parts(model) == 6
    next(model.vision_encoder.layers[1].parameters()).requires_grad_(True)
    assert frozen_parts(model) == 2
