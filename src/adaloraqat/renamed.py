"""Old Python names go on working for one version, each with a `DeprecationWarning` that gives the new name.

All of it goes with the next version.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MODULES: dict[str, tuple[str, dict[str, str]]] = {
    "adaloraqat.batch.measures_csv": ("adaloraqat.batch.csv_files", {"COLUMNS": "MEASURES_COLUMNS"}),
    "adaloraqat.batch.table": (
        "adaloraqat.batch.csv_files",
        {"TABLE": "RESULTS_CSV", "write_table": "write_results_csv"},
    ),
    "adaloraqat.bundle.challenge": ("adaloraqat.challenge", {}),
    "adaloraqat.bundle.parts": (
        "adaloraqat.bundle.components",
        {
            "Part": "Component",
            "connected_parts": "connected_components",
            "labelled": "label_components",
            "tidy": "remove_small_components",
            "touching": "components_touching",
        },
    ),
    "adaloraqat.datasets.outlines": ("adaloraqat.datasets.mask_sources", {}),
    "adaloraqat.datasets.prepare": (
        "adaloraqat.datasets.index",
        {"prepare": "index_films", "Prepared": "Indexed"},
    ),
    "adaloraqat.models.published_hub": ("adaloraqat.models.published_fetch", {"download": "from_hub"}),
    "adaloraqat.training.schema": ("adaloraqat.training.recipe", {"PUBLISHED": "SCHEMA"}),
    "adaloraqat.datasets.covid19_radiography": (
        "adaloraqat.datasets.covid_collections",
        {"CLASSES": "RADIOGRAPHY_CLASSES"},
    ),
    "adaloraqat.dicom_out.outline": ("adaloraqat.dicom_out.presentation", {"outlines": "contours"}),
}
"""Old module: (new module, {old name: new name} of what was renamed in it as well)."""

MODULES |= {
    f"adaloraqat.{new.rpartition('.')[0]}.{old}": (f"adaloraqat.{new}", {})
    for new, merged in {
        "batch.csv_files": "results_csv",
        "batch.workers": "worker_process",
        "datasets.covid_collections": "covid_qu_ex qata_cov19",
        "dicom_out.presentation": "contours",
        "experiments.table": "rows",
        "measure.statistics.compare": "sentences",
        "models.baselines": "deeplab_v3_plus segformer unet",
        "models.checkpoint_files": "foreign_checkpoint",
        "models.families": "interpolate",
        "radiograph.formats.base": "picture",
        "radiograph.formats.dicom": "dicom_objects",
        "radiograph.formats.dicom_header": "dicom_elements dicom_spacing dicom_words",
        "report.text": "formats numbers",
        "serve.body": "upload",
        "serve.film": "task",
        "serve.guard": "metrics",
        "serve.sender": "outgoing",
        "serve.server": "protocol",
    }.items()
    for old in merged.split()
}
"""Modules that are part of another one of their room now."""


class _Finder:
    """Finds modules under their old names; Python asks it after all others."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, _Finder) if name in MODULES else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        new, names = MODULES[module.__name__]
        warn_renamed(module.__name__, new)
        found = import_module(new)
        vars(module).update({name: value for name, value in vars(found).items() if name[:2] != "__"})
        vars(module).update({old: getattr(found, name) for old, name in names.items()})


def find_renamed_modules() -> None:
    """Let modules be imported by their old names, too."""
    if _Finder not in sys.meta_path:
        sys.meta_path.append(_Finder)


def renamed_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for `module` that gives {old name: new name}, here or `another.module.name`.

    Assign it inside `if not TYPE_CHECKING:`, so that a type checker still misses names that are nowhere.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, new = f"{'' if '.' in names[name] else module + '.'}{names[name]}".rpartition(".")
        warn_renamed(f"{module}.{name}", f"{place}.{new}")
        return getattr(import_module(place), new)

    return get


def renamed_arguments(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator for a function some of whose keyword arguments were renamed: `old="new"`.

    What is given as `progress` under its old name took the items alone; it is adapted.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in names.items():
                if old in kwargs:
                    warn_renamed(f"{function.__name__}({old}=)", f"{function.__name__}({new}=)")
                    value: Any = kwargs.pop(old)
                    kwargs[new] = _with_noun(value) if new == "progress" else value
            return function(*args, **kwargs)

        return call

    return decorate


def _with_noun(track: Callable[[Any], Any]) -> Callable[[Any, str], Any]:
    return lambda items, what: track(items)


def warn_renamed(old: str, new: str) -> None:
    """Warn the caller's caller that it used an old name."""
    warnings.warn(
        f"{old} is now {new}; the old name will be removed in the next version.",
        DeprecationWarning,
        stacklevel=3,
    )
