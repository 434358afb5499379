"""What a step trains on: films in turn or in balance, varied, each with a box and the mask that it asks for.

Without state: any batch can be computed alone from seed, stage and step, which makes resuming exact. Balanced
modalities are QMedSAM's (arXiv 2412.11186). Where a step is prompted by clicks, as a person corrects a mask
(SAM, arXiv 2304.02643), they are drawn last, because they depend on what the model answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from adaloraqat.bundle.format import NO_POINT
from adaloraqat.datasets.manifest import Entry
from adaloraqat.measure.clicks import next_click
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import decode
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.augment import Augmentation, Warp
from adaloraqat.training.films import FilmSet, normalise
from adaloraqat.training.recipe import Clicks, Prompts, Recipe

Balance = Literal["all", "min", "tenth"]
CALIBRATION_BATCH = 8
_OF_VIEWS = 7  # sets the seeds of views apart from those of steps


class Batch(NamedTuple):
    """One batch as the model sees it.

    `indices` of its films; the `warp` they went through, None for none; `images` (B, 1, S, S) in [0, 1];
    `valid` (B, 1, S, S), 1 on the film; `boxes` (B, 1, 4) in model pixels; `wanted` (B, 1, S, S) soft masks;
    `clicks`, how many clicks prompt the step, whether the box does (`with_box`), and whether the box gives
    no more than the first mask (`mask_alone`); `views` which of its fixed views each film shows, all 0 where
    there are none.
    """

    indices: list[int]
    warp: Warp | None
    images: Tensor
    valid: Tensor
    boxes: Tensor
    wanted: Tensor
    clicks: int = 0
    with_box: bool = True
    mask_alone: bool = False
    views: tuple[int, ...] = ()

    def part(self, rows: slice) -> Batch:
        """Return these films of the batch, with all that was drawn for them."""
        return self._replace(
            indices=self.indices[rows],
            warp=None if self.warp is None else self.warp.part(rows),
            images=self.images[rows],
            valid=self.valid[rows],
            boxes=self.boxes[rows],
            wanted=self.wanted[rows],
            views=self.views[rows],
        )


class Batches:
    """The training films of one stage, as an endless row of batches.

    Attributes:
        sampler: which films a batch holds.
        several_modalities: whether the films are of more than one.
    """

    def __init__(self, recipe: Recipe, number: int, films: FilmSet) -> None:
        """Take the films of stage `number`."""
        self._recipe, self._number, self._films = recipe, number, films
        self._stage = recipe.stages[number]
        self._augmentation = Augmentation(self._stage.augmentation, geometry=self._stage.geometry)
        self.sampler = sampler_of(recipe, number, films.entries)
        self.several_modalities = len({modality_of(entry) for entry in films.entries}) > 1

    def draw(self, step: int) -> Batch:
        """Return batch number `step`: films chosen, varied and prompted."""
        generator = torch.Generator().manual_seed(_step_seed(self._recipe.seed, self._number, step))
        indices = self.sampler.batch(self._stage.schedule.batch_size, step)
        images, targets, valid = self._films.batch(indices)
        views = self._views(step)
        if self._stage.views is None:
            images = self._augmentation.vary(images, generator)
            warp = self._augmentation.draw_warp(len(indices), generator)
        else:
            images, warp = self._fixed(images, indices, views)
        if warp is not None:
            images, targets, valid = warp(images, targets, valid)
        prompts = self._recipe.prompts
        boxes, wanted = draw_prompts(targets, valid, prompts, generator)
        batch = Batch(indices, warp, images, valid, boxes, wanted, views=views)
        return batch if prompts.clicks is None else clicked(batch, targets, prompts.clicks, generator)

    @property
    def pictures(self) -> int:
        """How many pictures there are, where they come again: films times views."""
        return len(self._films) * (self._stage.views or 1)

    def rows(self, batch: Batch) -> list[int]:
        """Return the number of each picture of a batch among all `pictures`."""
        count = self._stage.views or 1
        return [index * count + view for index, view in zip(batch.indices, batch.views, strict=True)]

    def _views(self, step: int) -> tuple[int, ...]:
        """Return which view each film of a batch shows: the pass through the films decides."""
        size, count = self._stage.schedule.batch_size, self._stage.views or 1
        return tuple((step * size + place) // self.sampler.pass_length % count for place in range(size))

    def _fixed(
        self, images: Tensor, indices: Sequence[int], views: Sequence[int]
    ) -> tuple[Tensor, Warp | None]:
        """Vary each film as its view is varied in every epoch; view 0 is the film as it is."""
        varied, warps = [], []
        for image, index, view in zip(images.split(1), indices, views, strict=True):
            seed = _step_seed(self._recipe.seed, self._number, _OF_VIEWS, index, view)
            generator = torch.Generator().manual_seed(seed)
            varied.append(self._augmentation.vary(image, generator) if view else image)
            warp = self._augmentation.draw_warp(1, generator)
            warps.append(warp if view or warp is None else Warp.none())
        moved = [warp for warp in warps if warp is not None]
        return torch.cat(varied), Warp.joined(moved) if moved else None


def _step_seed(*parts: int) -> int:
    """Return a 63-bit seed that differs for every (recipe seed, stage, step)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


