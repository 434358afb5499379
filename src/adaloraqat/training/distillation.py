"""Distillation as QMedSAM does it (arXiv 2412.11186): IoU(teacher, truth) · MSE(student, teacher embedding).

The factor makes a film count for as much as its teacher got it right. The paper's loss is Dice + BCE + this.
Where two embeddings differ in grid or width, see `Distiller.compare`.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaloraqat.training.augment import Warp
from adaloraqat.training.losses import bce_loss, mask_iou
from adaloraqat.training.recipe import Distillation
from adaloraqat.training.teacher import Teacher

FITTING_FILMS = 32
RIDGE = 1e-2


class Distiller:
    """What a teacher adds to the loss of one stage.

    Attributes:
        projection: maps the student's width to the teacher's where they differ, else None. It belongs to the
            training, not to the model: no file of the finished stage holds it.
    """

    def __init__(self, choice: Distillation, teacher: Teacher, student_width: int, student_size: int) -> None:
        """Take a teacher and the student's embedding width D and image side S, px."""
        self.choice, self.teacher, self._size = choice, teacher, student_size
        answer = teacher.embed([0], None)
        width = answer.shape[1]
        differs = width != student_width
        self.projection = nn.Conv2d(student_width, width, 1, device=answer.device) if differs else None

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what learns beside the model, by the names it has in checkpoints."""
        named = self.projection.named_parameters() if self.projection is not None else ()
        return {f"distillation.projection.{name}": parameter for name, parameter in named}

    @torch.no_grad()
    def fit(self, embed: Callable[[Sequence[int]], Tensor]) -> None:
        """Start the projection as the best linear map (least squares, ridge) on the first training films.

        So a stage never begins by pulling the embedding towards an arbitrary map, and stages that follow one
        another need not hand theirs on.

        Args:
            embed: gives the student's embedding (B, D, g, g) of films by index, unvaried.
        """
        if self.projection is None:
            return
        count = min(FITTING_FILMS, len(self.teacher.films))
        batches = [range(start, min(start + 8, count)) for start in range(0, count, 8)]
        pairs = [_rows(embed(batch), self.teacher.embed(batch, None)) for batch in batches]
        weight, bias = least_squares(pairs)
        self.projection.weight.copy_(weight[:, :, None, None])
        self.projection.bias.copy_(bias)  # type: ignore[union-attr]

    def terms(
        self,
        indices: Sequence[int],
        warp: Warp | None,
        embedding: Tensor,
        logits: Tensor,
        boxes: Tensor,
        wanted: Tensor,
    ) -> dict[str, Tensor]:
        """Return the weighted terms of one batch.

        Args:
            indices: the films.
            warp: how augmentation moved them.
            embedding: (B, D, g, g) of the student.
            logits: (B, 1, S, S) of the student.
            boxes: (B, 1, 4) in the student's pixels.
            wanted: (B, 1, S, S) the truth that these boxes ask for.
        """
        answer = self.teacher.embed(indices, warp)
        mask = self.teacher.masks(answer, boxes, self._size)
        mask = F.interpolate(mask, size=wanted.shape[-2:], mode="bilinear", align_corners=False)
        trust = mask_iou(mask, wanted)  # (B,)
        terms = {}
        if self.choice.embedding:
            terms["embedding"] = self.choice.embedding * (trust * self.compare(embedding, answer)).mean()
        if self.choice.masks:
            terms["teacher_masks"] = self.choice.masks * bce_loss(logits, mask.sigmoid())
        return terms

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return each film's mean squared error (B,) between two embeddings of the same square.

        The teacher's is brought to the student's grid: averaged over areas where that is coarser, bilinear
        where it is finer. The student's is brought to the teacher's width by the projection, if they differ.
        """
        projected = student.float() if self.projection is None else self.projection(student.float())
        return (projected - to_grid(teacher, student.shape[-1])).square().mean(dim=(1, 2, 3))


def to_grid(embedding: Tensor, grid: int) -> Tensor:
    """Resample (B, D, g, g) to (B, D, grid, grid); both cover the same image."""
    if embedding.shape[-1] == grid:
        return embedding
    if embedding.shape[-1] > grid:
        return F.interpolate(embedding, size=(grid, grid), mode="area")
    return F.interpolate(embedding, size=(grid, grid), mode="bilinear", align_corners=False)


def least_squares(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return weight (E, D) and bias (E,) of the ridge regression from rows (n, D) to rows (n, E)."""
    gram: Tensor | float = 0.0
    cross: Tensor | float = 0.0
    for inputs, outputs in pairs:
        rows = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1).double()  # (n, D + 1)
        gram, cross = gram + rows.T @ rows, cross + rows.T @ outputs.double()
    assert isinstance(gram, Tensor)
    assert isinstance(cross, Tensor)
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solution = torch.linalg.solve(gram + ridge, cross).float()  # (D + 1, E)
    return solution[:-1].T, solution[-1]


def _rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    teacher = to_grid(teacher, student.shape[-1])
    return student.float().movedim(1, -1).flatten(0, 2), teacher.movedim(1, -1).flatten(0, 2)
