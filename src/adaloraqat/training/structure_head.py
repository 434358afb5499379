"""A head that tells right lung, left lung and heart apart, trained on the embeddings of a finished bundle.

The encoder that ships stays as it is: each training film is encoded once per view (as it is, and varied), and
a small convolutional head learns from these embeddings, which takes minutes without a GPU. The masks of the
bundle do not change by a pixel; what the head adds is which side a pixel belongs to, and the heart.

Films whose label file has no heart, and films without labels, teach the lungs only. Half of the views are
mirrored, because mirrored films and hearts on the right exist and must be seen as they are: the "right lung"
here is the one at the image's left, whatever the film. Films outlined by another convention can teach the
side of the heart alone.

On which side the heart lies is learnt last, on all films and their mirror images, with the rest of the head
as it is: it needs no labels, and hospitals differ in it more than in outlines.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import ManifestError
from adaloraqat.progress import Progress, Report, no_progress
from adaloraqat.radiograph import HEART, Frame, read_film, read_labels
from adaloraqat.training.augment import Augmentation
from adaloraqat.training.films import lung_sides, normalise
from adaloraqat.training.structure_network import STRUCTURES, StructureHead

logger = logging.getLogger(__name__)

FEWEST_HEARTS = 8
"""Training films with a labelled heart without which nothing is trained."""


@dataclass(frozen=True)
class HeadSettings:
    """How a head is trained.

    Attributes:
        views: embeddings per film: the film as it is, its mirror image, then films varied in geometry and
            look.
        epochs: passes over all embeddings.
        side_films: of those that teach the side of the heart alone, taken at most beside the structures.
        side_epochs: passes over all films and their mirror images, for the side alone.
        batch_size: embeddings a step.
        learning_rate: of AdamW, falling to 0 along a cosine.
        weight_decay: of AdamW.
        seed: of everything that is drawn.
        strength: of the augmentation.
        mirrored: weight of the loss of "mirrored" beside that of the structures.
        extent: likewise, of the loss of the heart's left and right ends.
    """

    views: int = 3
    epochs: int = 30
    side_films: int = 70
    side_epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    seed: int = 0
    strength: float = 0.7
    mirrored: float = 0.3
    extent: float = 0.3


@dataclass(frozen=True)
class Embeddings:
    """What a head learns from.

    `embedding` (N, D, g, g) float16; `targets` (N, 3, n, n) uint8 of 255; `valid` (N, 1, n, n) bool: where
    the film is; `mirrored` (N,) bool: of this view; `known` (N, 3) bool: whether a film's structure was
    outlined.
    """

    embedding: Tensor
    targets: Tensor
    valid: Tensor
    mirrored: Tensor
    known: Tensor

    def __len__(self) -> int:
        return len(self.embedding)


def embed_films(
    segmenter: Segmenter,
    entries: Sequence[Entry],
    settings: HeadSettings,
    views: int,
    scale: int,
    progress: Progress = no_progress,
    sides_only: bool = False,
) -> Embeddings:
    """Encode `views` views of each film; with `sides_only` none of their structures counts as known.

    Raises:
        FilmError: a film, mask or label file cannot be read.
        ManifestError: there is no film.
    """
    if not entries:
        raise ManifestError("The manifest has no film for this split; check its split and source columns.")
    vary = Augmentation(strength=settings.strength, flip=0.5)
    generator = torch.Generator().manual_seed(settings.seed)
    rows = []
    for entry in progress(entries, "films"):
        planes, known, frame = _film(segmenter, entry)
        for view in range(views):
            row = _view(segmenter, view, planes, frame, scale, vary, generator)
            rows.append((*row, torch.zeros_like(known) if sides_only else known))
    return Embeddings(*(torch.cat(column) for column in zip(*rows, strict=True)))


Planes = tuple[Tensor, Tensor, Tensor]
"""Image (1, 1, S, S) in [0, 1], targets (1, 3, S, S) in [0, 1], valid (1, 1, S, S) of one film."""


def _film(segmenter: Segmenter, entry: Entry) -> tuple[Planes, Tensor, Frame]:
    """Return the planes of one film, which of the structures are outlined (1, 3) bool, and its frame."""
    film = read_film(entry.path_image)
    right, left, _ = lung_sides(entry, film.shape)
    heart = np.zeros(film.shape, bool)
    if entry.path_labels is not None:
        heart = read_labels(entry.path_labels, film.shape) == HEART
    image, frame = segmenter.bundle.preprocessing.resize(film.pixels, film.aspect)
    targets = np.stack([frame.mask_to_model(mask) for mask in (right, left, heart)])
    known = torch.tensor([[bool(mask.any()) for mask in (right, left, heart)]])
    planes = tuple(torch.from_numpy(np.ascontiguousarray(plane)) for plane in (image, targets, frame.valid()))
    return (planes[0][None, None], planes[1][None], planes[2][None, None]), known, frame


def _view(
    segmenter: Segmenter,
    view: int,
    planes: Planes,
    frame: Frame,
    scale: int,
    vary: Augmentation,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return embedding, targets, valid, mirrored of a view: 0 the film, 1 its mirror image, else varied."""
    image, targets, valid = planes
    mirrored = torch.tensor([view == 1])
    if view == 1:
        image, targets = (_mirrored(plane, frame.resized[1]) for plane in (image, targets))
        targets = targets[:, [1, 0, 2]]
    elif view > 1:
        image = vary.vary(image, generator)
        warp = vary.draw_warp(1, generator)
        if warp is not None:  # it exchanges the first two planes of a mirrored film, and leaves the third
            image, targets, valid = warp(image, targets, valid)
            mirrored = warp.flips
    square = normalise(image, valid, segmenter.bundle.preprocessing)
    embedding = torch.from_numpy(segmenter.engine.encode(square[0].numpy().astype(np.float32)))
    side = scale * embedding.shape[-1]
    small = F.adaptive_avg_pool2d(targets, side).mul(255).round().to(torch.uint8)
    return embedding.half(), small, F.adaptive_avg_pool2d(valid, side) > 0.5, mirrored


