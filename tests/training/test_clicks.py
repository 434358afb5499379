"""Training with simulated clicks, and what comes of it: a bundle that takes points, scored click by click."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.format import Prompt
from adaloraqat.datasets.manifest import read_manifest, select
from adaloraqat.errors import BundleError, RecipeError
from adaloraqat.evaluate.evaluation import Options, evaluate
from adaloraqat.evaluate.predictions import mask_path
from adaloraqat.evaluate.rows import read_rows
from adaloraqat.export.export_run import export_run
from adaloraqat.measure.clicks import next_click
from adaloraqat.models.sam import TINY, build_sam, decode, encode
from adaloraqat.radiograph import Preprocessing, read_film, read_mask
from adaloraqat.training.batches import Batches, draw_clicks
from adaloraqat.training.films import load_films
from adaloraqat.training.kinds.base import KINDS
from adaloraqat.training.optimization import trainable_groups
from adaloraqat.training.recipe import parse_recipe
from adaloraqat.training.run import load_run, load_start, model_segmenter, run_segmenter
from adaloraqat.training.train import train

WANTED = torch.zeros(2, 1, 64, 64)
WANTED[0, 0, 20:50, 8:40] = 1  # nothing is wanted of the second film


BOXES = torch.tensor([[[8.0, 20, 40, 50]], [[0.0, 0, 64, 64]]])


@torch.no_grad()
@pytest.mark.parametrize(("boxes", "mask_alone"), [(None, False), (BOXES, False), (BOXES, True)])
def test_each_click_lies_where_the_mask_of_those_before_is_wrong(
    boxes: torch.Tensor | None, mask_alone: bool
) -> None:
    torch.manual_seed(1)
    model = build_sam(TINY).eval()
    embedding = encode(model, torch.randn(2, 1, 64, 64))
    points, labels, masks = draw_clicks(model, embedding, boxes, WANTED, 3, mask_alone)
    truth = WANTED[0, 0].numpy() > 0
    mask = None if boxes is None else decode(model, embedding, boxes)[0]
    for count in range(3):
        found = np.zeros_like(truth)
        if mask is not None:
            found = (torch.nn.functional.interpolate(mask, size=(64, 64), mode="bilinear")[0, 0] > 0).numpy()
        assert (*points[0, 0, count].tolist(), labels[0, 0, count]) == next_click(found, truth)
        if count < 2:
            before = points[:, :, : count + 1], labels[:, :, : count + 1]
            mask = decode(model, embedding, None if mask_alone else boxes, *before, mask)[0]
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


def test_what_embeds_prompts_learns_with_the_decoder_and_the_epoch_is_the_best_after_clicks(
    both_stages, manifest: Path, tmp_path: Path
) -> None:
    document = with_clicks(both_stages, share=1.0, most=2, with_box=0.5, mask_alone=0.5)
    stage = {"name": "clicks", "kind": "full", "train": "decoder", "views": 2}
    stage["schedule"] = {"epochs": 3, "batch_size": 2, "steps_per_epoch": 4}
    stage["learning_rates"] = {"decoder": 1e-2}
    document |= {"monitor": "dice_clicks", "stages": [stage]}
    result = train(parse_recipe(document), manifest, tmp_path / "run")["stages"][0]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scores = {line["epoch"]: line["validation"]["dice_clicks"] for line in lines}
    assert result["after"]["dice_clicks"] == scores[result["best_epoch"]] == max(scores[n] for n in (1, 2, 3))
    before = load_start(parse_recipe(document).base, document["seed"])[0].state_dict()
    moved = {
        name
        for name, value in load_run(tmp_path / "run").model.state_dict().items()
        if (value != before[name]).any()
    }
    for place in (0, 1):  # off and on what is wanted
        assert f"prompt_encoder.point_embed.{place}.weight" in moved
    assert "prompt_encoder.mask_embed.conv1.weight" in moved
    assert not [name for name in moved if name.startswith("vision_encoder.") or "positional" in name]


@pytest.mark.parametrize(
    ("kind", "clicks", "learn"), [("full", True, True), ("full", False, False), ("lora", True, False)]
)
def test_prompts_learn_where_a_file_keeps_them(kind: str, clicks: bool, learn: bool) -> None:
    stage = KINDS[kind](name="one", kind=kind, **({"train": "decoder"} if kind == "full" else {}))
    groups = trainable_groups(build_sam(TINY), stage, clicks)
    assert ("prompts" in {group.rate for group in groups}) == learn
    assert any(group.rate == "decoder" for group in groups)


def test_no_epoch_is_chosen_by_clicks_that_nobody_makes(both_stages) -> None:
    with pytest.raises(RecipeError, match="needs clicks"):
        parse_recipe(both_stages() | {"monitor": "dice_clicks"})


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
    summary = evaluate(models, films, tmp_path / "scores", options=Options(clicks=3, corrections=2))
    for name in models:
        (scores,) = summary["models"][name].values()
        clicked = [*(f"clicks_{n}" for n in (1, 2, 3)), "corrections_1", "corrections_2"]
        assert list(scores) == ["no_box", "true_box", *clicked]
        assert all(scores[f"clicks_{n}"]["films"] == len(films) for n in (1, 2, 3))
    rows = read_rows(tmp_path / "scores" / "films.csv")
    dices = {(r.model, r.id, r.prompt): r.scores["dice"] for r in rows}
    for (model, film, prompt), dice in dices.items():
        assert dice == pytest.approx(dices["run", film, prompt], abs=0.1), (model, film, prompt)
    assert (tmp_path / "scores" / "masks" / "run" / "clicks_3").is_dir()


def test_corrections_hand_the_automatic_mask_on_even_where_masks_were_not_learnt(
    manifest: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    preprocessing = Preprocessing(image_size=TINY.image_size, channels=TINY.channels)
    prompt = Prompt(second_pass=False, quality_trained=False, masks_trained=False)
    model = model_segmenter(build_sam(TINY), preprocessing, prompt, accepts_points=True)
    (entry,) = select(read_manifest(manifest), "test")[:1]
    evaluate({"model": model}, [entry], tmp_path, options=Options(corrections=2))
    film, truth = read_film(entry.path_image), read_mask(entry.path_mask)
    answer, clicks = model.segment(film), []
    for count in (1, 2):
        clicks.append(next_click(answer.mask, truth))
        points, labels = [click[:2] for click in clicks], [click.label for click in clicks]
        answer = model.segment(film, points=points, labels=labels, mask=answer)
        assert (
            read_mask(mask_path(tmp_path, "model", f"corrections_{count}", entry.id)) == answer.mask
        ).all()


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
