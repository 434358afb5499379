"""Read the copies out of an audit.json that was made before."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaloraqat.datasets.entry import Entry
from adaloraqat.errors import ManifestError


def stored_pairs(path: Path, manifest: Path, entries: Sequence[Entry]) -> tuple[list[tuple[str, str]], str]:
    """Return the pairs of ids, of `manifest`, that an audit.json calls copies; and a notice, or "".

    Where the audit was of several manifests that share an id, its name is `manifest:id`; such a name is
    understood by the manifest's stem or folder and stem.

    Raises:
        ManifestError: the file is missing or no audit.json.
    """
    document = _document(path)
    ids = {entry.id for entry in entries}
    prefixes = [f"{manifest.stem}:", f"{manifest.resolve().parent.name}/{manifest.stem}:"]
    pairs = []
    for pair in document["duplicates"]:
        a, b = (_own(name, ids, prefixes) for name in (pair["a"], pair["b"]))
        if a is not None and b is not None:
            pairs.append((a, b))
    films = [found.get("films") for found in document.get("manifests", []) if isinstance(found, dict)]
    if films and len(entries) not in (*films, sum(filter(None, films))):
        return pairs, (
            f"{path.name} was made of a manifest with another number of films: "
            "copies among newer films are unknown."
        )
    return pairs, ""


def _own(name: str, ids: set[str], prefixes: Sequence[str]) -> str | None:
    if name in ids:
        return name
    for prefix in prefixes:
        if name.startswith(prefix) and name[len(prefix) :] in ids:
            return name[len(prefix) :]
    return None


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        sound = all(isinstance(pair[key], str) for pair in document["duplicates"] for key in ("a", "b"))
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read: name the audit.json of `data audit`.") from error
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ManifestError(f"{path.name} is no audit.json: name the one that `adaloraqat data audit` wrote.")
    checked: dict[str, Any] = document
    return checked