def _mirrored(plane: Tensor, width: int) -> Tensor:
    """Mirror the `width` columns of the film; the padding right of them stays."""
    return torch.cat([plane[..., :width].flip(-1), plane[..., width:]], dim=-1)


def train_head(
    head: StructureHead,
    films: Embeddings,
    settings: HeadSettings,
    report: Report = logger.info,
) -> None:
    """Train `head` on `films`; the loss of a structure is BCE + soft Dice, of known structures only.

    Where the heart ends at either side counts once more, because its width is measured there.

    Args:
        head: changed in place.
        films: from `embed_films`.
        settings: rates, epochs, seed.
        report: receives a line after each epoch, with its mean loss.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    for weight in head.parameters():
        if weight.ndim == 4:  # a third quicker on a CPU
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    steps = settings.epochs * math.ceil(len(films) / settings.batch_size)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
    for epoch in range(1, settings.epochs + 1):
        losses = []
        for chosen in torch.randperm(len(films), generator=generator).split(settings.batch_size):
            embedding = films.embedding[chosen].float().contiguous(memory_format=torch.channels_last)
            logits, mirrored = head(embedding)
            loss = structure_loss(
                logits, films.targets[chosen] / 255.0, films.known[chosen], films.valid[chosen]
            )
            loss = loss + settings.extent * extent_loss(
                logits[:, 2], films.targets[chosen, 2] / 255.0, films.known[chosen, 2], films.valid[chosen, 0]
            )
            truth = films.mirrored[chosen].float()
            loss = loss + settings.mirrored * F.binary_cross_entropy_with_logits(mirrored, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            losses.append(float(loss.detach()))
        report(f"epoch {epoch} of {settings.epochs}: loss {sum(losses) / len(losses):.4f}")


SIDE_BATCH = 64
_SIDE_RATE, _SIDE_DECAY, _SIDE_DROPOUT, _CHANNEL_DROPOUT = 6e-3, 0.1, 0.3, 0.1  # by validation films


@torch.no_grad()
def side_features(head: StructureHead, films: Embeddings) -> tuple[Tensor, Tensor]:
    """Return what `head` reads sides from, (N, C, g / 2, g / 2) float16, and (N,) bool, what is mirrored."""
    head.eval()
    parts = [head.features(part.float()).half() for part in films.embedding.split(16)]
    return torch.cat(parts), films.mirrored


def train_sides(
    head: StructureHead, features: Tensor, mirrored: Tensor, settings: HeadSettings, report: Report
) -> None:
    """Train anew what says that a film is mirrored; the rest of `head` stays, and so do its structures.

    Args:
        head: changed in place.
        features: (N, C, g / 2, g / 2) of films and mirror images, from `side_features`.
        mirrored: (N,) bool.
        settings: `side_epochs` and seed.
        report: receives a line at the end.
    """
    torch.manual_seed(settings.seed)
    head.regions.reset_parameters()
    head.side.reset_parameters()
    steps = settings.side_epochs * math.ceil(len(features) / SIDE_BATCH)
    optimizer = torch.optim.AdamW(head.side_parameters(), lr=_SIDE_RATE, weight_decay=_SIDE_DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, _SIDE_RATE, total_steps=steps)
    losses: list[float] = []
    for _ in range(settings.side_epochs):
        losses = []
        for chosen in torch.randperm(len(features)).split(SIDE_BATCH):
            seen = F.dropout2d(features[chosen].float(), _CHANNEL_DROPOUT)
            answer = head.mirrored(seen, _SIDE_DROPOUT)
            loss = F.binary_cross_entropy_with_logits(answer, mirrored[chosen].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            losses.append(float(loss.detach()))
    report(f"sides: loss {sum(losses) / len(losses):.4f} on {len(features)} films and mirror images")


def structure_loss(logits: Tensor, targets: Tensor, known: Tensor, valid: Tensor) -> Tensor:
    """Return BCE + (1 - soft Dice), the mean over known structures; padding does not count.

    Args:
        logits: (B, 3, n, n).
        targets: (B, 3, n, n) in [0, 1].
        known: (B, 3) bool.
        valid: (B, 1, n, n) bool.
    """
    inside = valid.to(logits.dtype)
    pixels = inside.sum(dim=(2, 3))  # (B, 1)
    bce = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * inside).sum(
        dim=(2, 3)
    ) / pixels
    probability = torch.sigmoid(logits) * inside
    overlap = 2 * (probability * targets).sum(dim=(2, 3)) + 1
    dice = overlap / (probability.sum(dim=(2, 3)) + (targets * inside).sum(dim=(2, 3)) + 1)
    weight = known.to(logits.dtype)
    return ((bce + 1 - dice) * weight).sum() / weight.sum().clamp(min=1)


def extent_loss(logits: Tensor, targets: Tensor, known: Tensor, valid: Tensor) -> Tensor:
    """Return the BCE of a structure's shadow on the columns, from which its width is measured.

    Args:
        logits: (B, n, n) of one structure.
        targets: (B, n, n) in [0, 1].
        known: (B,) bool.
        valid: (B, n, n) bool.
    """
    shadow = logits.masked_fill(~valid, -20.0).amax(dim=1)  # (B, n)
    bce = F.binary_cross_entropy_with_logits(shadow, targets.amax(dim=1), reduction="none").mean(dim=1)
    weight = known.to(logits.dtype)
    return (bce * weight).sum() / weight.sum().clamp(min=1)


def train_structures(
    segmenter: Segmenter,
    entries: Sequence[Entry],
    settings: HeadSettings,
    progress: Progress = no_progress,
    report: Report = logger.info,
    sides: Sequence[Entry] = (),
) -> tuple[StructureHead, dict[str, Any]]:
    """Train a head for a bundle on the training films of `entries`; return it, and what it learnt from.

    Films with a labelled heart are taken in `settings.views` views, as many of the others once, spread
    evenly. `sides` are films that teach the side of the heart alone: `settings.side_films` of them are taken
    as they are and mirrored. Of what is left over, each film and its mirror image teach the side at the end.

    Raises:
        ManifestError: fewer than `FEWEST_HEARTS` films have a labelled heart.
        FilmError: a film, mask or label file cannot be read.
    """
    labelled = [entry for entry in entries if entry.path_labels is not None]
    if len(labelled) < FEWEST_HEARTS:
        raise ManifestError(
            f"Only {len(labelled)} training films have a label file: at least {FEWEST_HEARTS} need the "
            "column path_labels (1 right lung, 2 left lung, 3 heart)."
        )
    others = [entry for entry in entries if entry.path_labels is None]
    rest = [*others, *sides]  # of these, only a few teach structures, in one view
    others = _spread(others, len(labelled))
    sides = _spread(sides, settings.side_films)
    rest = [entry for entry in rest if entry not in sides]
    grid = segmenter.embed(read_film(labelled[0].path_image).pixels).embedding.shape
    torch.manual_seed(settings.seed)
    head = StructureHead(grid[1])
    films = embed_films(segmenter, labelled, settings, settings.views, head.scale, progress)
    if others:
        films = join(films, embed_films(segmenter, others, settings, 1, head.scale, progress))
    if sides:
        films = join(films, embed_films(segmenter, sides, settings, 2, head.scale, progress, True))
    if not films.known[:, 2].sum() >= FEWEST_HEARTS:
        raise ManifestError("Too few label files hold a heart (value 3): nothing can be learnt about hearts.")
    train_head(head, films, settings, report)
    learnt = {"films": len(labelled), "films_without_heart": len(others)}
    seen = [side_features(head, films)]
    for entry in progress(rest, "films for sides"):
        seen.append(side_features(head, embed_films(segmenter, [entry], settings, 2, head.scale)))
    features, mirrored = (torch.cat(column) for column in zip(*seen, strict=True))
    train_sides(head, features, mirrored, settings, report)
    learnt["films_for_sides"] = len(labelled) + len(sides) + len(rest)
    how = {"views": settings.views, "epochs": settings.epochs, "seed": settings.seed}
    return head.eval(), {**learnt, **how}


def _spread(entries: Sequence[Entry], most: int) -> list[Entry]:
    return [entries[round(at)] for at in np.linspace(0, len(entries) - 1, min(len(entries), most))]


def join(first: Embeddings, second: Embeddings) -> Embeddings:
    """Return both as one."""
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return Embeddings(*(torch.cat(pair) for pair in pairs))


@torch.no_grad()
def validate_head(head: StructureHead, films: Embeddings) -> dict[str, Any]:
    """Return each structure's mean Dice on the grid, and from which probability a film counts as mirrored.

    The limit is a probability: halfway between what 99 of 100 films stay below and what 99 of 100 mirrored
    ones reach; where these overlap, what at most 2 of 100 films reach (one of fewer than 100).
    `mirrored_missed` and `mirrored_false` say what it costs.

    Args:
        head: the trained head, in eval mode.
        films: validation films, as they are and mirrored.
    """
    answers = [head(part.float()) for part in films.embedding.split(16)]
    logits, mirrored = (torch.cat(column) for column in zip(*answers, strict=True))
    inside = films.valid.float()
    found, truth = (logits > 0) * inside, films.targets / 255.0 * inside
    overlap = 2 * (found * truth).sum(dim=(2, 3)) / (found + truth).sum(dim=(2, 3)).clamp(min=1e-6)
    scores = {
        name: round(float(overlap[films.known[:, plane], plane].mean()), 4)
        for plane, name in enumerate(STRUCTURES)
        if films.known[:, plane].any()
    }
    usual, turned = mirrored[~films.mirrored], mirrored[films.mirrored]
    lowest, usual_99 = float(turned.quantile(0.01)), float(usual.quantile(0.99))
    allowed = max(1, len(usual) // 50)
    highest = usual.topk(min(allowed + 1, len(usual))).values
    limit = (usual_99 + lowest) / 2 if usual_99 < lowest else float(highest[-2:].mean())
    return {
        "validation_dice": scores,
        "mirrored_limit": round(float(torch.sigmoid(torch.tensor(limit))), 6),
        "mirrored_missed": int((turned < limit).sum()),
        "mirrored_false": int((usual >= limit).sum()),
        "validation_films": len(usual),
    }
