"""Models by name: which are installed, where they lie, and which stands in where none is named.

A package offers models by an entry point of the group `adaloraqat.models`. Its value is the name of a module,
which is a folder with one folder a model inside, each a bundle (or `base`). The module is found and never
imported, so that nothing of a foreign package runs here. A broken one costs a sentence.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import adaloraqat
from adaloraqat.errors import BundleError
from adaloraqat.files import cache_root

logger = logging.getLogger(__name__)

GROUP = "adaloraqat.models"
OWN = "adaloraqat"
RESEARCH = "adaloraqat-weights"
"""The second wheel of this repository: models that may not be used commercially."""


WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
"""Models inside this package: those that may be used commercially."""

HOMES = {
    "lung-field": RESEARCH,
    "lung-whole": RESEARCH,
    "lung-field-fast": RESEARCH,
    "lung-whole-fast": RESEARCH,
    "base": RESEARCH,
    "lung-open": OWN,
}
"""Our models and the package that each comes in. No other package can offer one of these names, and where it
is not installed nothing else is taken for it: no other model, and no folder of that name."""

DEFAULT_MODEL = "lung-field"
DEFAULT_MODELS = (DEFAULT_MODEL, "lung-open")
"""What runs where no model is named: the first that is installed; any but the first only with a notice."""

_BASE = "base"
_BUNDLE, _CONFIG = "bundle.json", "config.json"


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


@dataclass(frozen=True)
class InstalledModel:
    """A model that an installed package carries.

    Attributes:
        name: what `--model` and recipes call it.
        folder: a bundle, or for `base` a folder of floating-point weights.
        package: what it came with.
    """

    name: str
    folder: Path
    package: ModelPackage

    @property
    def is_bundle(self) -> bool:
        """Whether it segments; `base` is there to be trained."""
        return (self.folder / _BUNDLE).is_file()


@dataclass(frozen=True)
class Choice:
    """A model's name or path, and a sentence where it is not what usually stands in."""

    name: str
    notices: tuple[str, ...] = ()


def installed_models() -> dict[str, InstalledModel]:
    """Return the installed models by name: this package's first, then those of others.

    Of two packages that offer one name the first counts, and a name of `HOMES` only from its home.
    """
    found: dict[str, InstalledModel] = {}
    for package in _packages():
        for folder in sorted(package.folder.glob("*")):
            name = folder.name
            is_model = (folder / (_CONFIG if name == _BASE else _BUNDLE)).is_file()
            if is_model and (package.name == OWN or HOMES.get(name, package.name) == package.name):
                found.setdefault(name, InstalledModel(name, folder, package))
    return found


def shipped_names() -> tuple[str, ...]:
    """Names of the installed bundles, sorted; the default model comes first."""
    found = sorted(model.name for model in installed_models().values() if model.is_bundle)
    return tuple(sorted(found, key=lambda name: name != DEFAULT_MODEL))


def is_model_name(name: str) -> bool:
    """Whether `name` means an installed bundle or one of ours, and never a path: that is `./NAME`."""
    return name == Path(name).name and name != _BASE and (name in HOMES or name in shipped_names())


def shipped_path(name: str) -> Path:
    """Folder of an installed bundle.

    Raises:
        BundleError: no bundle of this name is installed; says where it comes from, or what there is.
    """
    folder = _at_home(name) if name in HOMES else None
    if folder is None and name in shipped_names():
        folder = installed_models()[name].folder
    if folder is not None:
        return folder
    if name in HOMES and name != _BASE:
        raise BundleError(
            f"{not_installed(name)[:-1]}; for the folder of that name, write ./{name}."
            if Path(name, _BUNDLE).is_file()
            else not_installed(name)
        )
    raise BundleError(f"No model called {name!r} is installed: choose one of {names_told()}.")


def names_told() -> str:
    """Return the names of the installed bundles for a sentence."""
    return ", ".join(shipped_names()) or "none is installed"


