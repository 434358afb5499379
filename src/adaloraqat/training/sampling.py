"""Which films a step sees: every film once a pass, or modalities in balance (QMedSAM, arXiv 2412.11186).

Without state: any batch can be computed alone from seed and step, which makes resuming exact.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from adaloraqat.datasets.manifest import Entry
from adaloraqat.training.films import FilmSet, draw_indices
from adaloraqat.training.recipe import Recipe

Balance = Literal["all", "min", "tenth"]


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

    Each pass draws its films anew, none twice: a modality's films take turns, so that all of them are seen,
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


def sampler_of(recipe: Recipe, number: int, films: FilmSet) -> FilmSampler:
    """Return what draws the training films of stage `number`."""
    modalities = [modality_of(entry) for entry in films.entries]
    return FilmSampler(modalities, recipe.data.balance, [recipe.seed, number])


def _share_of(films: Sequence[int], quota: int, turn: int, seed: Sequence[int]) -> list[int]:
    """Return `quota` different films; passes share a permutation out before another is drawn."""
    passes = len(films) // quota
    order = np.random.default_rng([*seed, turn // passes]).permutation(len(films))
    start = turn % passes * quota
    return [films[place] for place in order[start : start + quota]]
