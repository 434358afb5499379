"""The run folder: recipe as resolved, metrics, checkpoint, results; it survives a kill at any moment.

Tensors lie with a JSON document in safetensors files, written atomically and read without running any code.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from adaloraqat.errors import CheckpointError, OutputError
from adaloraqat.files import atomic_path, write_json, write_text
from adaloraqat.training.recipe import Recipe, load_recipe

RECIPE, DATA, METRICS, CHECKPOINT, BEST, RESULT = (
    "recipe.yaml",
    "data.json",
    "metrics.jsonl",
    "checkpoint.safetensors",
    "best.safetensors",
    "result.json",
)

Saved = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors, and a JSON document."""


class RunFolder:
    """Reads and writes one run.

    The order of writing makes resuming exact: first the metrics line of an epoch, then the best weights, then
    the checkpoint. Whatever was written after the last checkpoint is done again, to the same bytes, and its
    metrics lines are dropped first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, recipe: Recipe, identity: Mapping[str, str], resume: bool) -> None:
        """Check that the folder can take this run: it is new, or it holds this very run. Nothing is written.

        `identity` is what `data_identity` says of the films.

        Raises:
            OutputError: the folder already holds a run and `resume` is false, or holds something else.
            CheckpointError: `resume` finds another recipe or other films.
        """
        stored = self.folder / RECIPE
        if stored.exists():
            if not resume:
                raise OutputError(
                    f"{self.folder.name} already holds a run; continue it with --resume, "
                    "or choose another --out."
                )
            document = self._data()
            same_films = all(document.get(key, value) == value for key, value in identity.items())
            if _undivided(load_recipe(stored)) != _undivided(recipe) or not same_films:
                what = "another recipe" if same_films else "other films"
                raise CheckpointError(
                    f"{self.folder.name} was started with {what}; resume with the same one, or "
                    "choose another --out."
                )
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder.name} is a file; choose a folder as --out.")
        inside = self.folder.iterdir() if self.folder.exists() else ()
        if any(path.name != DATA and not _unfinished(path) for path in inside):
            raise OutputError(f"{self.folder.name} is not empty and holds no run; choose another --out.")

    def start(self, recipe: Recipe, identity: Mapping[str, str], manifest: Path) -> None:
        """Write what identifies the run, the recipe last; remove what a killed process left unfinished.

        The manifest is kept relative to the run, so that no path of this computer stands in the folder.
        """
        for path in (path for path in self.folder.rglob("*") if _unfinished(path)):
            path.unlink(missing_ok=True)
        if not (self.folder / RECIPE).exists():
            text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            relative = Path(os.path.relpath(manifest.resolve(), self.folder.resolve())).as_posix()
            document = {**identity, "manifest": relative}
            write_text(self.folder / DATA, json.dumps(document) + "\n")
            write_text(self.folder / RECIPE, text)

    def identity(self) -> str:
        """Return the fingerprint of the films that the run was started with, unusable ones too."""
        return str(self._data()["fingerprint"])

    def _data(self) -> dict[str, Any]:
        try:
            document = json.loads((self.folder / DATA).read_text())
        except (OSError, ValueError):
            document = None
        if not isinstance(document, dict) or "fingerprint" not in document:
            raise CheckpointError(f"{self.folder.name} is damaged; start again with another --out.")
        return document

    def manifest(self) -> Path | None:
        """Return the manifest that the run was started with, or None where it is no longer found."""
        try:
            named = self._data().get("manifest")
        except CheckpointError:
            return None
        path = self.folder / named if isinstance(named, str) else None
        return path if path is not None and path.is_file() else None

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        try:
            with open(self.folder / METRICS, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, allow_nan=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(
                "No line can be added to metrics.jsonl; free some disk space and continue with --resume."
            ) from error

    def metrics(self) -> list[dict[str, Any]]:
        """Return the whole lines of metrics.jsonl; a torn last line is left out."""
        path = self.folder / METRICS
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        return [json.loads(line) for line in lines[:-1]]

    def keep_metrics(self, count: int) -> None:
        """Drop every line after the first `count`."""
        path = self.folder / METRICS
        if path.exists():
            lines = path.read_text(encoding="utf-8").split("\n")[:-1][:count]
            write_text(path, "".join(line + "\n" for line in lines))

    def save_checkpoint(self, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        save_tensors(self.folder / CHECKPOINT, tensors, document)

    def load_checkpoint(self) -> Saved | None:
        """Return the checkpoint, or None where none was written yet."""
        path = self.folder / CHECKPOINT
        return load_tensors(path) if path.exists() else None

    def save_best(self, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        """Replace the best weights of the stage that is training."""
        save_tensors(self.folder / BEST, tensors, document)

    def load_best(self) -> Saved:
        """Return the best weights of the stage that is training."""
        return load_tensors(self.folder / BEST)

    def stage_path(self, name: str) -> Path:
        """Return where a finished stage's model lies."""
        return self.folder / "stages" / f"{name}.safetensors"

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json; it comes last and says that the run is finished."""
        write_json(self.folder / RESULT, result)

    def result(self) -> dict[str, Any] | None:
        """Return result.json, or None where the run is not finished.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.folder / RESULT
        if not path.exists():
            return None
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            whole = isinstance(document["films"], dict) and bool(document["stages"][-1]["after"])
        except (OSError, ValueError, TypeError, KeyError, IndexError):
            whole = False
        if not whole:
            raise CheckpointError(f"{path.name} is damaged; remove it and continue with --resume.")
        return document


