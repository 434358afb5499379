"""The head for structures: what its losses count, and that the file which is written answers like it."""

import copy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from adaloraqat.export.extend_bundle import export_structures
from adaloraqat.training.structure_head import (
    Embeddings,
    HeadSettings,
    StructureHead,
    extent_loss,
    join,
    side_features,
    train_head,
    train_sides,
    validate_head,
)

DIM, GRID = 4, 16


def films(count: int, known: bool = True) -> Embeddings:
    """Embeddings that show a heart, in every second film at the image's left instead of its right."""
    random = torch.Generator().manual_seed(count)
    side = 2 * GRID
    targets = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    targets[:, 0, 4:28, 2:12] = targets[:, 1, 4:28, 20:30] = 255
    mirrored = torch.arange(count) % 2 == 1
    for film in range(count):
        first = 9 if mirrored[film] else 14
        targets[film, 2, 16:26, first : first + 9] = 255
    shown = torch.nn.functional.avg_pool2d(targets / 255.0, 2)
    embedding = torch.cat([shown, torch.zeros(count, 1, GRID, GRID)], dim=1)
    embedding = embedding + 0.1 * torch.randn(embedding.shape, generator=random)
    return Embeddings(
        embedding.half(),
        targets,
        torch.ones(count, 1, side, side, dtype=torch.bool),
        mirrored,
        torch.full((count, 3), known),
    )


@pytest.fixture(scope="module")
def trained() -> StructureHead:
    torch.manual_seed(0)
    head = StructureHead(DIM, width=12, dropout=0.0)
    train_head(head, films(32), HeadSettings(epochs=60, batch_size=8), lambda _: None)
    return head.eval()


def test_a_trained_head_finds_the_heart_and_its_side(trained: StructureHead) -> None:
    found = validate_head(trained, films(20))
    assert found["validation_dice"]["heart"] > 0.9
    assert (found["mirrored_missed"], found["mirrored_false"]) == (0, 0)


def test_the_file_answers_like_the_head_and_the_head_stays_as_it_is(
    trained: StructureHead, tmp_path: Path
) -> None:
    path = tmp_path / "structures.onnx"
    export_structures(trained, path, (DIM, GRID))
    session = onnxruntime.InferenceSession(str(path))
    embedding = films(1).embedding.float()
    logits, mirrored = session.run(None, {"embedding": embedding.numpy()})
    with torch.no_grad():
        wanted = trained(embedding)
    assert logits == pytest.approx(wanted[0].numpy(), abs=0.02)
    assert mirrored == pytest.approx(wanted[1].numpy(), abs=0.02)
    assert np.abs(logits).max() > 1
    assert path.stat().st_size < 2.5 * sum(weight.numel() for weight in trained.parameters()) + 20_000
    assert trained.reduce.norm is not None


@pytest.mark.parametrize("grid", [13, 14, 17, 18])
def test_grids_that_cannot_be_quartered_get_answers_of_their_own_size(grid: int, tmp_path: Path) -> None:
    """As an image of 280 px has: 70 cells, whose half is odd."""
    torch.manual_seed(0)
    head = StructureHead(DIM, width=12).eval()
    embedding = torch.randn(1, DIM, grid, grid)
    with torch.no_grad():
        wanted, side = head(embedding)
        moved = embedding.clone()
        moved[..., -1] += 1
        assert not torch.equal(head(moved)[1], side)
    assert wanted.shape == (1, 3, 2 * grid, 2 * grid)
    export_structures(head, tmp_path / "structures.onnx", (DIM, grid))
    session = onnxruntime.InferenceSession(str(tmp_path / "structures.onnx"))
    logits, mirrored = session.run(None, {"embedding": embedding.numpy()})
    assert logits == pytest.approx(wanted.numpy(), abs=0.02)
    assert mirrored == pytest.approx(side.numpy(), abs=0.02)


def test_films_of_another_convention_teach_the_side_alone() -> None:
    other = films(32, known=False)
    other.targets.zero_()  # as if nothing were a lung or a heart in them
    torch.manual_seed(0)
    head = StructureHead(DIM, width=12, dropout=0.0)
    train_head(head, join(films(16), other), HeadSettings(epochs=40, batch_size=8), lambda _: None)
    assert validate_head(head.eval(), films(20))["validation_dice"]["heart"] > 0.9


def test_sides_are_learnt_anew_and_structures_stay(trained: StructureHead) -> None:
    head = copy.deepcopy(trained)
    shown = films(20)
    before = head(shown.embedding.float())[0]
    features, mirrored = side_features(head, films(64))
    assert features.shape == (64, 16, GRID // 2, GRID // 2)
    train_sides(head, features, mirrored, HeadSettings(side_epochs=60), lambda _: None)
    assert torch.equal(head(shown.embedding.float())[0], before)
    found = validate_head(head, shown)
    assert (found["mirrored_missed"], found["mirrored_false"]) == (0, 0)


class Told(StructureHead):
    """A head that answers what the embedding's first cell says."""

    def forward(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(embedding)
        return torch.zeros(count, 3, 2 * GRID, 2 * GRID), embedding[:, 0, 0, 0]


@pytest.mark.parametrize(
    ("usual", "turned", "limit", "missed", "false"),
    [
        ([-6.0] * 100, [2.0] * 100, -2.0, 0, 0),  # halfway
        ([-6.0] * 98 + [-6.0, 3.0], [-4.0, 4.0] + [4.0] * 98, (-5.91 + 3.92) / 2, 1, 1),  # one of 100 is odd
        ([-6.0] * 97 + [-3.0, 1.0, 3.0], [-1.0] * 5 + [4.0] * 95, -1.0, 0, 2),  # at most 2 of 100 are flagged
        ([-6.0] * 97 + [-3.0, 1.0, 3.0], [-4.0] * 5 + [4.0] * 95, -1.0, 5, 2),
        ([-6.0] * 8 + [-4.0, 3.0], [1.0] * 10, -0.5, 0, 1),
    ],
)
def test_the_limit_of_mirrored_films(
    usual: list[float], turned: list[float], limit: float, missed: int, false: int
) -> None:
    shown = films(len(usual) + len(turned))
    shown.mirrored[:] = torch.arange(len(shown)) >= len(usual)
    shown.embedding[:, 0, 0, 0] = torch.tensor(usual + turned).half()
    found = validate_head(Told(DIM), shown)
    assert found["mirrored_limit"] == pytest.approx(float(torch.sigmoid(torch.tensor(limit))), abs=1e-4)
    assert (found["mirrored_missed"], found["mirrored_false"]) == (missed, false)


def test_the_extent_of_a_heart_is_what_its_columns_say() -> None:
    target = torch.zeros(1, 8, 8)
    target[0, 4, 2:6] = 1
    known, valid = torch.tensor([True]), torch.ones(1, 8, 8, dtype=torch.bool)

    def loss(first: int, last: int, row: int = 4, of: torch.Tensor = known) -> float:
        logits = torch.full((1, 8, 8), -6.0)
        logits[0, row, first:last] = 6
        return float(extent_loss(logits, target, of, valid))

    assert loss(2, 6) < 0.01 < loss(2, 7)
    assert loss(2, 6, row=1) == pytest.approx(loss(2, 6))
    assert loss(1, 7) > loss(2, 7)
    assert loss(1, 7, of=torch.tensor([False])) == 0