# ---- which films ---------------------------------------------------------------------------------------


def modality_of(entry: Entry) -> str:
    """Return what a film is balanced by: its modality, or its source where the manifest names none."""
    return entry.modality or entry.source


def quotas(counts: dict[str, int], balance: Balance) -> dict[str, int]:
    """Return how many films of each modality one pass takes, from how many there are.

    `all` takes every film; `min` the number of the smallest modality from each; `tenth` a tenth of each
    (rounded down), but at least as many as the smallest has.
    """
    smallest = min(counts.values())
    if balance == "all":
        return dict(counts)
    if balance == "min":
        return dict.fromkeys(counts, smallest)
    return {name: max(count // 10, smallest) for name, count in counts.items()}


class FilmSampler:
    """An endless stream of passes over the training films, cut into batches.

    Each pass draws its films again, none twice: a modality's films take turns, so that all of them are seen,
    and the pass is shuffled across modalities.

    Attributes:
        pass_length: films in one pass.
    """

    def __init__(self, modalities: Sequence[str], balance: Balance, seed: Sequence[int]) -> None:
        """Take the modality of every film, in the order of the film set."""
        self._modalities = tuple(modalities)
        self._balance, self._seed = balance, tuple(seed)
        self._members = {
            name: [index for index, other in enumerate(modalities) if other == name]
            for name in sorted(set(modalities))
        }
        self._quotas = quotas({name: len(films) for name, films in self._members.items()}, balance)
        self.pass_length = sum(self._quotas.values())

    def batch(self, batch_size: int, step: int) -> list[int]:
        """Return the films of batch number `step`, as indices of the film set."""
        if self._balance == "all":
            return draw_indices(len(self._modalities), batch_size, step, self._seed)
        wanted = range(step * batch_size, (step + 1) * batch_size)
        passes = {turn: self._pass(turn) for turn in {place // self.pass_length for place in wanted}}
        return [passes[place // self.pass_length][place % self.pass_length] for place in wanted]

    def shares(self, batch_size: int, steps: range) -> dict[str, float]:
        """Return the share of each modality among the films of these steps."""
        seen = Counter(self._modalities[index] for step in steps for index in self.batch(batch_size, step))
        total = sum(seen.values())
        return {name: seen[name] / total for name in self._members}

    def _pass(self, turn: int) -> list[int]:
        drawn = [
            film
            for number, (name, films) in enumerate(self._members.items())
            for film in _share_of(films, self._quotas[name], turn, [*self._seed, 5, number])
        ]
        order = np.random.default_rng([*self._seed, 6, turn]).permutation(len(drawn))
        return [drawn[place] for place in order]


def sampler_of(recipe: Recipe, number: int, entries: Sequence[Entry]) -> FilmSampler:
    """Return what draws the training films of stage `number`."""
    modalities = [modality_of(entry) for entry in entries]
    return FilmSampler(modalities, recipe.data.balance, [recipe.seed, number])


def _share_of(films: Sequence[int], quota: int, turn: int, seed: Sequence[int]) -> list[int]:
    """Return `quota` different films; passes share a permutation out before another is drawn."""
    passes = len(films) // quota
    order = np.random.default_rng([*seed, turn // passes]).permutation(len(films))
    start = turn % passes * quota
    return [films[place] for place in order[start : start + quota]]


def draw_indices(count: int, batch_size: int, step: int, seed: Sequence[int]) -> list[int]:
    """Return the films of batch number `step` of an endless stream of seeded permutations.

    Without state: any step can be computed alone, which makes resuming exact.
    """
    wanted = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        turn: np.random.default_rng([*seed, turn]).permutation(count) for turn in {i // count for i in wanted}
    }
    return [int(orders[i // count][i % count]) for i in wanted]


# ---- which boxes ---------------------------------------------------------------------------------------


def draw_prompts(
    targets: Tensor, valid: Tensor, prompts: Prompts, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose a box and the mask it asks for, for each film of a batch.

    Args:
        targets: (B, 3, S, S) soft masks of right lung, left lung, both. Sides that are unknown are empty.
        valid: (B, 1, S, S) 1 where the film is.
        prompts: the shares of each kind of box, and the noise.
        generator: the only source of randomness.

    Returns:
        boxes (B, 1, 4) in model pixels, inside the film; targets (B, 1, S, S). A film without a usable mask
        gets its whole area as box; a one-lung box is used only where both sides are known and visible.
    """
    size = targets.shape[-1]
    draws = torch.rand(len(targets), 6, generator=generator)
    boxes, chosen = [], []
    for index, (kind, side, *noise) in enumerate(draws.tolist()):
        channel = 2
        film = box_of(valid[index, 0], size)
        box = film
        sides_known = bool((targets[index, :2].flatten(1).sum(1) > 0.002 * size * size).all())
        if kind < prompts.one_lung and sides_known:
            channel = int(side < 0.5)
        if (kind < prompts.one_lung and sides_known) or kind >= prompts.one_lung + prompts.whole_film:
            truth = targets[index, channel] > 0.5
            if bool(truth.any()):
                box = _jitter(box_of(truth, size), noise, prompts.noise, film)
        boxes.append(box)
        chosen.append(targets[index, channel])
    return torch.tensor(boxes)[:, None, :], torch.stack(chosen)[:, None]


def clicked(batch: Batch, targets: Tensor, clicks: Clicks, generator: torch.Generator) -> Batch:
    """Return a batch with its number of clicks; without a box all of the mask is wanted, not one lung."""
    share, number, start, handed_on = torch.rand(4, generator=generator).tolist()
    if share >= clicks.share:
        return batch
    batch = batch._replace(clicks=1 + int(number * clicks.most))
    if start < clicks.with_box:
        return batch._replace(mask_alone=handed_on < clicks.mask_alone)
    size, whole = targets.shape[-1], targets[:, 2:3]
    boxes = torch.tensor(
        [[box_of(mask[0] > 0.5, size)] for mask in whole]
    )  # for a teacher, who sees no click
    return batch._replace(boxes=boxes, wanted=whole, with_box=False)


def box_of(mask: Tensor, size: int) -> list[float]:
    """Return [x_min, y_min, x_max, y_max] of a (S, S) mask's nonzero part; of an empty one, the square."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    if len(rows) == 0:
        return [0.0, 0.0, float(size), float(size)]
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _jitter(box: list[float], draws: list[float], noise: float, film: list[float]) -> list[float]:
    """Move each side by up to `noise` of the box (half as far inwards) and stay inside the film."""
    width, height = box[2] - box[0], box[3] - box[1]
    moves = [(draw * 1.5 - 0.5) * noise for draw in draws]
    return [
        max(film[0], box[0] - moves[0] * width),
        max(film[1], box[1] - moves[1] * height),
        min(film[2], box[2] + moves[2] * width),
        min(film[3], box[3] + moves[3] * height),
    ]


def calibration_batches(
    films: FilmSet, preprocessing: Preprocessing, count: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images (B, C, S, S), boxes (B, 2, 4) in model pixels): whole film, and the lungs' box.

    The films are `count` of the set, drawn by seed, each at most once, not augmented.
    """
    count = min(count, len(films))
    chosen = draw_indices(len(films), count, 0, [seed, 9])
    for part in np.array_split(np.array(chosen), max(1, round(count / CALIBRATION_BATCH))):
        images, targets, valid = films.batch(part.tolist())
        size = images.shape[-1]
        boxes = [
            [box_of(valid[row, 0], size), box_of(targets[row, 2] > 0.5, size)] for row in range(len(images))
        ]
        yield normalise(images, valid, preprocessing), torch.tensor(boxes)


# ---- which clicks --------------------------------------------------------------------------------------


def step_prompts(
    model: SegmentationModel, batch: Batch, embedding: Tensor, boxes: Tensor, wanted: Tensor
) -> Sequence[Tensor | None]:
    """Return what a step decodes with, in the order of `decode`: boxes, or clicks with or without them."""
    given = boxes if batch.with_box else None
    if not batch.clicks:
        return (given,)
    clicks = draw_clicks(model, embedding, given, wanted, batch.clicks, batch.mask_alone)
    return None if batch.mask_alone else given, *clicks


@torch.no_grad()
def draw_clicks(
    model: SegmentationModel,
    embedding: Tensor,
    boxes: Tensor | None,
    wanted: Tensor,
    count: int,
    mask_alone: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Click `count` times, each time where the mask so far is wrong; the first time there may be none.

    Where a mask is right, and where nothing is wanted, SAM's empty point stands for a click.

    Args:
        model: in any mode; nothing of it changes.
        embedding: (B, D, g, g).
        boxes: (B, 1, 4) that the first mask comes from; None: the first click lies in the truth.
        wanted: (B, 1, S, S) soft masks.
        count: 1 or more.
        mask_alone: whether the boxes give no more than the first mask.

    Returns:
        points (B, 1, P, 2) in model pixels, labels (B, 1, P), and masks (B, 1, 4g, 4g), the logits that the
        last click corrects; None before any.
    """
    size, truths = wanted.shape[-2:], (wanted[:, 0] > 0.5).cpu().numpy()
    embedding = embedding.detach()
    masks = None if boxes is None else decode(model, embedding, boxes)[0].float()
    boxes = None if mask_alone else boxes
    points, labels = embedding.new_zeros(len(wanted), 1, 0, 2), embedding.new_zeros(len(wanted), 1, 0)
    for place in range(count):
        if place:
            masks = decode(model, embedding, boxes, points, labels, masks)[0].float()
        found = np.zeros_like(truths)
        if masks is not None:
            found = (F.interpolate(masks, size=size, mode="bilinear") > 0)[:, 0].cpu().numpy()
        clicks = [next_click(mask, truth) for mask, truth in zip(found, truths, strict=True)]
        new = torch.tensor([click or (0, 0, NO_POINT) for click in clicks]).to(points)[:, None, None]
        points = torch.cat([points, new[..., :2]], dim=2)
        labels = torch.cat([labels, new[..., 2]], dim=2)
    return points, labels, masks
