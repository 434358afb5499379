"""One rank budget for the whole model, spent where the loss feels it.

AdaLoRA-QAT (arXiv 2604.01167) ranks component i by I_i = |λ_i| · |∂L/∂λ_i| and lowers the average rank
from r_max to r_target at a few prune points. Here the budget is GLOBAL: components of all matrices compete,
so that one matrix may keep every component while another loses all.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from adaloraqat.errors import CheckpointError, RecipeError
from adaloraqat.lowrank.adalora_layer import SVDAdapter
from adaloraqat.lowrank.orthogonality import exact


class RankAllocator:
    """Accumulates importance after each backward pass, and masks the least important components when due.

    Example, ViT-B: 36 matrices of rank 48 hold 1728 components; with `r_target=32` and three prune points the
    budget is 1536, then 1344, then 1152. Prune points are counted in whatever the caller counts, epochs or
    optimiser steps::

        loss.backward()
        allocator.accumulate()            # before clipping; true gradients
        optimizer.step()
        if allocator.due(epoch):          # at the end of the epoch
            allocator.prune(epoch)
        if allocator.finished:
            remove_pruned(model, optimizer)
    """

    def __init__(
        self,
        adapters: Mapping[str, SVDAdapter],
        r_target: int,
        prune_points: Sequence[int] = (3, 7, 12),
    ) -> None:
        """Plan the budgets; `adapters` is the answer of `adapters_of(model)`, in the model's order.

        Args:
            adapters: every adapter that shares the budget, by name.
            r_target: rank per matrix, on average, after the last prune point.
            prune_points: strictly rising positive numbers (epochs or steps).

        Raises:
            RecipeError: there are no adapters, `r_target` is not between 0 and the present average rank, or
                the prune points do not rise.
        """
        self.adapters = dict(adapters)
        self.r_target = r_target
        self.prune_points = tuple(prune_points)
        self.initial_budget = sum(adapter.rank for adapter in self.adapters.values())
        self._check_plan()
        self._pruned = 0
        self._steps = 0
        self._sums: dict[str, Tensor] = {}
        self._reset()

    @property
    def final_budget(self) -> int:
        """Components left after the last prune point, over all matrices."""
        return self.r_target * len(self.adapters)

    @property
    def budgets(self) -> tuple[int, ...]:
        """Components left after each prune point: equal steps from the initial to the final budget."""
        count = len(self.prune_points)
        excess = self.initial_budget - self.final_budget
        return tuple(self.initial_budget - (excess * index) // count for index in range(1, count + 1))

    @property
    def finished(self) -> bool:
        """Whether the last prune point lies behind; nothing is left to decide then."""
        return self._pruned == len(self.prune_points)

    def due(self, point: int) -> bool:
        """Whether the next prune belongs at `point`, in the unit of `prune_points`."""
        return not self.finished and self.prune_points[self._pruned] == point

    def ranks(self) -> dict[str, int]:
        """Unmasked components of each matrix, by name."""
        return {name: adapter.rank for name, adapter in self.adapters.items()}

    @torch.no_grad()
    def accumulate(self) -> None:
        """Add |λ · ∂L/∂λ| of every component; call once per optimiser step, after `backward()`.

        The gradients must be those of the loss itself: before clipping, and not multiplied by a loss scale.
        After the last prune this does nothing.

        Raises:
            RuntimeError: an adapter has no gradient, because `backward()` has not run.
        """
        if self.finished:
            return
        for name, adapter in self.adapters.items():
            gradient = adapter.singular_values.grad
            if gradient is None:
                if adapter.capacity == 0:
                    continue
                raise RuntimeError(f"{name} has no gradient: call accumulate() after backward()")
            product = exact(adapter.singular_values) * exact(gradient)
            self._sums[name] += product.abs()
        self._steps += 1

    def importance(self) -> dict[str, Tensor]:
        """Mean of |λ · ∂L/∂λ| over the accumulated steps, (r,) float64 on the CPU by name.

        Raises:
            RecipeError: no step was accumulated since the last prune, or a gradient was not finite.
        """
        if self._steps == 0:
            raise RecipeError(
                "No training step lies before a prune point: place the prune points further apart or later."
            )
        means = {name: (total / self._steps).cpu() for name, total in self._sums.items()}
        if not all(bool(mean.isfinite().all()) for mean in means.values()):
            raise RecipeError(
                "Importance cannot be ranked because a gradient was not finite: lower the learning rate or"
                " train in full precision."
            )
        return means

    @torch.no_grad()
    def prune(self, point: int) -> dict[str, int]:
        """Mask the least important components over all matrices down to this point's budget; start again.

        Components masked before stay masked. Among equals the highest component index goes first, and at the
        same index the matrix that comes first in the model, so that a tie thins all matrices evenly.

        Returns:
            the ranks afterwards, by name.

        Raises:
            ValueError: `point` is not the next prune point (ask `due` first).
            RecipeError: see `importance`.
        """
        if not self.due(point):
            raise ValueError(
                f"{point} is not the next of the prune points {self.prune_points}: ask due() first"
            )
        importance = self.importance()
        candidates = [
            (float(importance[name][index]), -index, matrix, name)
            for matrix, (name, adapter) in enumerate(self.adapters.items())
            for index in adapter.mask.nonzero().flatten().tolist()
        ]
        surplus = max(0, len(candidates) - self.budgets[self._pruned])
        for _, negative_index, _, name in sorted(candidates)[:surplus]:
            self.adapters[name].mask[-negative_index] = 0
        self._pruned += 1
        self._reset()
        return self.ranks()

    def state_dict(self) -> dict[str, Tensor]:
        """What the masks (buffers of the model) do not hold, as tensors that safetensors can save."""
        plan = {
            "plan": torch.tensor([self.r_target, *self.prune_points], dtype=torch.int64),
            "progress": torch.tensor([self.initial_budget, self._pruned, self._steps], dtype=torch.int64),
        }
        return plan | {
            f"importance.{name}": total.detach().cpu().clone() for name, total in self._sums.items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue exactly where `state_dict` was taken; load the model's own state (the masks) as well.

        Raises:
            CheckpointError: the state belongs to another schedule or to a model with other adapters.
        """
        plan = [self.r_target, *self.prune_points]
        if "plan" not in state or "progress" not in state or state["plan"].tolist() != plan:
            raise CheckpointError(
                "The saved rank allocation belongs to another target rank or other prune points: resume with"
                " the recipe that the run was started with."
            )
        saved = {
            key.removeprefix("importance."): value
            for key, value in state.items()
            if key.startswith("importance.")
        }
        initial, pruned, steps = (int(value) for value in state["progress"])
        expected = {name: (adapter.capacity,) for name, adapter in self.adapters.items()}
        if (
            pruned < len(self.prune_points)
            and {name: tuple(value.shape) for name, value in saved.items()} != expected
        ):
            raise CheckpointError(
                "The saved rank allocation belongs to a model with other adapters: resume with the"
                " architecture and rank that the run was started with."
            )
        self.initial_budget, self._pruned, self._steps = initial, pruned, steps
        self._sums = {
            name: value.to(exact(self.adapters[name].mask).device, torch.float64, copy=True)
            for name, value in saved.items()
        }

    def _reset(self) -> None:
        """Forget what was accumulated; after the last prune nothing is kept, as nothing is left to decide."""
        self._steps = 0
        self._sums = (
            {}
            if self.finished
            else {name: torch.zeros_like(exact(adapter.mask)) for name, adapter in self.adapters.items()}
        )

    def _check_plan(self) -> None:
        if not self.adapters:
            raise RecipeError(
                "There are no adapters to share a rank budget: add adapters before the rank allocator."
            )
        if not 0 <= self.final_budget <= self.initial_budget:
            average = math.floor(self.initial_budget / len(self.adapters))
            raise RecipeError(
                f"A target rank of {self.r_target} does not fit adapters of rank {average}: choose one"
                f" between 0 and {average}."
            )
        rising = all(
            later > earlier for earlier, later in zip(self.prune_points, self.prune_points[1:], strict=False)
        )
        if not self.prune_points or not rising or self.prune_points[0] <= 0:
            raise RecipeError(
                f"The prune points {list(self.prune_points)} must be positive and rise strictly: 3, 7, 12."
            )
