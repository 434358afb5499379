"""Everybody can use the page: axe finds nothing serious, in light and dark, on a desk and on a phone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaloraqat.datasets.phantom import write_phantoms

AXE = Path(__file__).parents[3] / "web/node_modules/axe-core/axe.min.js"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    write_phantoms(folder, 2, seed=5, size=256)
    return sorted((folder / "images").glob("*.png"))


def serious(page: Any) -> list[str]:
    """What axe finds that is serious or critical."""
    page.evaluate(AXE.read_text(encoding="utf-8"))  # so it is no script of the page, which its policy forbids
    found = json.loads(page.evaluate("async () => JSON.stringify((await axe.run()).violations)"))
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(DESK, "light", id="desk-light"),
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(DESK, "dark", id="desk-dark", marks=pytest.mark.slow),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(
    opened: Callable[..., Any], films: list[Path], scheme: str, size: dict[str, int], tmp_path: Path
) -> None:
    window = opened(viewport=size, color_scheme=scheme)
    window.wait_loaded()
    page = window.page
    found = serious(page)
    page.screenshot(path=tmp_path / "welcome.png")
    page.set_viewport_size(DESK)
    window.choose(*films, Path(__file__))
    window.wait_done(3)
    page.set_viewport_size(size)
    page.wait_for_timeout(300)
    found += serious(page)
    page.screenshot(path=tmp_path / "films.png")
    if size is PHONE:
        for part in ("Films", "Result"):
            page.get_by_role("navigation").get_by_role("button", name=part).click()
            found += serious(page)
            page.screenshot(path=tmp_path / f"{part}.png")
            wide = page.evaluate("() => document.documentElement.scrollWidth")
            assert wide <= size["width"]
    page.get_by_role("button", name="Help and keys").click()
    found += serious(page)
    assert found == []


def test_the_theme_is_chosen_and_remembered(opened: Callable[..., Any]) -> None:
    window = opened(color_scheme="light")
    page = window.page
    ground = "() => getComputedStyle(document.body).backgroundColor"
    button = page.get_by_role("button", name="Appearance")
    button.wait_for()
    light = page.evaluate(ground)
    button.click()
    button.click()
    assert page.evaluate(ground) != light
    window.wait_loaded()
    page.reload(wait_until="commit")
    button.wait_for()
    assert page.evaluate(ground) != light
    window.wait_loaded()
