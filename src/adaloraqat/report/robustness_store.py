"""What a robustness run leaves while it works, so that it can be continued: setup.json and films.jsonl."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry, fingerprint
from adaloraqat.errors import OutputError
from adaloraqat.files import write_json, write_text
from adaloraqat.radiograph.corrupt import VERSION
from adaloraqat.report.film_rows import FilmRow
from adaloraqat.report.identity import files_and_use

SETUP, SCORES = "setup.json", "films.jsonl"


def setup_of(
    models: Mapping[str, Segmenter],
    entries: Sequence[Entry],
    jitters: Sequence[int],
    tolerances: Sequence[float],
    seed: int,
) -> dict[str, Any]:
    """Return what decides a film's scores; results of two setups are never mixed."""
    return {
        "fingerprint": fingerprint(entries, files_exist=False),
        "corruptions_version": VERSION,
        "seed": seed,
        "jitters": list(jitters),
        "tolerances": list(tolerances),
        "models": {name: _identity(model) for name, model in models.items()},
    }


def _identity(model: Segmenter) -> str:
    """Return a hash of a bundle's files and description, or of a run's weights."""
    files, use = files_and_use(model.bundle)
    digest = hashlib.sha256(json.dumps([*use, model.engine.name, files], sort_keys=True).encode())
    weights = getattr(model.engine, "model", None)
    for name, tensor in weights.state_dict().items() if weights is not None else ():
        digest.update(name.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def begin(out: Path, setup: dict[str, Any]) -> None:
    """Write down what is being done, or check that an interrupted run did the same.

    Raises:
        OutputError: it did something else, or the folder cannot be written.
    """
    path = out / SETUP
    if not path.exists():
        write_json(path, setup)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        same = {**before, "models": None} == {**setup, "models": None}
        models = {**before["models"], **setup["models"]}
        same = same and all(models[name] == identity for name, identity in before["models"].items())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{SETUP} in {out.name} is damaged: choose another --out.") from error
    if not same:
        raise OutputError(
            f"{out.name} holds results of other films, models or settings: choose another --out."
        )
    write_json(path, {**setup, "models": models})


def _line(identity: str, condition: str, name: str, rows: Sequence[FilmRow]) -> str:
    document = {"id": identity, "condition": condition, "model": name, "rows": [asdict(row) for row in rows]}
    return json.dumps(document, allow_nan=False) + "\n"


def append_scores(out: Path, identity: str, condition: str, name: str, rows: Sequence[FilmRow]) -> None:
    """Add the rows of one model on one film in one condition.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        with open(out / SCORES, "a", encoding="utf-8") as stream:
            stream.write(_line(identity, condition, name, rows))
    except OSError as error:
        raise OutputError(
            f"{SCORES} cannot be written ({error.strerror}): make room, then continue."
        ) from error


def read_scores(out: Path) -> dict[tuple[str, str, str], list[FilmRow]]:
    """Return what is known by (film, condition, model); a line that was cut off in writing is dropped.

    Raises:
        OutputError: the file is damaged.
    """
    path = out / SCORES
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(path, whole)
    found = {}
    try:
        for line in whole.splitlines():
            document = json.loads(line)
            rows = [FilmRow(**row) for row in document["rows"]]
            found[document["id"], document["condition"], document["model"]] = rows
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{SCORES} in {out.name} is damaged: choose another --out.") from error
    return found
