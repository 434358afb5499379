"""The page of an audit, opened and printed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance

from adaloraqat.datasets.audit.audit import audit
from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.report.audit_page import write_audit_page


def test_a_browser_has_nothing_to_complain_of_and_every_finding_is_on_paper(
    tmp_path: Path, print_page: Callable[[Path], Any]
) -> None:
    films = write_phantoms(tmp_path / "films", 6, seed=3, size=128)
    for film in films[1:4]:  # copies of the first, in whatever split it does not stand in
        with Image.open(films[0].path_image) as picture:
            ImageEnhance.Brightness(picture.convert("L")).enhance(1.1).save(film.path_image)
    Image.new("L", (128, 128)).save(films[5].path_mask)
    manifest = tmp_path / "films/manifest.csv"
    write_manifest(manifest, films)
    found = audit([(manifest, read_manifest(manifest))])
    write_audit_page(tmp_path / "audit.html", found)
    page = (tmp_path / "audit.html").read_text()
    assert page.count('<div class="pair">') == len(found.duplicates) + len(found.look_alikes) >= 4
    for table in re.findall(r"<table class=\"stacked\">.*?</table>", page, re.DOTALL):
        heads = re.findall(r"<th[^>]*>([^<]*)</th>", table)[1:]
        assert (
            re.findall(r"data-head=\"([^\"]*)\"", table)[: len(heads)] == heads
        )  # what a phone shows instead
    printed = print_page(tmp_path / "audit.html")
    assert printed.console == []
    assert all(width < height for width, height in printed.sheets)
    assert len(printed.sheets) <= 3
