"""`adaloraqat info`: this computer, and what a bundle, a run or an architecture consists of."""

import logging
import platform
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import adaloraqat
from adaloraqat.bundle import Bundle, load_bundle
from adaloraqat.bundle.cpu import cpu_name, has_vnni, weight_range_warning
from adaloraqat.bundle.engine import ENGINES
from adaloraqat.bundle.operators import matrix_products
from adaloraqat.bundle.shipped import installed_models
from adaloraqat.cli.console import print_json
from adaloraqat.cli.models import installed
from adaloraqat.cli.options import JsonFlag, complete_model
from adaloraqat.errors import BundleError
from adaloraqat.evaluate.machine import package_version

if TYPE_CHECKING:
    from adaloraqat.models.published import Published

log = logging.getLogger("adaloraqat")

_PACKAGES = ("numpy", "pillow", "pydicom", "onnxruntime", "openvino", "torch", "transformers", "peft")
_RECIPE = "recipe.yaml"
_PYTORCH = (".pth", ".pt")


def info(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A bundle, a run folder, published weights such as lite-medsam, an architecture such as "
            "vit-b, or a checkpoint of AdaLoRA-QAT's public code (.pth).",
            show_default="this computer",
            autocompletion=complete_model,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show details of this computer or, if given, of a model.

    The precision of every module is in --verbose and --json; without them modules are counted.
    """
    document = {**computer(), **installed()} if subject is None else describe(subject)
    if as_json:
        print_json(document)
    else:
        for line in _lines(document if log.isEnabledFor(logging.DEBUG) else _short(document)):
            typer.echo(line)


def computer() -> dict[str, Any]:
    """Name this CPU and the installed versions."""
    return {
        "adaloraqat": adaloraqat.__version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "vnni": has_vnni(),
        "versions": {name: package_version(name) for name in _PACKAGES},
    }


def describe(subject: str) -> dict[str, Any]:
    """Return what a bundle, a run, published weights, an architecture or a checkpoint consists of.

    Raises:
        AdaloraqatError: it is none of these, or cannot be used.
    """
    weights = import_module("adaloraqat.models.published").find(subject)
    if weights is not None:
        return describe_weights(weights)
    if Path(subject, _RECIPE).is_file():
        return _described("describe_run", Path(subject))
    if Path(subject).suffix in _PYTORCH and Path(subject).is_file():
        return _described("describe_checkpoint", Path(subject))
    registry = import_module("adaloraqat.models.registry")
    for name in (subject.lower().replace("-", "_"), subject.lower()):
        if name in registry.ARCHITECTURES or name in registry.BASELINES:
            return _described("describe_architecture", name)
    return describe_bundle(load_bundle(subject))  # which says what there is to choose from


def describe_weights(weights: "Published") -> dict[str, Any]:
    """Return what the table says of published weights, what is here, and their architecture, counted."""
    table = import_module("adaloraqat.cli.weights")
    document = table.facts(weights)
    if document["kept"] is None:
        log.info("%s", table.published.absent(weights))
    counted = _described("describe_architecture", document.pop("architecture"))
    return {
        "kind": "weights",
        **document,
        **{key: counted[key] for key in counted if key not in ("kind", "name")},
    }


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """Parameters, ranks, bytes of every file, precisions, and the products that each engine executes."""
    warning = weight_range_warning(bundle.precision.weight_range)
    return {
        "kind": "bundle",
        "name": bundle.name,
        "package": _package_of(bundle),
        "format_version": bundle.format_version,
        "outlines": bundle.outlines,
        "architecture": dict(bundle.architecture),
        "preprocessing": bundle.preprocessing.to_dict(),
        "parameters": dict(bundle.parameters),
        "ranks": dict(bundle.ranks),
        "precision": {
            "policy": bundle.precision.policy,
            "weight_range": bundle.precision.weight_range,
            "modules": dict(bundle.precision.modules),
        },
        "prompt": {
            "second_pass": bundle.prompt.second_pass,
            "quality_trained": bundle.prompt.quality_trained,
            "accepts_box": bundle.prompt.accepts_box,
        },
        "files": file_sizes(bundle),
        "matrix_products": {engine: _products(bundle, engine) for engine in ENGINES},
        "training": dict(bundle.training),
        "metrics": dict(bundle.metrics),
        "parity": dict(bundle.parity),
        "licence": bundle.licence,
        "intended_use": bundle.intended_use,
        "cpu": {"name": cpu_name(), "vnni": has_vnni()},
        "warnings": [warning] if warning else [],
    }


def file_sizes(bundle: Bundle) -> dict[str, int]:
    """Bytes of every file in the bundle's folder as the file system gives them, and their sum as "total"."""
    files = sorted(path for path in bundle.folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(bundle.folder).as_posix(): path.stat().st_size for path in files}
    return {**sizes, "total": sum(sizes.values())}


def _described(function: str, subject: Any) -> dict[str, Any]:
    """Ask the rooms that need PyTorch, which are imported only now."""
    return getattr(import_module("adaloraqat.cli.describe"), function)(subject)


def _products(bundle: Bundle, engine: str) -> dict[str, Any] | None:
    """Counts per graph; None where the engine is not installed."""
    if package_version(engine) is None:
        return None
    try:
        return {part: counts.to_dict() for part, counts in matrix_products(bundle, engine).items()}
    except BundleError as error:
        return {"error": str(error)}


def _package_of(bundle: Bundle) -> str | None:
    """The package that a bundle came with, as "name version"; None where it is a folder of the user's."""
    model = next((one for one in installed_models().values() if one.folder == bundle.folder), None)
    return None if model is None else f"{model.package.name} {model.package.version}"


def _short(document: dict[str, Any]) -> dict[str, Any]:
    """The document with its modules counted by how they are stored: a hundred names say less than that."""
    precision = document.get("precision")
    if not isinstance(precision, dict) or not precision.get("modules"):
        return document
    counted = Counter(map(str, precision["modules"].values()))
    return {**document, "precision": {**precision, "modules": dict(counted)}}


def _lines(document: dict[str, Any], indent: int = 0) -> list[str]:
    """The document as indented "key: value" lines."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            lines += [f"{'  ' * indent}{key}:", *_lines(value, indent + 1)]
        else:
            lines.append(f"{'  ' * indent}{key}: {_plain(value)}")
    return lines


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "-"
    return "-" if value == {} else str(value)
