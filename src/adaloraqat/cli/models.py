"""Which models are installed here, which of ours are not, where each comes from, and its licence."""

from typing import Any

from adaloraqat.bundle import load_bundle
from adaloraqat.bundle.shipped import (
    HOMES,
    InstalledModel,
    choose_model,
    complaints,
    installed_models,
    not_installed,
)
from adaloraqat.errors import AdaloraqatError, BundleError


def installed() -> dict[str, Any]:
    """Return the default model, the installed models by name, and a sentence for each of ours that is not.

    `notices`: packages that offer models which cannot be used.
    """
    models = installed_models()
    return {
        "default_model": _default(),
        "models": {name: _facts(model) for name, model in models.items()},
        "not_installed": {name: not_installed(name) for name in HOMES if name not in models},
        "notices": list(complaints()),
    }


def model_lines(document: dict[str, Any]) -> list[str]:
    """Return what `installed` gives as lines to read."""
    lines = []
    for name, facts in document["models"].items():
        default = " (default)" if name == document["default_model"] else ""
        lines.append(f"{name}{default}: installed, from {facts['package']} {facts['version']}")
        if "error" in facts:
            lines.append(f"  {facts['error']}")
            continue
        lines.append(f"  {facts['bytes']:,} bytes, licence: {facts['licence'] or 'not stated'}")
        lines.append(
            f"  {facts['outlines']}" if "outlines" in facts else "  for training: base.weights in a recipe"
        )
    return [*lines, *document["not_installed"].values()]


def _facts(model: InstalledModel) -> dict[str, Any]:
    package = model.package
    files = (path for path in model.folder.rglob("*") if path.is_file())
    facts: dict[str, Any] = {
        "package": package.name,
        "version": package.version,
        "package_licence": package.licence,
        "licence": package.licence,
        "bytes": sum(path.stat().st_size for path in files),
    }
    if not model.is_bundle:
        return facts
    try:
        bundle = load_bundle(model.name)
    except AdaloraqatError as error:
        return {**facts, "error": str(error)}
    return {
        **facts,
        "licence": bundle.licence,
        "outlines": bundle.outlines,
        "policy": bundle.precision.policy,
    }


def _default() -> str | None:
    try:
        return choose_model(None).name
    except BundleError:
        return None
