"""Training with simulated clicks, and what comes of it: a bundle that takes points, scored click by click."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import read_manifest, select
from adaloraqat.errors import BundleError, RecipeError
from adaloraqat.evaluate.evaluation import Options, evaluate
from adaloraqat.evaluate.rows import read_rows
from adaloraqat.export.export_run import export_run
from adaloraqat.measure.clicks import next_click
from adaloraqat.models.sam import TINY, build_sam, decode, encode
from adaloraqat.training.batches import Batches
from adaloraqat.training.clicks import draw_clicks
from adaloraqat.training.films import load_films
from adaloraqat.training.recipe import parse_recipe
from adaloraqat.training.run import load_run, load_start
from adaloraqat.training.torch_engine import run_segmenter
from adaloraqat.training.train import train

WANTED = torch.zeros(2, 1, 64, 64)
WANTED[0, 0, 20:50, 8:40] = 1  # nothing is wanted of the second film


@torch.no_grad()
@pytest.mark.parametrize("boxes", [None, torch.tensor([[[8.0, 20, 40, 50]], [[0.0, 0, 64, 64]]])])
def test_each_click_lies_where_the_mask_of_those_before_is_wrong(boxes: torch.Tensor | None) -> None:
    torch.manual_seed(1)
    model = build_sam(TINY).eval()
    embedding = encode(model, torch.randn(2, 1, 64, 64))
    points, labels, masks = draw_clicks(model, embedding, boxes, WANTED, 3)
    truth = WANTED[0, 0].numpy() > 0
    mask = None if boxes is None else decode(model, embedding, boxes)[0]
    for count in range(3):
        found = np.zeros_like(truth)
        if mask is not None:
            found = (torch.nn.functional.interpolate(mask, size=(64, 64), mode="bilinear")[0, 0] > 0).numpy()
        assert (*points[0, 0, count].tolist(), labels[0, 0, count]) == next_click(found, truth)
        if count < 2:
            before = points[:, :, : count + 1], labels[:, :, : count + 1]
            mask = decode(model, embedding, boxes, *before, mask)[0]
    assert torch.equal(masks, mask)
    if boxes is None:  # of the film where nothing is wanted, and at first nothing is marked
        assert (*points[1, 0, 0].tolist(), labels[1, 0, 0]) == (0, 0, -1)


def with_clicks(both_stages: Callable[[], dict[str, Any]], **clicks: Any) -> dict[str, Any]:
    document = both_stages()
    document["prompts"] = {"clicks": clicks}
    return document


def test_a_share_of_the_steps_is_clicked_and_the_others_stay_as_they_were(both_stages, manifest) -> None:
    plain, clicked = (
        parse_recipe(document) for document in (both_stages(), with_clicks(both_stages, share=0.5, most=3))
    )
    _, structure = load_start(plain.base, 0)
    films = load_films(select(read_manifest(manifest), "train"), structure.preprocessing_at())
    before, now = Batches(plain, 0, films), Batches(clicked, 0, films)
    counts = []
    for step in range(60):
        one, other, again = before.draw(step), now.draw(step), now.draw(step)
        assert torch.equal(one.images, other.images)
        assert (other.clicks, other.with_box) == (again.clicks, again.with_box)
        counts.append(other.clicks)
        if other.with_box:
            assert torch.equal(one.boxes, other.boxes)
            assert torch.equal(one.wanted, other.wanted)
        else:
            assert other.clicks
    assert set(counts) == {0, 1, 2, 3}
    assert 20 <= counts.count(0) <= 40


def test_a_run_with_clicks_becomes_a_bundle_that_is_scored_click_by_click(
    both_stages, manifest: Path, tmp_path: Path
) -> None:
    document = with_clicks(both_stages, share=1.0, most=2)
    for stage in document["stages"]:
        stage["schedule"]["epochs"] = 3 if stage["kind"] == "adalora" else 1
    train(parse_recipe(document), manifest, tmp_path / "run")
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", manifest=manifest)
    assert "mask_prompt.onnx" in bundle.files
    models = {
        "bundle": Segmenter.load(bundle.folder, threads=1),
        "run": run_segmenter(load_run(tmp_path / "run")),
    }
    films = select(read_manifest(manifest), "test")
    summary = evaluate(models, films, tmp_path / "scores", options=Options(clicks=3))
    for name in models:
        (scores,) = summary["models"][name].values()
        assert list(scores) == ["no_box", "true_box", "clicks_1", "clicks_2", "clicks_3"]
        assert all(scores[f"clicks_{n}"]["films"] == len(films) for n in (1, 2, 3))
    rows = read_rows(tmp_path / "scores" / "films.csv")
    dices = {(r.model, r.id, r.prompt): r.scores["dice"] for r in rows}
    for (model, film, prompt), dice in dices.items():
        assert dice == pytest.approx(dices["run", film, prompt], abs=0.1), (model, film, prompt)
    assert (tmp_path / "scores" / "masks" / "run" / "clicks_3").is_dir()


def test_one_without_clicks_takes_no_points(both_stages, manifest: Path, tmp_path: Path) -> None:
    document = both_stages()
    document["stages"] = document["stages"][:1]
    document["stages"][0] |= {
        "prune_at": [],
        "schedule": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1},
    }
    train(parse_recipe(document), manifest, tmp_path / "run")
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", precision="fp32")
    assert set(bundle.files) == {"encoder.onnx", "decoder.onnx"}
    for segmenter in (Segmenter.load(bundle.folder, threads=1), run_segmenter(load_run(tmp_path / "run"))):
        with pytest.raises(BundleError, match="does not take points"):
            segmenter.segment(np.zeros((64, 64)), points=[(5, 5)])


def test_a_network_without_prompts_is_not_clicked(both_stages) -> None:
    document = with_clicks(both_stages, share=0.5)
    document["prompts"] |= {"whole_film": 1.0, "one_lung": 0.0}
    with pytest.raises(RecipeError, match="takes no points: leave prompts"):
        parse_recipe(document).check_prompt_free("unet")
