"""The teacher of a distillation: a frozen model with its own image size and its own preprocessing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import RecipeError
from adaloraqat.files import atomic_path
from adaloraqat.lowrank import merge_adapters
from adaloraqat.lowrank.lora import merge_lora
from adaloraqat.models.checkpoints import load_base
from adaloraqat.models.families import SegmentationModel, accepts_boxes, resize
from adaloraqat.models.sam import architecture_of, decode, encode
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.augment import Warp
from adaloraqat.training.device import device_of
from adaloraqat.training.films import FilmSet, normalise
from adaloraqat.training.run import load_float_run
from adaloraqat.training.start import names_run
from adaloraqat.training.structure import preprocessing_for

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
    """

    model: SegmentationModel
    preprocessing: Preprocessing
    films: FilmSet
    embeddings: NDArray[np.float16] | None = None

    @torch.no_grad()
    def embed(self, indices: Sequence[int], warp: Warp | None) -> Tensor:
        """Return the embedding (B, D, g, g) float32 of films moved by `warp`, with no change of look."""
        if warp is None and self.embeddings is not None:
            remembered = torch.from_numpy(self.embeddings[list(indices)].astype(np.float32))
            return remembered.to(device_of(self.model))
        images, _, valid = self.films.batch(indices)
        if warp is not None:
            moved = warp.sample(torch.cat([images, valid], dim=1))
            images, valid = moved[:, :1], moved[:, 1:].round()
        return encode(
            self.model, normalise(images, valid, self.preprocessing).to(device_of(self.model))
        ).float()

    @torch.no_grad()
    def masks(self, embedding: Tensor, boxes: Tensor, size: int) -> Tensor:
        """Return logits (B, 1, n, n) for boxes (B, 1, 4), which are in pixels of an image of side `size`."""
        scale = self.preprocessing.image_size / size
        return decode(self.model, embedding, boxes * scale)[0].float()


def load_teacher(name: str, image_size: int | None) -> tuple[SegmentationModel, Preprocessing]:
    """Load a run folder's last float stage (adapters merged), published weights, a SAM folder or a `.pth`.

    Args:
        name: what a recipe gives as `distillation.teacher`.
        image_size: the side of its image; None keeps its own.

    Raises:
        RecipeError: the model takes no boxes, hence has no embedding to learn from.
        CheckpointError: it cannot be read.
    """
    if names_run(name):
        run = load_float_run(Path(name))
        model = run.model
        if run.structure.ranks is not None:
            merge_adapters(model)
        if run.structure.lora is not None:
            merge_lora(model)
        if image_size is not None and image_size != architecture_of(model)["image_size"]:
            model = resize(model, image_size)
    else:
        model = load_base(name, image_size)
    if not accepts_boxes(model):
        raise RecipeError(
            f"{Path(name).name} cannot be a teacher: it takes no boxes; name a SAM, a LiteMedSAM or a run of "
            "one."
        )
    model.eval().requires_grad_(False)
    return model, preprocessing_for(architecture_of(model))


def remember_embeddings(teacher: Teacher, folder: Path) -> Teacher:
    """Return the teacher with the embedding of every film on disk, computed once.

    The file in `folder` carries a digest of weights, films and size in its name, so a resumed run and later
    stages take it up again. It holds 2·D·g² bytes a film (0.26 MB for the shipped base) and is mapped, not
    read. Remove it with `forget_embeddings`.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"teacher-{_digest(teacher)}.npy"
    if not path.exists():
        grid = teacher.embed([0], None).shape[1:]
        with atomic_path(path) as temporary:
            table = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.float16, shape=(len(teacher.films), *grid)
            )
            for start in range(0, len(teacher.films), BATCH):
                indices = range(start, min(start + BATCH, len(teacher.films)))
                table[start : indices.stop] = teacher.embed(indices, None).cpu().numpy()
            table.flush()
            del table
    table = np.load(path, mmap_mode="r")
    return Teacher(teacher.model, teacher.preprocessing, teacher.films, table)


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
        digest.update(_film_mark(entry))
    return digest.hexdigest()[:16]


def _film_mark(entry: Entry) -> bytes:
    return f"{entry.id}\t{entry.path_image.stat().st_size}\n".encode()
