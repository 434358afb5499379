"""What the page consists of: the files of the package adaloraqat-page, and those of the installed bundles.

The package is found by an entry point of the group `adaloraqat.page`, whose value is a module with a folder
`site`; nothing of it is imported. Every address that the server answers stands in one dictionary, so that no
address can lead to another file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import adaloraqat
from adaloraqat.bundle.format import DOCUMENT, Bundle, FileRecord, load_bundle
from adaloraqat.bundle.shipped import choose_model, folder_of, shipped_names
from adaloraqat.errors import AdaloraqatError, BundleError

GROUP = "adaloraqat.page"
PACKAGE = "adaloraqat-page"
INDEX = "index.html"
MODELS = "/models.json"

USUAL_MODELS = ("lung-field-fast", "lung-whole-fast", "lung-open", "lung-field", "lung-whole")
"""What the page opens with where no model is named: a person waits, so the fast ones come first."""


@dataclass(frozen=True)
class Site:
    """Everything that the server answers.

    Attributes:
        files: each address, such as "/index.html" or "/models/lung-field/encoder.onnx", and its file.
        documents: addresses whose content is made here, not read from a file.
        tags: addresses whose content is known by its hash.
    """

    files: dict[str, Path]
    documents: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def open_site(model: str | None = None) -> Site:
    """Return the page with the installed bundles.

    Args:
        model: what the page opens with: an installed bundle's name or a bundle's path; None takes the first
            of `USUAL_MODELS` that is installed.

    Raises:
        BundleError: the page is not installed or not built, or there is no such model, or none at all.
    """
    folder = page_folder()
    first = load_bundle(model or choose_model(None, USUAL_MODELS).name)
    bundles = {first.name: first}
    for name in shipped_names():
        try:
            bundles.setdefault(name, load_bundle(name))
        except AdaloraqatError:
            continue  # a damaged model is not offered; `info` says what is wrong with it
    files = {
        f"/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    tags = {}
    for bundle in bundles.values():
        files[f"/models/{bundle.name}/{DOCUMENT}"] = bundle.folder / DOCUMENT
        for name, record in _graphs(bundle):
            address = f"/models/{bundle.name}/{name}"
            files[address], tags[address] = bundle.folder / name, record.sha256
    document = json.dumps(_models(first.name, bundles), ensure_ascii=False).encode()
    return Site({"/": folder / INDEX, **files}, {MODELS: document}, tags)


def page_folder() -> Path:
    """Return the folder of the page's files.

    Raises:
        BundleError: its package is not installed, or lies in a checkout where it was not built.
    """
    for offer in sorted(entry_points(group=GROUP), key=lambda one: one.value):
        try:
            folder = folder_of(offer.value) / "site"
        except ValueError:
            continue
        if (folder / INDEX).is_file():
            return folder
        raise BundleError(
            f"The page is installed from a checkout where it is not built: run `make page` there (it needs "
            f"Node.js 20 or later), or give pip the path of the wheel {PACKAGE.replace('-', '_')}-*.whl."
        )
    raise BundleError(
        f"The page is not installed: it comes in the package {PACKAGE}, so give pip the path of the wheel "
        f"{PACKAGE.replace('-', '_')}-*.whl, or run `python packages/build_page.py` and "
        "`pip install ./packages/page` in a clone of adaloraqat."
    )


def _graphs(bundle: Bundle) -> list[tuple[str, FileRecord]]:
    """Return the bundle's ONNX graphs; what other runtimes read is of no use to a browser."""
    return [(name, record) for name, record in bundle.files.items() if name.endswith(".onnx")]


def _models(default: str, bundles: dict[str, Bundle]) -> dict[str, Any]:
    """Return what the page needs to know before it opens a model."""
    return {
        "version": adaloraqat.__version__,
        "default": default,
        "models": [
            {
                "name": bundle.name,
                "outlines": bundle.outlines,
                "licence": bundle.licence,
                "intended_use": bundle.intended_use,
                "accepts_points": bundle.accepts_points,
                "accepts_box": bundle.prompt.accepts_box,
                "files": {name: record.bytes for name, record in _graphs(bundle)},
            }
            for bundle in bundles.values()
        ],
    }