def not_installed(name: str) -> str:
    """Return the sentence for a model of `HOMES` that is not installed.

    It says how its package is installed. Nobody hosts ours, so pip is given a path.
    """
    home = HOMES[name]
    package = next((one for one in _packages() if one.name == home), None)
    if package is not None:
        return (
            f"The model {name!r} is not installed: the installed {home} {package.version} does not include "
            f"it, so reinstall {home} from a clone or a wheel that does."
        )
    return (
        f"The model {name!r} is not installed: it comes in the package {home}, so run "
        f"`pip install ./packages/weights` in a clone of adaloraqat, or give pip the path of the wheel "
        f"{home.replace('-', '_')}-*.whl."
    )


def choose_model(name: str | None, usual: tuple[str, ...] = DEFAULT_MODELS) -> Choice:
    """Return what was named; without a name the first of `usual` that is installed.

    Raises:
        BundleError: nothing was named, and none of `usual` is installed.
    """
    if name is not None:
        return Choice(name)
    chosen = next((candidate for candidate in usual if _is_installed(candidate)), None)
    if chosen is None:
        raise BundleError(f"{not_installed(usual[0])[:-1]}; or name another model or a bundle's path.")
    if chosen == usual[0]:
        return Choice(chosen)
    instead = (
        f"{chosen} is used instead, which may outline more or less; `adaloraqat info {chosen}` says what."
    )
    return Choice(chosen, (f"{not_installed(usual[0])} {instead}",))


def kept_bundle(name: str) -> Path | None:
    """Folder of the bundle of published weights that `adaloraqat weights get` wrote; None: there is none."""
    if name != Path(name).name or name.startswith("."):
        return None  # a path
    try:
        root = cache_root()
    except RuntimeError:
        return None
    folder = bundle_folder(root, name) if root is not None else None
    return folder if folder is not None and (folder / "bundle.json").is_file() else None


def bundle_folder(root: Path, name: str) -> Path:
    """Where in a cache the bundle of published weights belongs."""
    return root / "bundles" / name


def shipped_base() -> Path:
    """Folder of the floating-point base model for further fine-tuning (safetensors).

    Raises:
        BundleError: no installed package carries it.
    """
    base = installed_models().get(_BASE)
    if base is None:
        raise BundleError(
            f"{not_installed(_BASE)[:-1]}; or name the folder of a Segment Anything model instead."
        )
    return base.folder


# ---- which packages carry models -----------------------------------------------------------------------


def _packages() -> tuple[ModelPackage, ...]:
    return (ModelPackage(OWN, adaloraqat.__version__, WEIGHTS), *other_packages())


def other_packages(wanted: str | None = None) -> tuple[ModelPackage, ...]:
    """Return the other packages that offer models, by name; what is wrong with one is logged once.

    With `wanted` only the distribution of that name is asked: that takes 1 ms, all of an environment 70.
    """
    return _found(tuple(sys.path), wanted)[0]


def complaints() -> tuple[str, ...]:
    """Return a sentence for each package that offers models which cannot be used."""
    return _found(tuple(sys.path), None)[1]


def _is_installed(name: str) -> bool:
    return _at_home(name) is not None if name in HOMES else name in shipped_names()


def _at_home(name: str) -> Path | None:
    """Folder of a bundle of `HOMES` in its home, the one package that it counts from; None: not there."""
    home = HOMES[name]
    packages = [ModelPackage(OWN, adaloraqat.__version__, WEIGHTS)]
    if home != OWN:
        packages += other_packages(home)
    folders = (package.folder / name for package in packages)
    return next((folder for folder in folders if (folder / _BUNDLE).is_file()), None)


@functools.lru_cache(maxsize=2)
def _found(paths: tuple[str, ...], wanted: str | None) -> tuple[tuple[ModelPackage, ...], tuple[str, ...]]:
    """Ask every distribution on `paths`, which are `sys.path`, or only the one whose name is `wanted`."""
    from importlib.metadata import distributions  # 20 ms that a bundle given by its path never waits for

    packages: dict[str, ModelPackage] = {}
    wrong: list[str] = []
    for distribution in distributions(name=wanted, path=list(paths)):
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
