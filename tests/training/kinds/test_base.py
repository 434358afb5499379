"""A new kind is one class: its keys, checks, parameters, hooks, loss, files and words reach the whole run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import Field
from torch import Tensor

from adaloraqat.errors import RecipeError
from adaloraqat.training import parse_recipe
from adaloraqat.training.kinds.base import KINDS, Hooks, Stage, register
from adaloraqat.training.run import load_run
from adaloraqat.training.train import train

Make = Callable[[], dict[str, Any]]


class Anchored(Hooks):
    """Counts backward passes, and remembers the count in checkpoints."""

    def __init__(self) -> None:
        self.seen = 0

    def after_backward(self) -> None:
        self.seen += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"seen": torch.tensor([self.seen])}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.seen = int(state["seen"])


class AnchorStage(Stage):
    """Train the decoder's bias terms only, drawn towards zero; the made-up kind of this test."""

    kind: Literal["anchor"] = "anchor"
    pull: float = Field(default=0.5, ge=0)

    def check_order(self, before, pretrained):
        super().check_order(before, pretrained)
        if not before:
            raise ValueError("an anchor stage must follow another; put one before it")

    def check_steps(self, steps):
        if steps > 9:
            raise RecipeError(f"Stage {self.name} takes at most 9 steps; train shorter.")

    def learns(self, part):
        return part == "decoder"

    def hooks(self, model, optimizer, report):
        made.append(Anchored())
        return made[-1]

    def loss_terms(self, model):
        return {"anchor": self.pull * model.mask_decoder.iou_token.weight.square().sum()}

    def metrics(self, model):
        return {"backwards": made[-1].seen}

    def conclusion(self, before, after, largest_change):
        return f"{self.name}: from {before:.4f} to {after:.4f}"

    def save(self, model, folder, base):
        (folder / "anchor.txt").write_text(str(base))

    def warnings(self, result):
        return [f"took {result['steps']} steps"]


made: list[Anchored] = []


@pytest.fixture(autouse=True)
def _kind() -> Any:
    made.clear()
    register(AnchorStage)
    yield
    del KINDS["anchor"]


@pytest.fixture
def document(both_stages: Make) -> dict[str, Any]:
    document = both_stages()
    anchor = {"name": "hold", "kind": "anchor", "pull": 0.25, "schedule": document["stages"][0]["schedule"]}
    document["stages"].insert(1, {**anchor, "learning_rates": {"decoder": 1e-3}})
    return document


class Interrupted(Exception):
    pass


def test_a_new_kind_is_trained_between_the_others_and_resumed(
    document: dict[str, Any], manifest: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    recipe = parse_recipe(document)
    result = train(recipe, manifest, tmp_path / "run", report=lines.append)
    entry = result["stages"][1]
    assert (entry["kind"], entry["steps"]) == ("anchor", 8)
    assert f"hold: from {entry['before']['dice_no_box']:.4f} to {entry['after']['dice_no_box']:.4f}" in lines
    assert "hold: took 8 steps" in result["warnings"]
    assert (tmp_path / "run" / "anchor.txt").read_text() == "None"
    before, after = (load_run(tmp_path / "run", stage).model.state_dict() for stage in ("stage1", "hold"))
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed
    assert all(name.startswith("mask_decoder.") for name in changed)

    def stop(stage: str, done: int, _: int) -> None:
        if (stage, done) == ("hold", 5):
            raise Interrupted

    with pytest.raises(Interrupted):
        train(recipe, manifest, tmp_path / "torn", on_step=stop, report=lines.append)
    made.clear()
    again = train(recipe, manifest, tmp_path / "torn", resume=True, report=lines.append)
    assert [{**stage} for stage in again["stages"]] == result["stages"]
    metrics = [json.loads(line) for line in (tmp_path / "torn" / "metrics.jsonl").read_text().splitlines()]
    held = [line for line in metrics if line["stage"] == "hold"][1:]
    assert [line["backwards"] for line in held] == [2, 4, 6, 8]  # the count went on where it stood
    assert all(line["loss"]["anchor"] > 0 for line in held)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pull": -1}, "recipe: stages.1.anchor.pull: Input should be greater than or equal to 0."),
        ({"push": 1}, "recipe: stages.1.anchor.push: no such key is known"),
    ],
)
def test_its_keys_are_checked_as_those_of_any_kind(
    change: dict[str, Any], says: str, document: dict[str, Any]
) -> None:
    document["stages"][1] |= change
    with pytest.raises(RecipeError) as refusal:
        parse_recipe(document)
    assert str(refusal.value).startswith(says)


def test_its_place_and_its_steps_are_refused_before_anything_is_written(
    document: dict[str, Any], manifest: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="an anchor stage must follow another"):
        parse_recipe({**document, "stages": document["stages"][1:]})
    document["stages"][1]["schedule"] = {"epochs": 5, "batch_size": 2, "steps_per_epoch": 2}
    with pytest.raises(RecipeError, match="at most 9 steps"):
        train(parse_recipe(document), manifest, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_keeps_the_keys_of_every_kind(document: dict[str, Any]) -> None:
    written = parse_recipe(document).model_dump(mode="json")["stages"]
    assert written[1]["pull"] == 0.25
    assert list(written[0])[:9] == [
        *("name", "schedule", "learning_rates", "losses", "augmentation", "geometry", "views"),
        *("distillation", "kind"),
    ]


def test_a_kind_that_nobody_registered_is_refused(document: dict[str, Any]) -> None:
    document["stages"][1]["kind"] = "unknown"
    with pytest.raises(RecipeError, match=r"stages.1: Input tag 'unknown' .*'full', .*'quantize', 'anchor'"):
        parse_recipe(document)
