"""A training in an experiment tracker: losses and rates by step; scores, ranks and pictures by epoch.

accelerate knows the trackers. They only watch: no number of a run depends on them, and metrics.jsonl has all
that they show but the single steps and the pictures. One that fails is left behind.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from adaloraqat.errors import OutputError, RecipeError
from adaloraqat.models.families import SegmentationModel
from adaloraqat.models.sam import decode
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.films import FilmSet, embed
from adaloraqat.training.recipe import Recipe, public_document

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

logger = logging.getLogger(__name__)

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
LOGS = "logs"
"""The folder of a run that trackers write to which need one."""
PROJECT = "adaloraqat"
PICTURES = 4
_PICTURE_KEYS: dict[str, dict[str, Any]] = {"tensorboard": {"dataformats": "NHWC"}}
_REMEDIES = {
    "tensorboard": "make sure that the run folder can be written",
    "wandb": "run wandb login, or set WANDB_MODE=offline",
    "mlflow": "make sure that MLFLOW_TRACKING_URI names a store that can be reached",
    "trackio": "make sure that TRACKIO_DIR names a folder that can be written",
}
_TRUE, _FOUND = (0, 255, 0), (255, 0, 0)


class Trackers:
    """Passes on what a run reports; without names it does nothing.

    Everything is named `<stage>/<what>/<name>`, such as `stage1/loss/dice`, over the steps of the whole run.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Take trackers by name; nothing is started yet.

        Raises:
            RecipeError: there is no such tracker, or it is not installed.
        """
        for name in names:
            if name not in TRACKERS:
                raise RecipeError(f"There is no tracker {name}; choose one of {', '.join(TRACKERS)}.")
            if importlib.util.find_spec(name) is None:
                raise RecipeError(
                    f"--log {name} needs {name}, which is not installed: run pip install {name}."
                )
        self._names = tuple(dict.fromkeys(names))
        self._trackers: list[GeneralTracker] = []
        self._before = 0

    def start(self, recipe: Recipe, folder: Path, steps: int, device: torch.device) -> None:
        """Begin to log a run.

        Args:
            recipe: of the run; its values become the configuration that a tracker shows.
            folder: of the run.
            steps: that were taken before, where the run is resumed.
            device: where the model computes.

        Raises:
            OutputError: a tracker cannot be started.
        """
        if not self._names:
            return
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=device.type == "cpu")  # else the first tracker would choose a device
        own: dict[str, dict[str, Any]] = {
            "tensorboard": {"logging_dir": str(folder / LOGS), "purge_step": steps + 1 if steps else None},
            "wandb": {"name": folder.name},
            "mlflow": {"run_name": folder.name},
            "trackio": {"name": folder.name},
        }
        values = dict(_flat(public_document(recipe)))
        for name in self._names:
            try:
                project = recipe.name if name == "tensorboard" else PROJECT
                tracker = LOGGER_TYPE_TO_CLASS[name](project, **own[name])
                tracker.start()
                if not steps:
                    tracker.store_init_configuration(values)
            except Exception as cause:  # of whatever kind the tracker's own package raises
                raise OutputError(
                    f"{name} cannot be started here ({_first_line(cause)}): {_REMEDIES[name]}, and continue "
                    "with --resume, or without --log."
                ) from cause
            self._trackers.append(tracker)

    def begin_stage(self, steps: int) -> None:
        """Count the steps from now on beyond `steps`, which the stages before took."""
        self._before = steps

    def step(self, stage: str, step: int, terms: Mapping[str, float], rates: Mapping[str, float]) -> None:
        """Log the loss terms and learning rates of a stage's step number `step`, from 1."""
        self._log(stage, step, {"loss": terms, "rate": rates})

    def epoch(self, stage: str, step: int, entry: Mapping[str, Any], pictures: Callable[[], Tensor]) -> None:
        """Log what metrics.jsonl says after an epoch that ended with `step`, and pictures.

        `pictures` gives them, (N, H, W, 3) uint8, and is asked only where a tracker takes some.
        """
        self._log(stage, step, {key: value for key, value in entry.items() if key != "loss"})
        taking = [tracker for tracker in self._trackers if hasattr(tracker, "log_images")]
        named = {f"{stage}/validation": pictures().numpy()} if taking else {}
        for tracker in taking:
            told = {"step": self._before + step, **_PICTURE_KEYS.get(tracker.name, {})}
            self._tell(tracker, "log_images", named, **told)

    def finish(self) -> None:
        """Let each tracker write what it holds."""
        for tracker in tuple(self._trackers):
            self._tell(tracker, "finish")
        self._trackers.clear()

    def _log(self, stage: str, step: int, entry: Mapping[str, Any]) -> None:
        if self._trackers:
            values = {f"{stage}/{key}": value for key, value in _flat(entry, "/")}
            for tracker in tuple(self._trackers):
                self._tell(tracker, "log", values, step=self._before + step)

    def _tell(self, tracker: GeneralTracker, method: str, *told: Any, **how: Any) -> None:
        """Drop a tracker that fails, such as one whose server is gone: training continues."""
        try:
            getattr(tracker, method)(*told, **how)
        except Exception as cause:
            self._trackers.remove(tracker)
            logger.warning(
                "%s failed (%s): training continues without it; metrics.jsonl has every epoch.",
                tracker.name,
                _first_line(cause),
            )


def _first_line(error: Exception) -> str:
    """Return the beginning of what an exception says."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".")[:200] if lines else type(error).__name__


def _flat(document: Any, joint: str = ".", path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Give the single values of a document with the keys that lead to each; numbers, words and flags only."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from _flat(value, joint, (*path, str(key)))
    elif isinstance(document, list | tuple):
        for place, value in enumerate(document):
            yield from _flat(value, joint, (*path, str(place)))
    elif isinstance(document, int | float | str):
        yield joint.join(path), document


@torch.no_grad()
def pictures(model: SegmentationModel, films: FilmSet, preprocessing: Preprocessing) -> Tensor:
    """Return the first films (N, S, S, 3) uint8, the true mask's contour in green, the found one's in red.

    The model is asked without a box, and is in evaluation mode afterwards.
    """
    model.eval()
    indices = range(min(PICTURES, len(films)))
    images, targets, valid = films.batch(indices)
    size = images.shape[-1]
    boxes = [[[0.0, 0.0, float(w), float(h)]] for h, w in (films.frames[i].resized for i in indices)]
    embedding = embed(model, images, valid, preprocessing)
    logits, _ = decode(model, embedding, torch.tensor(boxes).to(embedding.device))
    found = F.interpolate(logits.float(), size=(size, size), mode="bilinear", align_corners=False).cpu() > 0
    drawn = (images[:, 0, :, :, None] * 255).round().to(torch.uint8).repeat(1, 1, 1, 3).numpy()
    for picture, truth, own in zip(drawn, targets[:, 2] > 0.5, found[:, 0], strict=True):
        picture[_edge(truth.numpy())] = _TRUE
        picture[_edge(own.numpy())] = _FOUND
    return torch.from_numpy(drawn)


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask)
