"""Several processes that train one model: each takes its share of every batch, and all hold the same weights.

accelerate joins what a launcher has started and knows each process's device. The model itself stays as it
is: DistributedDataParallel would see neither `encode` and `decode`, which call a model's parts, nor a prune,
which removes parameters. Instead, a step's gradients are added up over the processes once, before anything
reads them; they and all that follows (importance, clipping, the optimiser) are then the same everywhere.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from adaloraqat.bundle.cpu import has_bfloat16
from adaloraqat.errors import AdaloraqatError, RecipeError
from adaloraqat.training.batches import Batch
from adaloraqat.training.kinds.base import Precision
from adaloraqat.training.recipe import Recipe

Item = TypeVar("Item")
DeviceChoice = Literal["cpu", "cuda", "mps", "auto"]

_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
_RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
"""Where torchrun, and the MPI that accelerate can start, tell a process its place."""
_PATIENCE = timedelta(days=1)  # while the main process remembers a teacher's answers, the others wait


@dataclass(frozen=True)
class Processes:
    """One process among those that train together; by default it is alone, and nothing is exchanged.

    Attributes:
        device: of this process.
        number: of this process, from 0.
        count: of all processes.
    """

    device: torch.device
    number: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.number == 0

    def shares(self, batch: Batch, accumulate: int) -> Iterator[tuple[Batch, float]]:
        """Give this process's parts of a batch, one at a time, and the share of the batch that each is."""
        parts = self.count * accumulate
        size = len(batch.indices) // parts
        for part in range(self.number * accumulate, (self.number + 1) * accumulate):
            yield batch if parts == 1 else batch.part(slice(part * size, (part + 1) * size)), 1 / parts

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes; in one exchange, to the same bits everywhere."""
        if self.count == 1 or not tensors:
            return
        from accelerate.utils import reduce

        summed = reduce(torch.cat([tensor.flatten() for tensor in tensors]), "sum")
        for tensor, total in zip(tensors, summed.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the main one's values."""
        if self.count == 1:
            return
        from accelerate.utils import broadcast

        with torch.no_grad():
            broadcast(list(tensors))

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return the items that this process works on; `gathered` brings the answers together."""
        return items[self.number :: self.count]

    def gathered(self, answers: list[Item]) -> list[Item]:
        """Return the answers of all processes."""
        if self.count == 1:
            return answers
        from accelerate.utils import gather_object

        return gather_object(answers)

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do what the others then find done."""
        if not self.main:
            self.wait()
        try:
            yield
        finally:
            if self.main:
                self.wait()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Where one process refuses what is within, all raise its sentence, so that none waits in vain."""
        if self.count == 1:
            yield
            return
        refusal: AdaloraqatError | None = None
        try:
            yield
        except AdaloraqatError as error:
            refusal = error
        first = next((error for error in self.gathered([refusal]) if error is not None), None)
        if first is not None:
            raise first

    def check_alike(self, seen: Any) -> None:
        """Refuse processes that have not found the same: other films, or another position in the run.

        Raises:
            RecipeError: says which.
        """
        everywhere = self.gathered([seen])
        for number, found in enumerate(everywhere):
            if found != everywhere[0]:
                raise RecipeError(
                    f"Process {number} of {self.count} finds different films, or a different state of the "
                    "run, from process 0: give all of them the same recipe, --data and --out, which all "
                    "must be able to read."
                )


ALONE = Processes(torch.device("cpu"))
"""A process that was started without a launcher."""


def launched() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many a launcher has started; (0, 1) without one.

    Raises:
        RecipeError: several were asked for, and accelerate started one only.
    """
    by_accelerate = "ACCELERATE_USE_CPU" in os.environ
    sizes, ranks = (_SIZES, _RANKS) if by_accelerate else (_SIZES[:1], _RANKS[:1])
    size, rank = (
        next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), default)
        for names, default in ((sizes, 0), (ranks, 0))
    )
    if not size and by_accelerate and "MASTER_ADDR" in os.environ:
        raise RecipeError(
            "accelerate starts several processes on CPUs through MPI only, and has started one: use torchrun "
            "--nproc-per-node N -m adaloraqat train ..., or accelerate launch --multi_gpu --num_processes N."
        )
    return rank, max(1, size)


