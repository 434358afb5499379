"""What scoring leaves in a folder while it works, so that it can be continued: setup.json and films.jsonl."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adaloraqat.bundle.format import WHOLE, Bundle, load_bundle
from adaloraqat.bundle.proposer import choose_proposer
from adaloraqat.bundle.segmenter import Segmenter
from adaloraqat.datasets.manifest import Entry, digest_of, fingerprint
from adaloraqat.errors import BundleError, OutputError
from adaloraqat.evaluate.predictions import Predictions
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.files import write_json, write_text
from adaloraqat.radiograph.corrupt import VERSION

SETUP, SCORES = "setup.json", "films.jsonl"

Key = tuple[str, str, str]
"""Which rows belong together: (id of the film, condition, model)."""


class Store:
    """The scores in a folder, each written as soon as it is known.

    Attributes:
        rows: what is known, of an earlier call too.
    """

    def __init__(self, folder: Path, setup: Mapping[str, Any], replace: bool = False) -> None:
        """Begin in `folder`, or continue with what an interrupted call with the same `setup` left there.

        Args:
            folder: made where it is missing.
            setup: of `setup_of`.
            replace: begin again where the folder holds scores of another setup, or damaged ones, and make no
                folder before there is a score.

        Raises:
            OutputError: without `replace`, the folder holds such; or it cannot be written.
        """
        self._folder = folder
        try:
            known = _continued(folder, setup)
            self.rows = read_scores(folder)
        except OutputError:
            if not replace:
                raise
            known, self.rows = dict(setup), {}
            (folder / SCORES).unlink(missing_ok=True)
        self._unwritten: dict[str, Any] | None = known
        if not replace:
            self._begin()

    def add(self, key: Key, rows: list[FilmRow]) -> None:
        """Add the rows of one model on one film in one condition, a row for each prompt.

        Raises:
            OutputError: the file cannot be written.
        """
        self._begin()
        self.rows[key] = rows
        film, condition, model = key
        line = {"id": film, "condition": condition, "model": model, "rows": [asdict(row) for row in rows]}
        try:
            with open(self._folder / SCORES, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            raise OutputError(
                f"{SCORES} cannot be written ({error.strerror}): free some disk space, then continue."
            ) from error

    def _begin(self) -> None:
        if self._unwritten is not None:
            write_json(self._folder / SETUP, self._unwritten)
            self._unwritten = None


def setup_of(
    models: Mapping[str, Segmenter | Predictions],
    entries: Sequence[Entry],
    jitters: Sequence[int],
    tolerances: Sequence[float],
    seed: int,
    clicks: int = 0,
    corrections: int = 0,
    labels: bool = False,
) -> dict[str, Any]:
    """Return what decides a film's scores; results of two setups are never mixed.

    `labels` says whether the lungs are scored apart, by the label files.
    """
    return {
        "fingerprint": fingerprint(entries, files_exist=False),
        **labels_and_spacing(entries, labels),
        "corruptions_version": VERSION,
        "seed": seed,
        "jitters": list(jitters),
        "tolerances": list(tolerances),
        **({"clicks": clicks} if clicks else {}),  # absent in whatever was stored before there were some
        **({"corrections": corrections} if corrections else {}),
        "models": {name: _identity(model) for name, model in models.items()},
    }


def labels_and_spacing(entries: Sequence[Entry], labels: bool) -> dict[str, str]:
    """Return what decides scores beside ids, images and masks, as 64 hexadecimal digits; for `setup_of`.

    Nothing where no film has any of it, as in whatever was stored before it was noted.

    Args:
        entries: films with masks, in any order.
        labels: whether label files are scored. One that cannot be opened counts as empty.
    """
    lines = []
    for entry in entries:
        label_file = digest_of(entry.path_labels) if labels and entry.path_labels else None
        spacing = entry.spacing_mm and [*entry.spacing_mm, bool(entry.modality)]  # see `scored_spacing`
        if label_file is not None or spacing:
            lines.append(json.dumps([entry.id, label_file, spacing]) + "\n")
    if not lines:
        return {}
    return {"labels_and_spacing": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()}


def files_and_use(bundle: Bundle) -> tuple[dict[str, str], list[Any]]:
    """Return what decides a bundle's masks and quality: the SHA-256 of its files by name, and their use.

    Both are for JSON. To the use belongs the bundle that proposes boxes, where this one asks for them.
    """
    files = {name: record.sha256 for name, record in bundle.files.items()}
    prompt = dict(vars(bundle.prompt))
    if not prompt["masks_trained"]:
        del prompt["masks_trained"]  # absent in whatever was scored before there was it
    use = [bundle.preprocessing.to_dict(), prompt, bundle.smallest_part]
    if bundle.quality is not None:
        use.append(asdict(bundle.quality))
    if bundle.prompt.automatic != WHOLE:
        try:
            use.append(files_and_use(load_bundle(choose_proposer(bundle.prompt).name)))
        except BundleError:  # it is not installed, and every film without a box will say so
            use.append(None)
    return files, use


def _identity(model: Segmenter | Predictions) -> str:
    """Return a hash of a bundle's files and description, of a run's weights, or of saved masks."""
    if isinstance(model, Predictions):
        return model.identity()
    files, use = files_and_use(model.bundle)
    digest = hashlib.sha256(json.dumps([*use, model.engine.name, files], sort_keys=True).encode())
    weights = getattr(model.engine, "model", None)
    for name, tensor in weights.state_dict().items() if weights is not None else ():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _continued(folder: Path, setup: Mapping[str, Any]) -> dict[str, Any]:
    """Return `setup` with the models that an earlier call scored beside its own.

    Raises:
        OutputError: the earlier call did something else.
    """
    path = folder / SETUP
    if not path.exists():
        return dict(setup)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        models = {**before["models"], **setup["models"]}
        same = {**before, "models": models} == {**setup, "models": {**models, **before["models"]}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{SETUP} in {folder.name} is damaged: choose another --out.") from error
    if not same:
        raise OutputError(
            f"{folder.name} holds results of other films, models or settings, or an earlier version's: "
            "choose another --out."
        )
    return {**setup, "models": models}


def read_scores(folder: Path) -> dict[Key, list[FilmRow]]:
    """Return the scores in a folder; a line that was cut off in writing is dropped.

    Raises:
        OutputError: the file is damaged.
    """
    path = folder / SCORES
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(path, whole)
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        return {
            (line["id"], line["condition"], line["model"]): [FilmRow(**row) for row in line["rows"]]
            for line in lines
        }
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{SCORES} in {folder.name} is damaged: choose another --out.") from error
