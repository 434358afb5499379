"""A report as one HTML file that needs nothing else: pictures inline, no script, no font from elsewhere."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from adaloraqat.errors import RecipeError
from adaloraqat.files import write_text
from adaloraqat.report import style
from adaloraqat.report.pictures import Look, ShownFilm, panels
from adaloraqat.report.text import megabytes, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).resolve().parent / "templates"
CSS_PIXELS_PER_INCH = 96
_ENGINES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "noise_floor": "Noise floor",
}


def write_report(
    path: Path, document: Mapping[str, Any], pictures: Mapping[str, Any], template: str = "demo.html"
) -> None:
    """Fill a template and write it, atomically.

    Args:
        path: the HTML file.
        document: the numbers, as they stand in the JSON beside the page.
        pictures: what the template shows beside them; images as data addresses (`jpeg_address`,
            `figure_address`).
        template: a file of `templates/`.

    Raises:
        OutputError: the file cannot be written.
    """
    import jinja2

    surroundings = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    surroundings.filters |= {"megabytes": megabytes, "signed": signed}
    page = surroundings.get_template(template).render(
        **document, pictures=pictures, colours=vars(style), engine_names=_ENGINES
    )
    write_text(path, page)


def read_finished(path: Path, keys: set[str], command: str) -> dict[str, Any]:
    """Read what another command left behind, to be shown on a page.

    Raises:
        RecipeError: there is no such file, or it lacks one of `keys`; the message names the command.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict) or not keys <= set(document):
        raise RecipeError(f"{path.parent.name} holds no finished {path.name}: run `{command}` first.")
    return document


def film_panels(shown: Sequence[ShownFilm], look: Look) -> list[dict[str, Any]]:
    """Return films for a template: `place`, `id` and `panels`, each with `name`, `dice` and `address`."""
    return [
        {
            "place": film.place,
            "id": film.id,
            "panels": [
                {"name": name, "dice": dice, "address": jpeg_address(picture)}
                for name, dice, picture in panels(film, look)
            ],
        }
        for film in shown
    ]


def jpeg_address(picture: Image.Image) -> str:
    """Return a picture as a data address; colours are kept sharp, for the outlines' sake."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=88, subsampling=0)
    return _address("image/jpeg", stream.getvalue())


def figure_address(figure: "Figure", pixels: bool = False) -> str:
    """Return a figure as a data address, as SVG or in `pixels`."""
    if pixels:
        return png_address(style.png_bytes(figure))
    return _address("image/svg+xml", style.svg_text(figure).encode())


def png_address(content: bytes) -> str:
    """Return the bytes of a PNG as a data address."""
    return _address("image/png", content)


def png_width(content: bytes) -> int:
    """Return how wide a PNG is meant to be, in CSS pixels (96 an inch), by the resolution it states."""
    with Image.open(io.BytesIO(content)) as picture:
        dots_per_inch = picture.info.get("dpi", (CSS_PIXELS_PER_INCH,))[0]
        return round(picture.width / dots_per_inch * CSS_PIXELS_PER_INCH)


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
