"""The packages as they lie here: sizes, licences, and what a reader or a builder stumbles over.

`make wheels` builds, installs and uses them; what a look at the files tells is told here.
"""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import adaloraqat
from adaloraqat.bundle import load_bundle
from adaloraqat.bundle.shipped import HOMES, OWN, RESEARCH, WEIGHTS

ROOT = Path(__file__).parents[2]
RESEARCH_MODELS = ROOT / "packages/weights/src/adaloraqat_weights"
LIMITS = {ROOT / "src/adaloraqat": 20_000_000, RESEARCH_MODELS: 50_000_000}
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")


def models(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name != "__pycache__")


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(("folder", "limit"), LIMITS.items(), ids=lambda value: getattr(value, "name", ""))
def test_a_package_stays_within_its_limit(folder: Path, limit: int) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= limit  # the wheel is smaller: it is compressed


def test_every_model_lies_in_the_package_that_its_licence_allows() -> None:
    for home, folder in ((OWN, WEIGHTS), (RESEARCH, RESEARCH_MODELS)):
        for model in models(folder):
            assert HOMES[model.name] == home
            assert (model / "README.md").is_file()
            if (model / "bundle.json").is_file():
                bundle = load_bundle(model.absolute())
                assert bundle.name == model.name
                assert ("CC-BY-4.0" in bundle.licence) == (home == OWN), bundle.licence
                assert ("Research use only" in bundle.licence) == (home == RESEARCH), bundle.licence


def test_licence_metadata_names_what_is_inside() -> None:
    first, second = project(ROOT), project(ROOT / "packages/weights")
    assert first["license"] == "Apache-2.0 AND CC-BY-4.0"
    assert second["license"] == "LicenseRef-adaloraqat-weights AND Apache-2.0"
    for folder, document in ((ROOT, first), (ROOT / "packages/weights", second)):
        for file in document["license-files"]:
            assert (folder / file).stat().st_size > 500
    for package in ("weights", "page"):
        assert (ROOT / "LICENSE").read_bytes() == (ROOT / f"packages/{package}/LICENSE").read_bytes()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"


def test_the_version_stands_in_one_place() -> None:
    for folder in (ROOT, ROOT / "packages/weights", ROOT / "packages/page"):
        assert "version" in project(folder)["dynamic"]
    tracked = subprocess.run(
        ["git", "grep", "-lF", f'version = "{adaloraqat.__version__}"', "--", "*.toml", "*.py", "*.cfg"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tracked.stdout == ""


def test_nothing_is_a_symbolic_link() -> None:
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))], ids=lambda path: path.stem
)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_lock_file_of_the_page_names_no_host() -> None:
    """Whoever builds the page takes its packages from the registry of their own configuration."""
    lock = (ROOT / "web/package-lock.json").read_text(encoding="utf-8")
    assert '"integrity"' in lock
    assert '"resolved"' not in lock


def test_the_licences_of_what_the_page_contains_are_complete() -> None:
    licences = ROOT / "packages/page/src/adaloraqat_page/site/licences.txt"
    if not licences.is_file():
        pytest.skip("the page is not built: make page")
    text = licences.read_text(encoding="utf-8")
    for name in ("onnxruntime-web", "dcmjs", "preact", "@fontsource-variable/inter", "CharLS", "OpenJPEG"):
        assert name in text
    stated = project(ROOT / "packages/page")["license"].split(" AND ")
    found = {
        part
        for line in re.findall(r"^\S+ [\d.]+: (.*)$", text, re.M)
        for part in re.findall(r"[\w.-]+", line)
    }
    assert found - {"AND", "OR"} <= set(stated), "packages/page/pyproject.toml names what is inside"
