"""Which installed packages carry models: this one, and those that an entry point names.

A package offers models by an entry point of the group `adaloraqat.models`. Its value is the name of a module,
which is a folder with one folder a model inside, each a bundle (or `base`, see `shipped`). The module is
found and never imported, so that nothing of a foreign package runs here. A broken one costs a sentence.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import adaloraqat

logger = logging.getLogger(__name__)

GROUP = "adaloraqat.models"
OWN = "adaloraqat"
RESEARCH = "adaloraqat-weights"
"""The second wheel of this repository: models that may not be used commercially."""


@dataclass(frozen=True)
class ModelPackage:
    """An installed package that carries models.

    Attributes:
        name: of the distribution, as pip knows it.
        version: its version.
        folder: holds one folder a model.
    """

    name: str
    version: str
    folder: Path

    @property
    def licence(self) -> str | None:
        """The licences of everything in the package, as an SPDX expression; None where it states none."""
        from importlib.metadata import PackageNotFoundError, metadata

        try:
            stated = metadata(self.name).get_all("License-Expression")
        except PackageNotFoundError:  # run from a checkout that is not installed
            return None
        return stated[0] if stated else None


def own(folder: Path) -> ModelPackage:
    """Return this package, whose models lie in `folder`."""
    return ModelPackage(OWN, adaloraqat.__version__, folder)


def others() -> tuple[ModelPackage, ...]:
    """Return the other packages that offer models, by name; what is wrong with one is logged once."""
    return _found(tuple(sys.path))[0]


def complaints() -> tuple[str, ...]:
    """Return a sentence for each package that offers models which cannot be used."""
    return _found(tuple(sys.path))[1]


@functools.lru_cache(maxsize=1)
def _found(paths: tuple[str, ...]) -> tuple[tuple[ModelPackage, ...], tuple[str, ...]]:
    """Ask every distribution on `paths`, which are `sys.path`."""
    from importlib.metadata import distributions  # 20 ms that a bundle given by its path never waits for

    packages: dict[str, ModelPackage] = {}
    wrong: list[str] = []
    for distribution in distributions(path=list(paths)):
        try:
            offers = distribution.entry_points.select(group=GROUP)
        except Exception:  # any file may lie there
            continue  # without its entry points nobody knows whether it offers models at all
        for offer in offers:
            try:
                name, version = str(distribution.name), str(distribution.version)
                # the first on the path is what Python would import, as with any module
                packages.setdefault(offer.value, ModelPackage(name, version, folder_of(offer.value)))
            except Exception as error:
                wrong.append(
                    f"The models behind the entry point {offer.name!r} of {GROUP} cannot be used, because "
                    f"{error}: install its package again, or remove it."
                )
    for sentence in wrong:
        logger.warning("%s", sentence)
    return tuple(sorted(packages.values(), key=lambda package: package.name)), tuple(wrong)


def folder_of(module: str) -> Path:
    """Return the folder of a package, without importing it.

    Raises:
        ValueError: there is none; says why.
    """
    if not module.isidentifier():  # to find a module inside another one, Python would import the other
        raise ValueError(f"{module!r} is not the name of a package of its own")
    spec = importlib.util.find_spec(module)
    places = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise ValueError(f"there is no folder of a package {module!r}")
    return folder
