"""Distillation as QMedSAM does it (arXiv 2412.11186): IoU(teacher, truth) · MSE(student, teacher embedding).

The factor makes a film count for as much as its teacher got it right. The paper's loss is Dice + BCE + this.
Where two embeddings differ in grid or width, see `Distiller.compare`.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from adaloraqat.files import atomic_path
from adaloraqat.lowrank.orthogonality import exact
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import architecture_of, decode, encode
from adaloraqat.progress import Report
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.augment import Warp
from adaloraqat.training.films import FilmSet, device_of, embed
from adaloraqat.training.kinds.base import Distillation, Stage
from adaloraqat.training.optimization import mask_iou, set_training

FITTING_FILMS = 32
RIDGE = 1e-2
BATCH = 8


@dataclass(frozen=True)
class Teacher:
    """A frozen model, its preprocessing, and the training films at its own size T.

    Attributes:
        model: in evaluation mode, without gradients.
        preprocessing: what the model sees films through.
        films: the student's training films, in the same order, at T.
        embeddings: (N, D, g, g) float16, what the model makes of each film as it is, or None where films
            move under augmentation and the model has to look again each time.
        whole_masks: (N, 1, n, n) uint8, its mask of each whole film as it is, 255 for certain lung, or None.
    """

    model: SegmentationModel
    preprocessing: Preprocessing
    films: FilmSet
    embeddings: NDArray[np.float16] | None = None
    whole_masks: NDArray[np.uint8] | None = None

    @torch.no_grad()
    def embed(self, indices: Sequence[int], warp: Warp | None = None) -> Tensor:
        """Return the embedding (B, D, g, g) float32 of films moved by `warp`, with no change of look."""
        if warp is None and self.embeddings is not None:
            remembered = torch.from_numpy(self.embeddings[list(indices)].astype(np.float32))
            return remembered.to(device_of(self.model))
        images, _, valid = self.films.batch(indices)
        if warp is not None:
            moved = warp.sample(torch.cat([images, valid], dim=1))
            images, valid = moved[:, :1], moved[:, 1:].round()
        return embed(self.model, images, valid, self.preprocessing).float()

    @torch.no_grad()
    def whole_mask_as_is(self, indices: Sequence[int]) -> Tensor:
        """Return the mask (B, 1, n, n) uint8 of whole films as they are, 255 for certain lung."""
        side = float(self.preprocessing.image_size)
        size = [self.films.frames[index].resized for index in indices]
        boxes = [[[0.0, 0.0, width / side, height / side]] for height, width in size]
        logits = self.masks(self.embed(indices), torch.tensor(boxes).to(device_of(self.model)), 1)
        return (logits.sigmoid() * 255).round().to(torch.uint8)

    def whole_mask(self, indices: Sequence[int], warp: Warp | None, size: int) -> Tensor:
        """Return the remembered probabilities (B, 1, size, size) of films moved by `warp`."""
        assert self.whole_masks is not None
        known = torch.from_numpy(self.whole_masks[list(indices)].astype(np.float32)) / 255
        known = F.interpolate(known, size=(size, size), mode="bilinear", align_corners=False)
        return known if warp is None else warp.sample(known)

    @torch.no_grad()
    def masks(self, embedding: Tensor, boxes: Tensor, size: int) -> Tensor:
        """Return logits (B, 1, n, n) for boxes (B, 1, 4), which are in pixels of an image of side `size`."""
        scale = self.preprocessing.image_size / size
        return decode(self.model, embedding, boxes * scale)[0].float()


def remember(teacher: Teacher, stage: Stage, choice: Distillation, folder: Path, report: Report) -> Teacher:
    """Return the teacher with those answers on disk, computed once, that `stage` asks for again and again."""
    if not choice.embedding:
        report(f"{stage.name}: the teacher's masks are computed once")
        return remember_masks(teacher, folder)
    if stage.augmentation == 0 or not stage.geometry:
        report(f"{stage.name}: the teacher's embeddings are computed once")
        return remember_embeddings(teacher, folder)
    return teacher


def remember_embeddings(teacher: Teacher, folder: Path) -> Teacher:
    """Return the teacher with the embedding of every film on disk, computed once.

    The file in `folder` carries a digest of weights, films and size in its name, so a resumed run and later
    stages take it up again. It holds 2·D·g² bytes per film (0.26 MB for the shipped base) and is mapped, not
    read. Remove it with `forget_embeddings`.

    Raises:
        OutputError: it cannot be written.
    """
    table = _remembered(teacher, folder / f"teacher-{_digest(teacher)}.npy", np.float16, teacher.embed)
    return replace(teacher, embeddings=table)


def remember_masks(teacher: Teacher, folder: Path) -> Teacher:
    """Return the teacher with its mask of every whole film on disk, computed once; as `remember_embeddings`.

    A mask moves with its film, so no augmentation makes it worthless: n² bytes per film are all that a small
    student needs of a teacher that costs many times its own step.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"teacher-masks-{_digest(teacher)}.npy"
    return replace(teacher, whole_masks=_remembered(teacher, path, np.uint8, teacher.whole_mask_as_is))