def join(choice: DeviceChoice) -> Processes:
    """Return this process, joined with those that were launched beside it.

    Raises:
        RecipeError: the device that the recipe asks for is not there, or cannot work with others.
    """
    _, count = launched()
    if count == 1:
        return Processes(chosen_device(choice))
    from accelerate import PartialState

    device = chosen_device(choice)
    if device.type == "mps":
        raise RecipeError(
            "Apple's GPU trains in one process; start it without a launcher, or write device: cpu."
        )
    state = PartialState(cpu=device.type == "cpu", timeout=_PATIENCE)
    atexit.register(state.destroy_process_group)
    return Processes(state.device, state.process_index, state.num_processes)


def chosen_device(choice: DeviceChoice) -> torch.device:
    """Return the device of a recipe; `auto` is the first CUDA GPU, or the CPU where there is none.

    Films, batches, checkpoints and finished models stay on the CPU's side.

    Raises:
        RecipeError: a GPU is asked for and there is none that torch can use.
    """
    cuda = torch.cuda.is_available()
    if choice == "cpu" or (choice == "auto" and not cuda):
        return torch.device("cpu")
    kind = "cuda" if choice == "auto" else choice
    if not (cuda if kind == "cuda" else torch.backends.mps.is_available()):
        raise RecipeError(
            f"The recipe asks for device: {kind} but torch finds no GPU here; use device: auto or cpu, or "
            f"install {'the CUDA build of torch' if kind == 'cuda' else 'torch on an Apple computer'}."
        )
    return torch.device(kind)


def precision_on(device: torch.device, asked: Precision) -> Precision:
    """Return the precision in which networks are computed on `device` where a schedule asks for this one.

    A CPU that does not compute in bfloat16 would imitate it many times slower, and gain nothing: there it is
    float32, which loses nothing either.
    """
    imitated = asked == "bfloat16" and device.type == "cpu" and has_bfloat16() is False
    return "float32" if imitated else asked


def imitated_precision(recipe: Recipe, device: torch.device) -> str | None:
    """Return a sentence where stages ask for a precision that `device` does not have."""
    asked = {stage.name: stage.schedule.precision for stage in recipe.stages}
    names = [name for name, precision in asked.items() if precision_on(device, precision) != precision]
    if not names:
        return None
    return (
        f"This CPU does not compute in bfloat16, for which the recipe asks in {' and '.join(names)}: it "
        "computes in float32, because imitating bfloat16 would take many times longer."
    )


def check_division(recipe: Recipe, count: int) -> None:
    """Refuse a batch that cannot be shared out evenly.

    Raises:
        RecipeError: says which stage's.
    """
    for stage in recipe.stages:
        size, accumulate = stage.schedule.batch_size, stage.schedule.accumulate
        if size % (count * accumulate):
            shared = f"{count} processes" if count > 1 else "one process"
            parts = f" with accumulate: {accumulate}" if accumulate > 1 else ""
            raise RecipeError(
                f"Stage {stage.name} has a batch_size of {size}, which {shared}{parts} cannot share evenly: "
                f"make it a multiple of {count * accumulate}."
            )


def differing_precision(recipe: Recipe) -> str | None:
    """Return a sentence where accelerate was asked for a precision that the recipe does not name."""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    named = {stage.schedule.precision for stage in recipe.stages}
    if asked == "no" or (asked == "bf16" and named == {"bfloat16"}):
        return None
    return (
        f"The recipe decides about precision, not accelerate's {asked}: for mixed precision give "
        "--set stages.0.schedule.precision=bfloat16, and so for each stage."
    )