class WatchedRunFolder(RunFolder):
    """The run folder of a process beside the main one: it reads, and leaves all writing to that one."""

    def _leave(self, *_: object, **__: object) -> None:
        """Write nothing."""

    start = append_metrics = keep_metrics = save_checkpoint = save_best = write_result = _leave


def _undivided(recipe: Recipe) -> Recipe:
    """Return a recipe without the parts that its batches go through in: another computer has other memory."""
    whole = [
        stage.model_copy(update={"schedule": stage.schedule.model_copy(update={"accumulate": 1})})
        for stage in recipe.stages
    ]
    return recipe.model_copy(update={"stages": tuple(whole)})


def _unfinished(path: Path) -> bool:
    """Whether `path` is what `atomic_path` writes to and a killed process leaves behind."""
    return path.name.startswith(".") and ".tmp" in path.name


def save_tensors(path: Path, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write named tensors with `document` as the file's metadata.

    Tensors that share memory (SAM ties its Fourier features) are written once per name, because safetensors
    refuses aliases.

    Raises:
        OutputError: the file cannot be written.
    """
    separate = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"document": json.dumps(document, sort_keys=True)}
    with atomic_path(path) as temporary:
        try:
            save_file(separate, temporary, metadata=metadata)
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: SafetensorError) -> OSError:
    """Return what safetensors says in words ("os error 28") as the OSError that it was."""
    code = re.search(r"os error (\d+)", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(error))


def load_tensors(path: Path) -> Saved:
    """Return what `save_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of ours.
    """
    with _opened(path) as (stream, document):
        return {name: stream.get_tensor(name) for name in stream.keys()}, document  # noqa: SIM118


def load_document(path: Path) -> dict[str, Any]:
    """Return the document alone of what `save_tensors` wrote; the tensors stay on the disk.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of ours.
    """
    with _opened(path) as (_, document):
        return document


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework="pt") as stream:
            yield stream, json.loads((stream.metadata() or {})["document"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path.name} is missing or damaged; train again into a new folder, or restore it from a copy."
        ) from error


def named_under(owner: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that they have in a checkpoint, where they belong to `owner`."""
    return {f"{owner}/{name}": tensor for name, tensor in tensors.items()}


def under(owner: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that belong to one owner, such as `model`, by their own names."""
    prefix = f"{owner}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