def _remembered(
    teacher: Teacher, path: Path, kind: type[np.generic], answer: Callable[[Sequence[int]], Tensor]
) -> NDArray[Any]:
    """Return the answers to all films, mapped from `path`, which is written where it does not exist."""
    if not path.exists():
        shape = answer([0]).shape[1:]
        with atomic_path(path) as temporary:
            table = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=kind, shape=(len(teacher.films), *shape)
            )
            for start in range(0, len(teacher.films), BATCH):
                indices = range(start, min(start + BATCH, len(teacher.films)))
                table[start : indices.stop] = answer(indices).cpu().numpy()
            table.flush()
            del table
    return np.load(path, mmap_mode="r")


def forget_embeddings(folder: Path) -> None:
    """Remove what `remember_embeddings` left in a run folder."""
    for path in folder.glob("teacher-*.npy"):
        path.unlink()


def _digest(teacher: Teacher) -> str:
    digest = hashlib.sha256(repr(teacher.preprocessing).encode())
    for name, tensor in sorted(teacher.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    for entry in teacher.films.entries:
        digest.update(f"{entry.id}\t{entry.path_image.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


class Distiller:
    """What a teacher adds to the loss of one stage.

    Attributes:
        projection: maps the student's width to the teacher's where they differ, else None. It belongs to the
            training, not to the model: no file of the finished stage holds it.
    """

    def __init__(self, choice: Distillation, teacher: Teacher, student_width: int, student_size: int) -> None:
        """Take a teacher and the student's embedding width D and image side S, px."""
        self.choice, self.teacher, self._size = choice, teacher, student_size
        answer = teacher.embed([0])
        width = answer.shape[1]
        differs = width != student_width and choice.embedding > 0
        self.projection = nn.Conv2d(student_width, width, 1, device=answer.device) if differs else None

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what learns beside the model, by the names it has in checkpoints."""
        named = self.projection.named_parameters() if self.projection is not None else ()
        return {f"distillation.projection.{name}": parameter for name, parameter in named}

    @torch.no_grad()
    def fit(self, model: SegmentationModel, films: FilmSet, preprocessing: Preprocessing) -> None:
        """Start the projection as the best linear map (least squares, ridge) on the first training films.

        So a stage never begins by pulling the embedding towards an arbitrary map, and stages that follow one
        another need not hand theirs on.

        Args:
            model: the student before its first step. It is put into training mode, as in the steps that
                follow: before it has learnt, the running statistics of its batch norms say nothing. They are
                put back afterwards.
            films: of the student, unvaried.
            preprocessing: what the student sees them through.
        """
        set_training(model)
        if self.projection is None:
            return
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        pairs = []
        for start in range(0, min(FITTING_FILMS, len(films)), BATCH):
            indices = range(start, min(start + BATCH, FITTING_FILMS, len(films)))
            images, _, valid = films.batch(indices)
            student = embed(model, images, valid, preprocessing)
            pairs.append(_rows(student, self.teacher.embed(indices)))
        weight, bias = least_squares(pairs)
        self.projection.weight.copy_(weight[:, :, None, None])
        self.projection.bias.copy_(bias)  # type: ignore[union-attr]
        model.load_state_dict(buffers, strict=False)

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
        if self.teacher.whole_masks is not None:
            return {"teacher_masks": self.choice.masks * self._whole_mask_term(indices, warp, logits, boxes)}
        answer = self.teacher.embed(indices, warp)
        mask = self.teacher.masks(answer, boxes, self._size)
        mask = F.interpolate(mask, size=wanted.shape[-2:], mode="bilinear", align_corners=False)
        trust = mask_iou(mask, wanted)  # (B,)
        terms = {}
        if self.choice.embedding:
            terms["embedding"] = self.choice.embedding * (trust * self.compare(embedding, answer)).mean()
        if self.choice.masks:
            terms["teacher_masks"] = self.choice.masks * F.binary_cross_entropy_with_logits(
                logits, mask.sigmoid()
            )
        return terms

    def _whole_mask_term(
        self, indices: Sequence[int], warp: Warp | None, logits: Tensor, boxes: Tensor
    ) -> Tensor:
        """Cross-entropy to the remembered masks: of both lungs, so only where the box holds all of them."""
        size = logits.shape[-1]
        mask = self.teacher.whole_mask(indices, warp, size).to(logits.device)
        places = (torch.arange(size, device=logits.device) + 0.5) * (self._size / size)  # student's pixels
        left, top, right, bottom = boxes[:, 0, :, None].unbind(1)  # (B, 1) each
        columns, rows = (places > left) & (places < right), (places > top) & (places < bottom)  # (B, n)
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        whole = ~((mask > 0.5) & ~inside).flatten(1).any(1)  # (B,)
        error = F.binary_cross_entropy_with_logits(logits, mask, reduction="none").mean((1, 2, 3))
        return (error * whole).mean()

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
        rows = exact(torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1))  # (n, D + 1)
        gram, cross = gram + rows.T @ rows, cross + rows.T @ exact(outputs)
    assert isinstance(gram, Tensor)
    assert isinstance(cross, Tensor)
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solution = torch.linalg.solve(gram + ridge, cross).float()  # (D + 1, E)
    return solution[:-1].T, solution[-1]


def _rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    teacher = to_grid(teacher, student.shape[-1])
    return student.float().movedim(1, -1).flatten(0, 2), teacher.movedim(1, -1).flatten(0, 2)


@torch.no_grad()
def embedding_width(model: SegmentationModel) -> int:
    """Return the channels D of the model's embedding."""
    model.eval()
    config = architecture_of(model)
    size = int(config["image_size"])
    image = torch.zeros(1, int(config["channels"]), size, size, device=device_of(model))
    return encode(model, image).shape[1]
