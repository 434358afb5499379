"""Distillation: the paper's term by hand, embeddings of other grids and widths, the teacher's own view."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.errors import RecipeError
from adaloraqat.models.checkpoints import save_base
from adaloraqat.models.families import build
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training import parse_recipe
from adaloraqat.training.augment import Augmentation
from adaloraqat.training.distillation import (
    Distiller,
    Teacher,
    forget_embeddings,
    least_squares,
    remember_embeddings,
    remember_masks,
    to_grid,
)
from adaloraqat.training.films import load_films
from adaloraqat.training.kinds.base import Distillation
from adaloraqat.training.run import load_teacher
from adaloraqat.training.run_folder import load_tensors
from adaloraqat.training.train import train

Make = Callable[[], dict[str, Any]]


class FixedTeacher(Teacher):
    """Answers with given tensors, so that the term can be worked out by hand."""

    def __init__(self, embedding: torch.Tensor, logits: torch.Tensor) -> None:
        object.__setattr__(self, "given", (embedding, logits))

    def embed(self, indices, warp=None):
        return self.given[0]

    def masks(self, embedding, boxes, size):
        return self.given[1]


def test_the_term_is_iou_times_mse_by_hand() -> None:
    """Two films: the teacher has IoU 1/3 on the first and 1 on the second, the errors are 4 and 0.25."""
    truth = torch.tensor([[[[1.0, 1, 0, 0]] * 4], [[[1.0, 1, 1, 0]] * 4]])  # (2, 1, 4, 4)
    logits = torch.tensor([[[[-5.0, 5, 5, -5]] * 4], [[[5.0, 5, 5, -5]] * 4]])
    teacher = torch.zeros(2, 1, 2, 2)
    student = torch.tensor([2.0, 0.5])[:, None, None, None].expand(2, 1, 2, 2)
    distiller = Distiller(Distillation(teacher="x", embedding=3.0), FixedTeacher(teacher, logits), 1, 4)
    terms = distiller.terms([0, 1], None, student, logits, torch.zeros(2, 1, 4), truth)
    assert set(terms) == {"embedding"}
    assert float(terms["embedding"]) == pytest.approx(3.0 * (4 / 3 + 0.25) / 2, rel=1e-5)
    assert distiller.parameters() == {}


def test_the_soft_masks_are_a_term_of_their_own_and_off_by_default() -> None:
    logits = torch.full((1, 1, 4, 4), 1.5)
    teacher = FixedTeacher(torch.zeros(1, 1, 2, 2), logits)
    distiller = Distiller(Distillation(teacher="x", embedding=0.0, masks=2.0), teacher, 1, 4)
    given = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4), torch.ones(1, 1, 4, 4)
    terms = distiller.terms([0], None, *given)
    assert set(terms) == {"teacher_masks"}
    assert float(terms["teacher_masks"]) == pytest.approx(2 * 0.6931472, rel=1e-5)  # logit 0: ln 2 for any
    with pytest.raises(ValueError, match="a teacher needs a weight"):
        Distillation(teacher="x", embedding=0.0)


def test_grids_meet_on_the_students() -> None:
    fine = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert to_grid(fine, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]  # means of 2×2 areas
    assert to_grid(fine, 4) is fine
    coarse = to_grid(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]), 4)[0, 0]
    assert coarse[0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_a_projection_starts_as_the_best_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4000, 5, generator=generator)
    weight, bias = torch.randn(3, 5, generator=generator), torch.randn(3, generator=generator)
    found_weight, found_bias = least_squares([(part, part @ weight.T + bias) for part in rows.split(1000)])
    assert torch.allclose(found_weight, weight, atol=0.05)
    assert torch.allclose(found_bias, bias, atol=0.05)


@pytest.fixture(scope="module")
def teacher_folder(both_stages: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of 64 px and width 32, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("teacher") / "sam"
    with torch.random.fork_rng():
        torch.manual_seed(5)
        config = both_stages()["base"]["architecture"] | {"image_size": 64, "prompt_dim": 32}
        save_base(build(config), folder)
    return folder


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path, manifest: Path) -> Teacher:
    model, preprocessing = load_teacher(str(teacher_folder), None)
    assert preprocessing.image_size == 64
    entries = [entry for entry in read_manifest(manifest) if entry.split == "train"]
    return Teacher(model, preprocessing, load_films(entries, preprocessing))


def test_teacher_and_student_see_the_same_geometry(manifest: Path) -> None:
    entries = read_manifest(manifest)[:6]
    large, small = (load_films(entries, Preprocessing(size)).images / 255.0 for size in (64, 32))
    warp = Augmentation().draw_warp(6, torch.Generator().manual_seed(1))
    assert warp is not None
    halved = torch.nn.functional.avg_pool2d(warp.sample(large), 2)
    moved = warp.sample(small)
    assert float((halved - moved).abs().mean()) < 0.02
    assert float((moved - small).abs().mean()) > 0.1


def test_boxes_reach_the_teacher_in_its_own_pixels(teacher: Teacher) -> None:
    embedding = teacher.embed([0], None)
    box = torch.tensor([[[4.0, 6.0, 20.0, 30.0]]])
    assert torch.equal(teacher.masks(embedding, box, 32), teacher.masks(embedding, 2 * box, 64))


def test_remembered_embeddings_are_the_live_ones(teacher: Teacher, tmp_path: Path) -> None:
    remembered = remember_embeddings(teacher, tmp_path)
    indices = [3, 0, 5]
    assert torch.allclose(remembered.embed(indices, None), teacher.embed(indices, None), atol=5e-3)
    (file,) = tmp_path.glob("teacher-*.npy")
    written = file.stat().st_mtime_ns
    remember_embeddings(teacher, tmp_path)
    assert file.stat().st_mtime_ns == written
    forget_embeddings(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_remembered_masks_are_the_live_ones_of_whole_films_and_move_with_them(
    teacher: Teacher, tmp_path: Path
) -> None:
    remembered = remember_masks(teacher, tmp_path)
    indices = [3, 0, 5]
    sizes = [teacher.films.frames[index].resized for index in indices]
    boxes = torch.tensor([[[0.0, 0.0, width, height]] for height, width in sizes])
    live = teacher.masks(teacher.embed(indices, None), boxes, 64).sigmoid()
    live = torch.nn.functional.interpolate(live, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.allclose(remembered.whole_mask(indices, None, 64), live, atol=1 / 255)
    warp = Augmentation().draw_warp(3, torch.Generator().manual_seed(1))
    assert warp is not None
    moved = remembered.whole_mask(indices, warp, 64)
    assert torch.allclose(moved, warp.sample(remembered.whole_mask(indices, None, 64)))
    assert not torch.allclose(moved, live, atol=0.01)
    forget_embeddings(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_remembered_mask_teaches_only_where_the_box_holds_all_of_it() -> None:
    mask = np.zeros((2, 1, 8, 8), np.uint8)
    mask[:, 0, 2:4, 2:7] = 255
    given = FixedTeacher(torch.zeros(2, 3, 2, 2), torch.zeros(2, 1, 8, 8))
    object.__setattr__(given, "whole_masks", mask)
    logits = torch.full((2, 1, 8, 8), 2.0)
    # the student's side is 16 px: the mask lies between 4 and 14 px along x, so the second box cuts it
    boxes = torch.tensor([[[3.0, 3.0, 15.0, 9.0]], [[3.0, 3.0, 9.0, 9.0]]])
    terms = Distiller(Distillation(teacher="x", embedding=0.0, masks=1.0), given, 3, 16).terms(
        [0, 1], None, torch.zeros(2, 3, 2, 2), logits, boxes, torch.zeros(2, 1, 8, 8)
    )
    one = (10 * math.log1p(math.exp(-2)) + 54 * math.log1p(math.exp(2))) / 64
    assert float(terms["teacher_masks"]) == pytest.approx(one / 2, rel=1e-6)
    assert set(terms) == {"teacher_masks"}


def distilling(both_stages: Make, teacher: str, **changes: Any) -> dict[str, Any]:
    document = both_stages()
    stage: dict[str, Any] = {
        "name": "distil",
        "kind": "full",
        "distillation": {"teacher": teacher},
        "schedule": {"epochs": 3, "batch_size": 4, "steps_per_epoch": 3},
        "learning_rates": {"encoder": 3e-3, "decoder": 3e-3},
    }
    document["stages"] = [stage | changes]
    return document


@pytest.mark.parametrize("geometry", [True, False])
def test_a_student_of_another_grid_and_width_learns_the_embedding(
    geometry: bool, teacher_folder: Path, both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    """The student has 32 px and width 16, hence a 4×4 grid, where its teacher has 8×8 and 32."""
    out = tmp_path / "run"
    train(
        parse_recipe(distilling(both_stages, str(teacher_folder), geometry=geometry)),
        manifest,
        out,
        report=lambda _: None,
    )
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    terms = [line["loss"]["embedding"] for line in lines if line["loss"]]
    assert terms[-1] < terms[0]
    state, _ = load_tensors(out / "stages" / "distil.safetensors")
    assert not any("projection" in name and "distillation" in name for name in state)
    assert any(name.startswith("beside/") for name in load_tensors(out / "checkpoint.safetensors")[0])
    assert list(out.glob("teacher-*")) == []


def test_a_student_that_is_its_teacher_has_nothing_to_learn(
    teacher_folder: Path, both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    document = distilling(both_stages, str(teacher_folder), augmentation=0.0)
    document["base"] = {"weights": str(teacher_folder)}
    document["stages"][0]["schedule"] = {"epochs": 1, "batch_size": 4, "steps_per_epoch": 1}
    out = tmp_path / "run"
    train(parse_recipe(document), manifest, out, report=lambda _: None)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["loss"]["embedding"] < 1e-5  # embeddings are remembered in 16 bits
    assert lines[1]["loss"]["dice"] > 0.1


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("geometry", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_resumed_equals_uninterrupted(
    geometry: bool, teacher_folder: Path, both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(distilling(both_stages, str(teacher_folder), geometry=geometry))

    def stop(_: str, done: int, __: int) -> None:
        if done == 5:
            raise Interrupted

    train(recipe, manifest, tmp_path / "whole", report=lambda _: None)
    with pytest.raises(Interrupted):
        train(recipe, manifest, tmp_path / "torn", report=lambda _: None, on_step=stop)
    train(recipe, manifest, tmp_path / "torn", resume=True, report=lambda _: None)
    for name in ("stages/distil", "checkpoint"):
        wanted, found = (load_tensors(tmp_path / run / f"{name}.safetensors")[0] for run in ("whole", "torn"))
        assert wanted.keys() == found.keys()
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)


def test_a_teacher_may_be_a_run_with_adapters(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    document = both_stages()
    document["stages"] = document["stages"][:1]
    train(parse_recipe(document), manifest, tmp_path / "teacher", report=lambda _: None)
    recipe = parse_recipe(distilling(both_stages, str(tmp_path / "teacher")))
    train(recipe, manifest, tmp_path / "student", report=lambda _: None)
    lines = [json.loads(line) for line in (tmp_path / "student" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"]["embedding"] > 0


def test_a_network_without_prompts_is_no_teacher(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    document = both_stages()
    document["base"] = {"architecture": "tiny-unet", "image_size": 32}
    document["prompts"] = {"whole_film": 1.0, "one_lung": 0.0}
    document["stages"] = [
        {"name": "net", "kind": "full", "schedule": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1}}
    ]
    train(parse_recipe(document), manifest, tmp_path / "net", report=lambda _: None)
    recipe = parse_recipe(distilling(both_stages, str(tmp_path / "net")))
    with pytest.raises(RecipeError, match="cannot be a teacher"):
        train(recipe, manifest, tmp_path / "student", report=lambda _: None)
    assert not (tmp_path / "student").exists()


def test_what_cannot_be_taught_is_refused(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="leaves the encoder as it is"):
        parse_recipe(distilling(both_stages, "base", train="decoder"))
    document = distilling(both_stages, "base")
    document["base"] = {"architecture": "tiny-unet", "image_size": 32}
    document["prompts"] = {"whole_film": 1.0, "one_lung": 0.0}
    with pytest.raises(RecipeError, match="has no embedding"):
        train(parse_recipe(document), manifest, tmp_path / "student", report=lambda _: None)


def test_a_network_without_prompts_learns_a_teachers_masks(
    teacher_folder: Path, both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    document = distilling(both_stages, str(teacher_folder))
    document["base"] = {"architecture": "tiny-unet", "image_size": 32}
    document["prompts"] = {"whole_film": 1.0, "one_lung": 0.0}
    document["stages"][0]["distillation"] |= {"embedding": 0.0, "masks": 1.0}
    train(parse_recipe(document), manifest, tmp_path / "net", report=lambda _: None)
    lines = [json.loads(line) for line in (tmp_path / "net" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"]["teacher_masks"] < lines[1]["loss"]["teacher_masks"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_in_a_sentence(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    document = distilling(both_stages, "base") | {"device": "cuda"}
    with pytest.raises(RecipeError, match="finds no GPU"):
        train(parse_recipe(document), manifest, tmp_path / "run", report=lambda _: None)
    assert not (tmp_path / "run").exists()
