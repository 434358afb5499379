"""Models come from installed packages: real distributions on sys.path, and what is wrong with them."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import onnxruntime  # noqa: F401  (before `site` takes its folder off the path)
import pydantic.dataclasses  # noqa: F401  (likewise)
import pytest
from tiny_bundle import write_tiny_bundle

from adaloraqat import BundleError, Segmenter
from adaloraqat.bundle import load_bundle, shipped

Install = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages folder of the test's own, instead of those with the models of this checkout."""
    site = tmp_path / "site"
    site.mkdir()
    others = [path for path in sys.path if not any(Path(path).glob("adaloraqat_weights*"))]
    monkeypatch.setattr(sys, "path", [str(site), *others])
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "own")
    return site


@pytest.fixture
def install(site: Path) -> Install:
    """Put a distribution that offers models into `site`, as pip would."""

    def install(name: str, *models: str, value: str | None = None, licence: str = "CC0-1.0") -> Path:
        module = name.replace("-", "_")
        info = site / f"{module}-1.2.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.2\n"
        (info / "METADATA").write_text(f"{head}License-Expression: {licence}\n")
        (info / "entry_points.txt").write_text(f"[adaloraqat.models]\n{name} = {value or module}\n")
        folder = site / module
        folder.mkdir()
        (folder / "__init__.py").write_text("raise SystemExit('a foreign package was imported')\n")
        for model in models:
            write_tiny_bundle(folder / model, name=model)
        shipped._found.cache_clear()  # pip does not change a site under a running process; a test does
        return folder

    return install


def test_a_package_is_found_by_its_entry_point_and_never_imported(site: Path, install: Install) -> None:
    folder = install("ward-models", "ward-lungs")
    assert shipped.shipped_names() == ("ward-lungs",)
    model = shipped.installed_models()["ward-lungs"]
    assert (model.folder, model.package.name, model.package.version) == (
        folder / "ward-lungs", "ward-models", "1.2"
    )  # fmt: skip
    assert model.package.licence == "CC0-1.0"
    assert Segmenter.load("ward-lungs").bundle.folder == folder / "ward-lungs"
    assert "ward_models" not in sys.modules


def test_names_are_sorted_behind_the_default_and_the_base_is_none_of_them(install: Install) -> None:
    folder = install("adaloraqat-weights", "a-model", "lung-field", "lung-whole", "z")
    (folder / "base").mkdir()
    (folder / "base/config.json").write_text("{}")
    assert shipped.shipped_names() == ("lung-field", "a-model", "lung-whole", "z")
    assert shipped.shipped_base() == folder / "base"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("not_there_zzz", "there is no folder of a package 'not_there_zzz'"),
        ("json.decoder", "'json.decoder' is not the name of a package of its own"),
        ("models:folder", "'models:folder' is not the name"),
        ("sys", "there is no folder of a package 'sys'"),
    ],
)
def test_a_broken_entry_point_costs_one_sentence(
    install: Install, caplog: pytest.LogCaptureFixture, value: str, words: str
) -> None:
    install("broken-models", "never", value=value)
    install("good-models", "good")
    with caplog.at_level(logging.WARNING):
        assert shipped.shipped_names() == ("good",)
        assert load_bundle("good").name == "good"
    (sentence,) = caplog.messages
    assert words in sentence
    assert "'broken-models'" in sentence
    assert shipped.complaints() == (sentence,)


def test_a_distribution_of_damaged_files_costs_nothing(site: Path, install: Install) -> None:
    install("good-models", "good")
    damaged = site / "damaged-1.dist-info"
    damaged.mkdir()
    (damaged / "METADATA").write_bytes(b"\xff\xfe")
    (damaged / "entry_points.txt").write_bytes(b"\xff\xfe[[")
    shipped._found.cache_clear()
    assert shipped.shipped_names() == ("good",)


def test_our_names_come_from_our_packages_only(install: Install) -> None:
    install("a-stranger", "lung-field", "its-own")
    assert shipped.shipped_names() == ("its-own",)
    with pytest.raises(BundleError, match="'lung-field' is not installed"):
        load_bundle("lung-field")
    folder = install("adaloraqat-weights", "lung-field")
    assert load_bundle("lung-field").folder == folder / "lung-field"


def test_lung_open_alone_is_the_default_and_says_so(site: Path, install: Install) -> None:
    write_tiny_bundle(shipped.WEIGHTS / "lung-open", name="lung-open")
    segmenter = Segmenter.load()
    assert segmenter.bundle.name == "lung-open"
    (notice,) = segmenter.notices
    assert notice.startswith("The model 'lung-field' is not installed: ")
    assert "lung-open is used instead, which may outline more or less" in notice
    assert "`pip install ./packages/weights`" in notice
    assert Segmenter.load("lung-open").notices == ()  # it was asked for
    install("adaloraqat-weights", "lung-field")
    usual = Segmenter.load()
    assert (usual.bundle.name, usual.notices) == ("lung-field", ())


def test_what_is_not_installed_is_refused_and_nothing_else_taken(
    site: Path, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny_bundle(shipped.WEIGHTS / "lung-open", name="lung-open")
    for name in ("lung-field", "lung-whole", "lung-field-fast", "lung-whole-fast"):
        with pytest.raises(
            BundleError, match=rf"{name}.*adaloraqat-weights.*pip install \./packages/weights"
        ):
            Segmenter.load(name)
    with pytest.raises(BundleError, match=r"'base'.*pip install \./packages/weights"):
        shipped.shipped_base()
    write_tiny_bundle(tmp_path / "lung-field", name="mine")
    with pytest.raises(BundleError, match=r"write \./lung-field"):
        load_bundle("lung-field")
    assert load_bundle("./lung-field").name == "mine"
    install("adaloraqat-weights", "lung-whole")
    with pytest.raises(BundleError, match=r"adaloraqat-weights 1\.2 does not include it"):
        load_bundle("lung-field")


def test_without_any_model_the_default_is_refused(site: Path) -> None:
    with pytest.raises(BundleError, match=r"'lung-field' is not installed.*or name another model"):
        Segmenter.load()


def test_a_proposer_that_stands_in_is_a_warning(install: Install, tmp_path: Path) -> None:
    boxes = {"prompt": {"second_pass": False, "quality_trained": True, "automatic": "proposed-box"}}
    write_tiny_bundle(tmp_path / "boxes", **boxes)
    assert Segmenter.load(tmp_path / "boxes").warnings == []  # refused when boxes are to be proposed
    write_tiny_bundle(shipped.WEIGHTS / "lung-open", name="lung-open")
    segmenter = Segmenter.load(tmp_path / "boxes")
    (warning,) = segmenter.warnings
    assert "lung-open is used instead" in warning
    assert segmenter.proposer.bundle.name == "lung-open"
    install("adaloraqat-weights", "lung-whole-fast")
    assert Segmenter.load(tmp_path / "boxes").warnings == []
